//! Error bounds of the vectorised functions against f64, and the same bits from all instruction
//! sets: on every 97th f32, and on request on all of them.

use fastpix::cpu::isa::Isa;
use fastpix::cpu::math::{Function, apply};

/// A function, its bound in units in the last place, and what it should compute.
type Case = (Function, f64, fn(f64) -> f64);

const EXP: Case = (Function::Exp, 2.0, f64::exp);
const EXPM1: Case = (Function::Expm1, 2.0, f64::exp_m1);
const SIGMOID: Case = (Function::Sigmoid, 3.0, |x| 1.0 / (1.0 + (-x).exp()));
const TANH: Case = (Function::Tanh, 3.0, f64::tanh);
const LOG: Case = (Function::Log, 2.0, f64::ln);
const ELU: Case = (Function::Elu, 2.0, |x| if x > 0.0 { x } else { x.exp_m1() });

/// Distance between the bit patterns that are tried: prime, so that all exponents, both signs and
/// all ends of mantissas are among them.
const STRIDE: usize = 97;

/// Inputs checked together.
const BLOCK: usize = 1 << 16;

/// Inputs that no stride may miss.
fn special() -> Vec<f32> {
    let ends = [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1.0,
        -1.0,
    ];
    let near_one = (0..4000).map(|i| f32::from_bits(1f32.to_bits() - 2000 + i));
    ends.into_iter().chain(near_one).collect()
}

/// Distance in units in the last place of `expected`, measured at no less than the smallest normal
/// number's.
fn ulps(found: f32, expected: f64) -> f64 {
    let magnitude = expected.abs().max(f64::from(f32::MIN_POSITIVE));
    // The power of two at or below: an f64 without its mantissa.
    let power = f64::from_bits(magnitude.to_bits() & !((1 << 52) - 1));
    (f64::from(found) - expected).abs() / power * f64::from(1 << 23)
}

/// What is wrong with a value, or its error where that counts.
fn error(x: f32, y: f32, (_, bound, exact): Case) -> Result<f64, String> {
    let expected = exact(f64::from(x));
    let rounded = expected as f32;
    let wrong = || Err(format!("{x:e}: {y:e} for {expected:e}"));
    if expected.is_nan() || rounded.is_infinite() {
        // An overflow may come one unit late or early.
        let near = rounded.is_infinite() && y.abs() == f32::MAX && y.signum() == rounded.signum();
        let right = y.is_nan() && expected.is_nan() || y == rounded || near;
        return if right { Ok(0.0) } else { wrong() };
    }
    if expected.abs() < f64::from(f32::MIN_POSITIVE) {
        let right = (f64::from(y) - expected).abs() <= f64::from(f32::MIN_POSITIVE);
        return if right { Ok(0.0) } else { wrong() };
    }
    let error = if y.is_finite() {
        ulps(y, expected)
    } else {
        ulps(f32::MAX, expected) + 1.0
    };
    if error <= bound { Ok(error) } else { wrong() }
}

/// Checks one function on the best instruction set; the others must agree with it bit for bit, the
/// portable one, which is slow, on every `portable_stride`th input.
fn check(case: Case, stride: usize, portable_stride: usize) {
    let function = case.0;
    let mut worst = (0.0, 0.0, 0.0);
    let mut wrong = Vec::new();
    let all = (0..=u32::MAX).step_by(stride).map(f32::from_bits);
    let mut all = special().into_iter().chain(all);
    loop {
        let inputs: Vec<f32> = all.by_ref().take(BLOCK).collect();
        if inputs.is_empty() {
            break;
        }
        let mut found = inputs.clone();
        apply(Isa::best(), function, &mut found);
        for (&x, &y) in inputs.iter().zip(&found) {
            match error(x, y, case) {
                Ok(error) if error > worst.0 => worst = (error, x, y),
                Ok(_) => {}
                Err(text) => wrong.push(text),
            }
        }
        for isa in Isa::available() {
            let stride = if isa == Isa::Portable {
                portable_stride
            } else {
                1
            };
            let tried = inputs.iter().zip(&found).step_by(stride);
            let mut other: Vec<f32> = tried.clone().map(|(&x, _)| x).collect();
            apply(isa, function, &mut other);
            for ((x, y), z) in tried.zip(&other) {
                let same = y.to_bits() == z.to_bits() || y.is_nan() && z.is_nan();
                assert!(
                    same,
                    "{function:?} on {isa} at {x:e}: {z:e}, elsewhere {y:e}"
                );
            }
        }
    }
    println!(
        "{function:?}: worst {:.3} ulp at {:e} ({:e})",
        worst.0, worst.1, worst.2
    );
    assert!(
        wrong.is_empty(),
        "{function:?}: {} values: {}",
        wrong.len(),
        wrong[..wrong.len().min(10)].join("; ")
    );
}

#[test]
fn exp_is_within_its_bound() {
    check(EXP, STRIDE, 53);
}

#[test]
fn expm1_is_within_its_bound() {
    check(EXPM1, STRIDE, 53);
}

#[test]
fn sigmoid_is_within_its_bound() {
    check(SIGMOID, STRIDE, 53);
}

#[test]
fn tanh_is_within_its_bound() {
    check(TANH, STRIDE, 53);
}

#[test]
fn log_is_within_its_bound() {
    check(LOG, STRIDE, 53);
}

#[test]
fn elu_is_within_its_bound() {
    check(ELU, STRIDE, 53);
}

#[test]
#[ignore = "takes about an hour: cargo test --release --test cpu every_f32 -- --ignored --nocapture"]
fn every_f32_is_within_its_bound() {
    for case in [EXP, EXPM1, SIGMOID, TANH, LOG, ELU] {
        check(case, 1, 1);
    }
}

#[test]
fn slices_of_any_length_are_covered() {
    for length in 0..40 {
        let mut values: Vec<f32> = (0..length).map(|i| i as f32).collect();
        apply(Isa::best(), Function::Exp, &mut values);
        for (i, &y) in values.iter().enumerate() {
            assert!(ulps(y, f64::exp(i as f64)) <= 2.0, "{i} of {length}: {y}");
        }
    }
}
