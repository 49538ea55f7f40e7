//! Error bounds of the vectorised functions against f64 over all of f32.

use fastpix::cpu::isa::Isa;
use fastpix::cpu::math::{Function, apply};

/// Every 97th bit pattern (97 is prime, so all exponents, signs and many mantissas), and the ends.
fn inputs() -> Vec<f32> {
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
    (0..=u32::MAX)
        .step_by(97)
        .map(f32::from_bits)
        .chain(ends)
        .chain(near_one)
        .collect()
}

/// Distance in units in the last place of `expected`, measured at no less than the smallest normal
/// number's.
fn ulps(found: f32, expected: f64) -> f64 {
    let (_, exponent) = (
        expected,
        expected
            .abs()
            .max(f64::from(f32::MIN_POSITIVE))
            .log2()
            .floor(),
    );
    (f64::from(found) - expected).abs() / f64::powf(2.0, exponent - 23.0)
}

/// Checks one function on the best instruction set; the others must agree with it bit for bit.
fn check(function: Function, bound: f64, exact: impl Fn(f64) -> f64) {
    let inputs = inputs();
    let mut found = inputs.clone();
    apply(Isa::best(), function, &mut found);
    let mut worst = (0.0, 0.0, 0.0);
    let mut faults = Vec::new();
    for (&x, &y) in inputs.iter().zip(&found) {
        let expected = exact(f64::from(x));
        let rounded = expected as f32;
        if expected.is_nan() || rounded.is_infinite() {
            // An overflow may come one unit late or early.
            let near =
                rounded.is_infinite() && y.abs() == f32::MAX && y.signum() == rounded.signum();
            if !(y.is_nan() && expected.is_nan() || y == rounded || near) {
                faults.push(format!("{x:e}: {y:e} for {expected:e}"));
            }
        } else {
            let error = if y.is_finite() {
                ulps(y, expected)
            } else {
                ulps(f32::MAX, expected) + 1.0
            };
            let subnormal = expected.abs() < f64::from(f32::MIN_POSITIVE);
            let within = if subnormal {
                (f64::from(y) - expected).abs() <= f64::from(f32::MIN_POSITIVE)
            } else {
                error <= bound
            };
            if !within {
                faults.push(format!("{x:e}: {y:e} for {expected:e}, {error:.2} ulp"));
            }
            if !subnormal && error > worst.0 {
                worst = (error, x, y);
            }
        }
    }
    println!(
        "{function:?}: worst {:.3} ulp at {:e} ({:e})",
        worst.0, worst.1, worst.2
    );
    assert!(
        faults.is_empty(),
        "{function:?}: {} faults: {}",
        faults.len(),
        faults[..faults.len().min(10)].join("; ")
    );
    for isa in Isa::available() {
        // Instruction sets are compared on a part: the portable one is slow.
        let part: Vec<usize> = (0..inputs.len())
            .step_by(if isa == Isa::Portable { 53 } else { 1 })
            .collect();
        let mut other: Vec<f32> = part.iter().map(|&at| inputs[at]).collect();
        apply(isa, function, &mut other);
        for (&at, y) in part.iter().zip(other) {
            let same = y.to_bits() == found[at].to_bits() || y.is_nan() && found[at].is_nan();
            assert!(
                same,
                "{function:?} on {isa} at {:e}: {y:e}, elsewhere {:e}",
                inputs[at], found[at]
            );
        }
    }
}

#[test]
fn exp_is_within_its_bound() {
    check(Function::Exp, 2.0, f64::exp);
}

#[test]
fn expm1_is_within_its_bound() {
    check(Function::Expm1, 2.0, f64::exp_m1);
}

#[test]
fn sigmoid_is_within_its_bound() {
    check(Function::Sigmoid, 3.0, |x| 1.0 / (1.0 + (-x).exp()));
}

#[test]
fn tanh_is_within_its_bound() {
    check(Function::Tanh, 3.0, f64::tanh);
}

#[test]
fn log_is_within_its_bound() {
    check(Function::Log, 2.0, f64::ln);
}

#[test]
fn elu_is_within_its_bound() {
    check(Function::Elu, 2.0, |x| if x > 0.0 { x } else { x.exp_m1() });
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
