use fastpix::cpu::element::{Element, WideBf16};
use fastpix::cpu::epilogue::Epilogue;
use fastpix::cpu::gemm::PANEL;
use fastpix::cpu::isa::Isa;
use fastpix::network::{Activation, Gate};
use half::bf16;

use crate::matrix::{LAYOUTS, Layout, Matrix, Numbers, assert_same_bits};

/// What an epilogue does beside the activations.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kind {
    gate: Option<Gate>,
    residual: bool,
}

const KINDS: [Kind; 6] = {
    const fn kind(gate: Option<Gate>, residual: bool) -> Kind {
        Kind { gate, residual }
    }
    [
        kind(None, false),
        kind(None, true),
        kind(Some(Gate::Sigmoid), false),
        kind(Some(Gate::Sigmoid), true),
        kind(Some(Gate::TanhSigmoid), false),
        kind(Some(Gate::TanhSigmoid), true),
    ]
};

/// What an epilogue writes: `y` in f32, and each of its activations.
#[derive(Clone)]
struct Written<E> {
    residual: Matrix<f32>,
    operands: Vec<Matrix<E>>,
}

/// What is in every place that is not written.
const OLD: f32 = -77.0;

impl<E: Element> Written<E> {
    fn new(rows: usize, n: usize, layout: Layout) -> Self {
        let old = E::from_f32(OLD);
        let operand = |activation: Activation| {
            Matrix::new(rows, activation.channels(n), layout, old, |_, _| old)
        };
        Self {
            residual: Matrix::new(rows, n, layout, OLD, |_, _| OLD),
            operands: Activation::ALL.map(operand).into(),
        }
    }

    fn all(&self) -> Vec<f32> {
        let operands = self.operands.iter();
        let operands = operands.flat_map(|matrix| matrix.data.iter().map(|e| e.to_f32()));
        self.residual.data.iter().copied().chain(operands).collect()
    }
}

/// Applies an epilogue in two cuts; returns what it wrote, and what it read.
fn applied<E: Element>(
    isa: Isa,
    kind: Kind,
    n: usize,
    rows: usize,
    layout: Layout,
    cut: usize,
) -> (Written<E>, Matrix<f32>, Matrix<f32>) {
    let mut numbers = Numbers(n as u64);
    let halves = if kind.gate.is_some() { 2 } else { 1 };
    let panels = halves * n.div_ceil(PANEL);
    let mut outputs = Matrix::new(rows, panels * PANEL, LAYOUTS[0], 0.0, |_, _| {
        9.0 * numbers.next()
    });
    let mut residual = Matrix::new(rows, n, layout, f32::NAN, |_, _| 3.0 * numbers.next());
    let mut written = Written::new(rows, n, layout);
    let mut epilogue = Epilogue::<E> {
        gate: kind.gate,
        residual: kind.residual.then(|| residual.rows()),
        to_residual: Some(written.residual.rows()),
        ..Epilogue::default()
    };
    for (to, matrix) in epilogue.to_operands.iter_mut().zip(&mut written.operands) {
        *to = Some(matrix.rows());
    }
    let cut = (halves * cut).min(panels);
    for panels in [0..cut, cut..panels] {
        // SAFETY: all matrices have these rows and are apart.
        unsafe { epilogue.apply(isa, n, panels, 0..rows, outputs.rows()) };
    }
    (written, outputs, residual)
}

/// Channel `column` of the operand that holds an activation of `y`.
fn expected(activation: Activation, y: f64, second_half: bool) -> f64 {
    let elu = |x: f64| if x > 0.0 { x } else { x.exp_m1() };
    match activation {
        Activation::Identity => y,
        Activation::Relu => y.max(0.0),
        Activation::Elu => elu(y),
        Activation::ConcatElu if second_half => elu(-y),
        Activation::ConcatElu => elu(y),
        Activation::Tanh => y.tanh(),
    }
}

