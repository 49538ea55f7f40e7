use fastpix::cpu::element::WideBf16;
use fastpix::cpu::gemm::{Columns, Gemm, PANEL, Packed, accumulate};
use fastpix::cpu::isa::Isa;
use fastpix::cpu::rows::Rows;
use half::bf16;

use crate::matrix::{LAYOUTS, Layout, Matrix, Numbers, assert_same_bits};

/// A product with everything it needs.
struct Case<E> {
    segments: Vec<usize>,
    n: usize,
    columns: Columns,
    weights: Vec<Vec<E>>,
    operands: Vec<Matrix<E>>,
    acc: Matrix<f32>,
    rows: usize,
}

impl<E: Gemm> Case<E> {
    fn new(segments: &[usize], n: usize, columns: Columns, rows: usize, layout: Layout) -> Self {
        let mut numbers = Numbers((rows * 1000 + n) as u64);
        let width = n * if columns == Columns::Gated { 2 } else { 1 };
        let panels = n.div_ceil(PANEL) * width / n;
        Self {
            segments: segments.to_vec(),
            n,
            columns,
            weights: segments
                .iter()
                .map(|k| {
                    (0..k * width)
                        .map(|_| E::from_f32(numbers.next()))
                        .collect()
                })
                .collect(),
            operands: segments
                .iter()
                .map(|&k| {
                    Matrix::new(
                        rows,
                        k.next_multiple_of(E::PAD),
                        layout,
                        E::from_f32(f32::NAN),
                        |_, at| E::from_f32(if at < k { numbers.next() } else { 0.0 }),
                    )
                })
                .collect(),
            acc: Matrix::new(rows, panels * PANEL, layout, f32::NAN, |_, _| {
                numbers.next()
            }),
            rows,
        }
    }

    fn width(&self) -> usize {
        self.n * if self.columns == Columns::Gated { 2 } else { 1 }
    }

    fn packed(&self, isa: Isa) -> Packed<E> {
        let width = self.width();
        Packed::new(
            isa,
            &self.segments,
            self.n,
            self.columns,
            |segment, k, column| self.weights[segment][k * width + column].to_f32(),
        )
    }

    /// The sums, computed in parts: rows and panels cut at these places.
    fn sums(&mut self, isa: Isa, row_cuts: &[usize], panel_cuts: &[usize]) -> Matrix<f32> {
        let packed = self.packed(isa);
        let mut acc = self.acc.clone();
        let to = acc.rows();
        let operands: Vec<Rows<E>> = self.operands.iter_mut().map(Matrix::rows).collect();
        let cuts = |end: usize, cuts: &[usize]| {
            let mut all: Vec<usize> = cuts.iter().map(|&cut| cut.min(end)).collect();
            all.insert(0, 0);
            all.push(end);
            all.windows(2)
                .map(|pair| pair[0]..pair[1])
                .collect::<Vec<_>>()
        };
        for rows in cuts(self.rows, row_cuts) {
            for panels in cuts(packed.panels(), panel_cuts) {
                // SAFETY: the matrices have these rows; sums and operands are apart.
                unsafe { accumulate(isa, &packed, panels, rows.clone(), &operands, to, None) };
            }
        }
        acc
    }

    /// Column of the weights behind a column of the sums.
    fn column(&self, at: usize) -> Option<usize> {
        let (panel, lane) = (at / PANEL, at % PANEL);
        let (group, half) = match self.columns {
            Columns::Plain => (panel, 0),
            Columns::Gated => (panel / 2, panel % 2),
        };
        let column = group * PANEL + lane;
        (column < self.n).then_some(half * self.n + column)
    }

    /// One chain of fused multiply-adds per output, as the documentation says.
    fn reference(&self) -> Matrix<f32> {
        let mut acc = self.acc.clone();
        for row in 0..self.rows {
            for at in 0..acc.width {
                let Some(column) = self.column(at) else {
                    continue;
                };
                let mut sum = self.acc.row(row)[at];
                for (segment, &k) in self.segments.iter().enumerate() {
                    for k in 0..k {
                        let a = self.operands[segment].row(row)[k].to_f32();
                        let w = self.weights[segment][k * self.width() + column].to_f32();
                        sum = a.mul_add(w, sum);
                    }
                }
                let start = acc.start(row) + at;
                acc.data[start] = sum;
            }
        }
        acc
    }

    /// The exact sum and the sum of magnitudes of one output.
    fn exact(&self, row: usize, column: usize, at: usize) -> (f64, f64) {
        let start = f64::from(self.acc.row(row)[at]);
        let mut sum = (start, start.abs());
        for (segment, &k) in self.segments.iter().enumerate() {
            for k in 0..k {
                let a = f64::from(self.operands[segment].row(row)[k].to_f32());
                let w = f64::from(self.weights[segment][k * self.width() + column].to_f32());
                sum = (sum.0 + a * w, sum.1 + (a * w).abs());
            }
        }
        sum
    }
}

