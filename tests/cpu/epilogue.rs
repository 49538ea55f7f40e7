use fastpix::cpu::epilogue::{Destination, Op, finish};
use fastpix::cpu::gemm::PANEL;
use fastpix::cpu::isa::Isa;
use fastpix::cpu::rows::Element;
use half::bf16;

use crate::matrix::{LAYOUTS, Layout, Matrix, Numbers, assert_same_bits};

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
                        // y itself is within a few units in the last place of its largest term.
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
