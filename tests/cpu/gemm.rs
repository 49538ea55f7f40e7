//! Gemm, epilogues and their independence of how work is cut, for every instruction set that
//! this machine has.

use fastpix::cpu::epilogue::{Destination, Op, finish};
use fastpix::cpu::gemm::{Columns, PANEL, Packed, accumulate};
use fastpix::cpu::isa::Isa;
use fastpix::cpu::rows::{Element, Rows};
use half::bf16;

/// Numbers in [-1, 1) from a linear congruential generator.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// How rows lie in memory: rows per group, and what is left free behind rows and groups.
#[derive(Clone, Copy, Debug)]
struct Layout {
    group: usize,
    row_gap: usize,
    group_gap: usize,
}

const LAYOUTS: [Layout; 3] = [
    Layout {
        group: usize::MAX,
        row_gap: 0,
        group_gap: 0,
    },
    Layout {
        group: 3,
        row_gap: 5,
        group_gap: 7,
    },
    Layout {
        group: 1,
        row_gap: 0,
        group_gap: 64,
    },
];

/// Rows of elements, with a value in the gaps that would be noticed.
#[derive(Clone)]
struct Matrix<T> {
    data: Vec<T>,
    width: usize,
    layout: Layout,
}

impl<T: Copy> Matrix<T> {
    fn new(
        rows: usize,
        width: usize,
        layout: Layout,
        gap: T,
        mut value: impl FnMut(usize, usize) -> T,
    ) -> Self {
        let mut matrix = Self {
            data: Vec::new(),
            width,
            layout,
        };
        matrix.data = vec![
            gap;
            (0..rows)
                .map(|row| matrix.start(row) + width)
                .max()
                .unwrap_or(0)
        ];
        for row in 0..rows {
            for column in 0..width {
                let at = matrix.start(row) + column;
                matrix.data[at] = value(row, column);
            }
        }
        matrix
    }

    fn start(&self, row: usize) -> usize {
        let group = self.layout.group;
        (row / group) * self.group_stride() + (row % group) * (self.width + self.layout.row_gap)
    }

    fn group_stride(&self) -> usize {
        match self.layout.group {
            usize::MAX => 0,
            group => group * (self.width + self.layout.row_gap) + self.layout.group_gap,
        }
    }

    fn row(&self, row: usize) -> &[T] {
        &self.data[self.start(row)..][..self.width]
    }

    fn rows(&mut self) -> Rows<T> {
        Rows {
            base: self.data.as_mut_ptr(),
            row_stride: self.width + self.layout.row_gap,
            group: self.layout.group,
            group_stride: self.group_stride(),
        }
    }
}

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