const ROWS: [usize; 9] = [1, 2, 3, 5, 15, 16, 17, 64, 131];
/// Segments and columns: vector widths and their neighbours, short and longer than a block of k.
const SHAPES: [(&[usize], usize); 5] = [
    (&[32], 16),
    (&[7, 1, 30], 5),
    (&[320, 160], 80),
    (&[129, 3], 33),
    (&[64, 64, 64], 100),
];

fn cases() -> impl Iterator<Item = (&'static [usize], usize, Columns, usize, Layout)> {
    SHAPES.into_iter().flat_map(|(segments, n)| {
        ROWS.into_iter().flat_map(move |rows| {
            LAYOUTS.into_iter().enumerate().map(move |(index, layout)| {
                let columns = match (rows + index) % 2 {
                    0 => Columns::Gated,
                    _ => Columns::Plain,
                };
                (segments, n, columns, rows, layout)
            })
        })
    })
}

#[test]
fn f32_products_are_one_chain_of_fused_multiply_adds_on_every_instruction_set() {
    for (segments, n, columns, rows, layout) in cases() {
        let mut case = Case::<f32>::new(segments, n, columns, rows, layout);
        let expected = case.reference();
        for isa in Isa::available() {
            let what = format!("{isa} {segments:?} x {n} {columns:?}, {rows} rows, {layout:?}");
            assert_same_bits(&what, &case.sums(isa, &[], &[]).data, &expected.data);
        }
    }
}

#[test]
fn products_do_not_depend_on_how_rows_and_panels_are_cut() {
    fn check<E: Gemm>() {
        for (segments, n, columns, rows, layout) in cases() {
            let mut case = Case::<E>::new(segments, n, columns, rows, layout);
            for isa in Isa::available() {
                let whole = case.sums(isa, &[], &[]);
                for (row_cuts, panel_cuts) in [
                    (vec![1, 4, 20], vec![2]),
                    (vec![], vec![2, 4, 10]),
                    (vec![16, 32], vec![6]),
                ] {
                    let what = format!(
                        "{isa} {segments:?} x {n}, {rows} rows, cut {row_cuts:?} {panel_cuts:?}"
                    );
                    assert_same_bits(
                        &what,
                        &case.sums(isa, &row_cuts, &panel_cuts).data,
                        &whole.data,
                    );
                }
            }
        }
    }
    check::<f32>();
    check::<bf16>();
    check::<WideBf16>();
}

#[test]
fn bf16_products_are_near_the_exact_sums_of_their_operands() {
    for (segments, n, columns, rows, layout) in cases() {
        let mut case = Case::<bf16>::new(segments, n, columns, rows, layout);
        let terms: usize = segments.iter().sum();
        for isa in Isa::available() {
            let sums = case.sums(isa, &[], &[]);
            let mut wrong = Vec::new();
            for row in 0..rows {
                for at in 0..sums.width {
                    let found = sums.row(row)[at];
                    let Some(column) = case.column(at) else {
                        continue;
                    };
                    let (exact, magnitude) = case.exact(row, column, at);
                    // Products of bf16 are exact in f32; each of the additions rounds a partial
                    // sum, none larger than the sum of magnitudes, by at most 2^-24 of it. The
                    // dot-product instructions round to odd or twice per pair: within 2^-23.
                    let bound = terms as f64 * magnitude * f64::powi(2.0, -23);
                    // NaN is not within.
                    let within = (f64::from(found) - exact).abs() <= bound;
                    if !within {
                        wrong.push(format!(
                            "[{row}][{at}] {found} for {exact}, bound {bound:e}"
                        ));
                    }
                }
            }
            assert!(
                wrong.is_empty(),
                "{isa} {segments:?} x {n} {columns:?}, {rows} rows: {}",
                wrong[..wrong.len().min(10)].join(", ")
            );
        }
    }
}

#[test]
fn bf16_products_are_the_same_on_all_instruction_sets_without_bf16_instructions() {
    for (segments, n, columns, rows, layout) in cases() {
        let mut case = Case::<bf16>::new(segments, n, columns, rows, layout);
        let expected = case.reference();
        for isa in Isa::available() {
            if matches!(isa, Isa::Avx512Bf16 | Isa::Amx) {
                continue;
            }
            let what = format!("{isa} {segments:?} x {n} {columns:?}, {rows} rows, {layout:?}");
            assert_same_bits(&what, &case.sums(isa, &[], &[]).data, &expected.data);
        }
    }
}

#[test]
fn widened_bf16_gives_what_bf16_does_without_bf16_instructions() {
    for (segments, n, columns, rows, layout) in cases() {
        let expected = Case::<bf16>::new(segments, n, columns, rows, layout).reference();
        let mut case = Case::<WideBf16>::new(segments, n, columns, rows, layout);
        for isa in Isa::available() {
            let what = format!("{isa} {segments:?} x {n} {columns:?}, {rows} rows, {layout:?}");
            assert_same_bits(&what, &case.sums(isa, &[], &[]).data, &expected.data);
        }
    }
}