#[test]
fn epilogues_write_what_they_say() {
    for n in [1, 5, 16, 33, 160] {
        for (kind, layout) in KINDS
            .map(|kind| (kind, LAYOUTS[1]))
            .into_iter()
            .chain([(KINDS[3], LAYOUTS[0]), (KINDS[5], LAYOUTS[2])])
        {
            for isa in Isa::available() {
                let (written, outputs, residual) = applied::<f32>(isa, kind, n, 7, layout, 1);
                let mut wrong = Vec::new();
                let mut check = |what: String, found: f32, expected: f64| {
                    // y itself is within a few units in the last place of its largest term.
                    let close = (f64::from(found) - expected).abs() <= 2e-6 + 2e-6 * expected.abs();
                    if !close {
                        wrong.push(format!("{what} {found} for {expected}"));
                    }
                };
                for row in 0..7 {
                    for column in 0..n {
                        let output = |panel: usize| {
                            f64::from(outputs.row(row)[panel * PANEL + column % PANEL])
                        };
                        let group = column / PANEL;
                        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                        let mut y = match kind.gate {
                            None => output(group),
                            Some(Gate::Sigmoid) => {
                                output(2 * group) * sigmoid(output(2 * group + 1))
                            }
                            Some(Gate::TanhSigmoid) => {
                                output(2 * group).tanh() * sigmoid(output(2 * group + 1))
                            }
                        };
                        if kind.residual {
                            y += f64::from(residual.row(row)[column]);
                        }
                        let found = written.residual.row(row)[column];
                        check(format!("y[{row}][{column}]"), found, y);
                        for activation in Activation::ALL {
                            let matrix = &written.operands[activation as usize];
                            for at in (column..activation.channels(n)).step_by(n) {
                                let what = format!("{activation:?}[{row}][{at}]");
                                check(what, matrix.row(row)[at], expected(activation, y, at >= n));
                            }
                        }
                    }
                }
                assert!(
                    wrong.is_empty(),
                    "{isa} {kind:?} {n}: {}",
                    wrong[..wrong.len().min(10)].join(", ")
                );
                let all = written.all();
                let old = all.iter().filter(|&&value| value == OLD).count();
                // y, five activations, and the second half of one.
                assert_eq!(
                    old,
                    all.len() - 7 * 7 * n,
                    "{isa} {kind:?} {n}: something was written in a gap"
                );
            }
        }
    }
}

#[test]
fn epilogues_give_the_same_bits_on_every_instruction_set_and_cut() {
    fn check<E: Element>() {
        for n in [1, 5, 16, 33, 160] {
            for kind in KINDS {
                let expected = applied::<E>(Isa::Portable, kind, n, 5, LAYOUTS[1], 0);
                let expected = expected.0.all();
                for isa in Isa::available() {
                    for cut in [0, 1, 2, 100] {
                        let found = applied::<E>(isa, kind, n, 5, LAYOUTS[1], cut).0.all();
                        let what = format!("{isa} {kind:?} {n} cut at {cut}");
                        assert_same_bits(&what, &found, &expected);
                    }
                }
            }
        }
    }
    check::<f32>();
    check::<bf16>();
    check::<WideBf16>();
}

#[test]
fn bf16_stores_round_as_the_scalar_conversion_does() {
    // Every high half with low halves around the rounding boundary, NaN and infinities among them.
    let low = [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff];
    let values: Vec<f32> = (0..=0xffffu32)
        .flat_map(|high| low.map(|low| f32::from_bits(high << 16 | low)))
        .collect();
    let rows = values.len() / PANEL;
    /// The f32 bits of what is stored of some values.
    fn stored<E: Element>(isa: Isa, values: &[f32], rows: usize) -> Vec<u32> {
        let mut outputs = Matrix::new(rows, PANEL, LAYOUTS[0], 0.0, |row, column| {
            values[row * PANEL + column]
        });
        let mut written = Written::<E>::new(rows, PANEL, LAYOUTS[0]);
        let identity = &mut written.operands[Activation::Identity as usize];
        let mut epilogue = Epilogue::default();
        epilogue.to_operands[Activation::Identity as usize] = Some(identity.rows());
        // SAFETY: both matrices have these rows.
        unsafe { epilogue.apply(isa, PANEL, 0..1, 0..rows, outputs.rows()) };
        identity.data.iter().map(|e| e.to_f32().to_bits()).collect()
    }
    for isa in Isa::available() {
        let narrow = stored::<bf16>(isa, &values, rows);
        let wide = stored::<WideBf16>(isa, &values, rows);
        assert!(narrow == wide, "{isa}: widened or not");
        for (&value, found) in values.iter().zip(narrow) {
            let expected = bf16::from_f32(value).to_f32().to_bits();
            assert_eq!(found, expected, "{isa}: {value:e} ({:#x})", value.to_bits());
        }
    }
}