impl<E: Element> Case<E> {
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
    fn sums(&mut self, isa: Isa, row_cuts: &[usize], unit_cuts: &[usize]) -> Matrix<f32> {
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
            for panels in cuts(packed.panels(), unit_cuts) {
                // SAFETY: the matrices have these rows; sums and operands are apart.
                unsafe { accumulate(isa, &packed, panels, rows.clone(), &operands, to) };
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

/// Panics with the first ten places where bits differ (all NaN are alike).
fn assert_same_bits(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    let faults: Vec<String> = found
        .iter()
        .zip(expected)
        .enumerate()
        .filter(|(_, (a, b))| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan()))
        .map(|(at, (a, b))| format!("[{at}] {a:e} for {b:e}"))
        .collect();
    assert!(
        faults.is_empty(),
        "{what}: {} of {} differ: {}",
        faults.len(),
        found.len(),
        faults[..faults.len().min(10)].join(", ")
    );
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
fn products_do_not_depend_on_how_rows_and_units_are_cut() {
    fn check<E: Element>() {
        for (segments, n, columns, rows, layout) in cases() {
            let mut case = Case::<E>::new(segments, n, columns, rows, layout);
            for isa in Isa::available() {
                let whole = case.sums(isa, &[], &[]);
                for (row_cuts, unit_cuts) in [
                    (vec![1, 4, 20], vec![2]),
                    (vec![], vec![2, 4, 10]),
                    (vec![16, 32], vec![6]),
                ] {
                    let what = format!(
                        "{isa} {segments:?} x {n}, {rows} rows, cut {row_cuts:?} {unit_cuts:?}"
                    );
                    assert_same_bits(
                        &what,
                        &case.sums(isa, &row_cuts, &unit_cuts).data,
                        &whole.data,
                    );
                }
            }
        }
    }
    check::<f32>();
    check::<bf16>();
}

#[test]
fn bf16_products_are_near_the_exact_sums_of_their_operands() {
    for (segments, n, columns, rows, layout) in cases() {
        let mut case = Case::<bf16>::new(segments, n, columns, rows, layout);
        let terms: usize = segments.iter().sum();
        for isa in Isa::available() {
            let sums = case.sums(isa, &[], &[]);
            let mut faults = Vec::new();
            for row in 0..rows {
                for at in 0..sums.width {
                    let found = sums.row(row)[at];
                    let Some(column) = case.column(at) else {
                        continue;
                    };
                    let (exact, magnitude) = case.exact(row, column, at);
                    // Gemm of bf16 are exact in f32; each of the additions rounds a partial
                    // sum, none larger than the sum of magnitudes, by at most 2^-24 of it. The
                    // dot-product instructions round to odd or twice per pair: within 2^-23.
                    let bound = terms as f64 * magnitude * f64::powi(2.0, -23);
                    // NaN is not within.
                    let within = (f64::from(found) - exact).abs() <= bound;
                    if !within {
                        faults.push(format!(
                            "[{row}][{at}] {found} for {exact}, bound {bound:e}"
                        ));
                    }
                }
            }
            assert!(
                faults.is_empty(),
                "{isa} {segments:?} x {n} {columns:?}, {rows} rows: {}",
                faults[..faults.len().min(10)].join(", ")
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

/// What `finish` writes: raw, operand, elu, concat_elu.
#[derive(Clone)]
struct Outputs<E> {
    raw: Matrix<f32>,
    operand: Matrix<E>,
    elu: Matrix<E>,
    concat_elu: Matrix<E>,
}

impl<E: Element> Outputs<E> {
    fn new(rows: usize, n: usize, layout: Layout) -> Self {
        // Every place that is not written keeps this.
        let old = E::from_f32(-77.0);
        Self {
            raw: Matrix::new(rows, n, layout, -77.0, |_, _| -77.0),
            operand: Matrix::new(rows, n, layout, old, |_, _| old),
            elu: Matrix::new(rows, n, layout, old, |_, _| old),
            concat_elu: Matrix::new(rows, 2 * n, layout, old, |_, _| old),
        }
    }

    fn destination(&mut self) -> Destination<E> {
        Destination {
            raw: Some(self.raw.rows()),
            operand: Some(self.operand.rows()),
            elu: Some(self.elu.rows()),
            concat_elu: Some(self.concat_elu.rows()),
        }
    }

    fn all(&self) -> Vec<f32> {
        let elements = [&self.operand, &self.elu, &self.concat_elu];
        let elements = elements
            .into_iter()
            .flat_map(|matrix| matrix.data.iter().map(|e| e.to_f32()));
        self.raw.data.iter().copied().chain(elements).collect()
    }
}

fn finished<E: Element>(
    isa: Isa,
    op: Op,
    n: usize,
    rows: usize,
    layout: Layout,
    cut: usize,
) -> (Outputs<E>, Matrix<f32>, Matrix<f32>) {
    let mut numbers = Numbers(n as u64);
    let halves = if op == Op::Gate { 2 } else { 1 };
    let panels = halves * n.div_ceil(PANEL);
    let mut sums = Matrix::new(rows, panels * PANEL, LAYOUTS[0], 0.0, |_, _| {
        9.0 * numbers.next()
    });
    let mut residual = Matrix::new(rows, n, layout, f32::NAN, |_, _| 3.0 * numbers.next());
    let mut outputs = Outputs::new(rows, n, layout);
    let to = outputs.destination();
    let cut = (halves * cut).min(panels);
    for panels in [0..cut, cut..panels] {
        // SAFETY: all matrices have these rows and are apart.
        unsafe {
            finish(
                isa,
                op,
                n,
                panels,
                0..rows,
                sums.rows(),
                Some(residual.rows()),
                &to,
            )
        };
    }
    (outputs, sums, residual)
}

#[test]
fn epilogues_write_what_they_say() {
    for n in [1, 5, 16, 33, 160] {
        for (op, layout) in [
            (Op::Plain, LAYOUTS[1]),
            (Op::Gate, LAYOUTS[1]),
            (Op::Gate, LAYOUTS[0]),
        ] {
            for isa in Isa::available() {
                let (outputs, sums, residual) = finished::<f32>(isa, op, n, 7, layout, 1);
                let mut faults = Vec::new();
                let mut check =
                    |what: &str, row: usize, column: usize, found: f32, expected: f64| {
                        // y itself is within a few panels in the last place of its largest term.
                        let within =
                            (f64::from(found) - expected).abs() <= 2e-6 + 2e-6 * expected.abs();
                        if !within {
                            faults.push(format!("{what}[{row}][{column}] {found} for {expected}"));
                        }
                    };
                let elu = |x: f64| if x > 0.0 { x } else { x.exp_m1() };
                for row in 0..7 {
                    for column in 0..n {
                        let sum =
                            |panel: usize| f64::from(sums.row(row)[panel * PANEL + column % PANEL]);
                        let group = column / PANEL;
                        let y = match op {
                            Op::Plain => sum(group),
                            Op::Gate => {
                                f64::from(residual.row(row)[column])
                                    + sum(2 * group) / (1.0 + (-sum(2 * group + 1)).exp())
                            }
                        };
                        check("raw", row, column, outputs.raw.row(row)[column], y);
                        check("operand", row, column, outputs.operand.row(row)[column], y);
                        check("elu", row, column, outputs.elu.row(row)[column], elu(y));
                        check(
                            "concat_elu",
                            row,
                            column,
                            outputs.concat_elu.row(row)[column],
                            elu(y),
                        );
                        check(
                            "concat_elu",
                            row,
                            n + column,
                            outputs.concat_elu.row(row)[n + column],
                            elu(-y),
                        );
                    }
                }
                assert!(
                    faults.is_empty(),
                    "{isa} {op:?} {n}: {}",
                    faults[..faults.len().min(10)].join(", ")
                );
                let gaps = outputs.all().iter().filter(|&&v| v == -77.0).count();
                let written = 7 * 5 * n;
                assert_eq!(
                    gaps,
                    outputs.all().len() - written,
                    "{isa} {op:?} {n}: something was written in a gap"
                );
            }
        }
    }
}

#[test]
fn epilogues_give_the_same_bits_on_every_instruction_set_and_cut() {
    fn check<E: Element>() {
        for n in [1, 5, 16, 33, 160] {
            for op in [Op::Plain, Op::Gate] {
                let expected = finished::<E>(Isa::Portable, op, n, 5, LAYOUTS[1], 0)
                    .0
                    .all();
                for isa in Isa::available() {
                    for cut in [0, 1, 2, 100] {
                        let found = finished::<E>(isa, op, n, 5, LAYOUTS[1], cut).0.all();
                        assert_same_bits(
                            &format!("{isa} {op:?} {n} cut at {cut}"),
                            &found,
                            &expected,
                        );
                    }
                }
            }
        }
    }
    check::<f32>();
    check::<bf16>();
}

#[test]
fn bf16_stores_round_as_the_scalar_conversion_does() {
    // Every high half with low halves around the rounding boundary, NaN and infinities among them.
    let low = [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff];
    let values: Vec<f32> = (0..=0xffffu32)
        .flat_map(|high| low.map(|low| f32::from_bits(high << 16 | low)))
        .collect();
    let rows = values.len() / PANEL;
    for isa in Isa::available() {
        let mut sums = Matrix::new(rows, PANEL, LAYOUTS[0], 0.0, |row, column| {
            values[row * PANEL + column]
        });
        let mut outputs = Outputs::<bf16>::new(rows, PANEL, LAYOUTS[0]);
        let to = Destination {
            raw: None,
            operand: Some(outputs.operand.rows()),
            elu: None,
            concat_elu: None,
        };
        // SAFETY: both matrices have these rows.
        unsafe { finish(isa, Op::Plain, PANEL, 0..1, 0..rows, sums.rows(), None, &to) };
        for (&value, &found) in values.iter().zip(&outputs.operand.data) {
            let expected = bf16::from_f32(value);
            assert_eq!(
                found.to_bits(),
                expected.to_bits(),
                "{isa}: {value:e} ({:#x})",
                value.to_bits()
            );
        }
    }
}
