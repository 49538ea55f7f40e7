//! The option that perturbs approximate functions: within their documented errors, repeatably.

use crate::run_on;
use cuda_emulator::DeviceConfig;

fn perturbed(seed: Option<u64>, body: &str, bits: u32, operands: &[[u64; 3]]) -> Vec<u64> {
    let config = DeviceConfig {
        perturb_approx: seed,
        compute_capability: (9, 0),
        ..DeviceConfig::default()
    };
    run_on(config, body, &[bits, bits], bits, operands).expect("a clean run")
}

/// How a value is put into a register, taken out of it, the register's bits and the binary places of the format.
type Coding = (fn(f64) -> u64, fn(u64) -> f64, u32, i32);

/// Checks a function at 400 places: its error against the documented one (relative and absolute) and
/// half a unit in the last of `places` binary places; how far the perturbations reach; and that they
/// repeat.
fn check(
    body: &str,
    exact: fn(f64) -> f64,
    relative: f64,
    absolute: f64,
    (encode, decode, bits, places): Coding,
) {
    let operands: Vec<[u64; 3]> = (1..=400)
        .map(|i| [encode(f64::from(i) * 0.0157), encode(1.0), 0])
        .collect();
    let plain = perturbed(None, body, bits, &operands);
    let mut widest = 0f64;
    let mut results = Vec::new();
    for seed in [1, 2, 3] {
        let found = perturbed(Some(seed), body, bits, &operands);
        assert_eq!(
            found,
            perturbed(Some(seed), body, bits, &operands),
            "{body}"
        );
        for (o, found) in operands.iter().zip(&found) {
            let wanted = exact(decode(o[0]));
            let allowed = relative * wanted.abs() + absolute;
            let rounding = wanted.abs() * 2f64.powi(-places - 1) + 1e-7 * absolute;
            let error = (decode(*found) - wanted).abs();
            assert!(
                error <= allowed * 1.000001 + rounding * 1.01,
                "{body} at {}: error {error:e}, allowed {allowed:e}",
                decode(o[0])
            );
            widest = widest.max(error / allowed);
        }
        let moved = found.iter().zip(&plain).filter(|(a, b)| a != b).count();
        assert!(moved > 40, "{body}: only {moved} of 400 moved");
        results.push(found);
    }
    assert!(
        widest > 0.5,
        "{body}: at most {widest} of the allowed error"
    );
    assert_ne!(results[0], results[1]);
}

const SINGLE: Coding = (
    |v| u64::from((v as f32).to_bits()),
    |x| f64::from(f32::from_bits(x as u32)),
    32,
    23,
);
const HALF: Coding = (
    |v| u64::from(half::f16::from_f32(v as f32).to_bits()),
    |x| half::f16::from_bits(x as u16).to_f64(),
    16,
    10,
);
const BRAIN: Coding = (
    |v| u64::from(half::bf16::from_f32(v as f32).to_bits()),
    |x| half::bf16::from_bits(x as u16).to_f64(),
    16,
    7,
);

#[test]
fn perturbations_stay_within_the_documented_errors() {
    let p = |n: f64| 2f64.powf(n);
    check("ex2.approx.f32 %d, %a;", f64::exp2, p(-22.0), 0.0, SINGLE);
    check("rcp.approx.f32 %d, %a;", f64::recip, p(-23.0), 0.0, SINGLE);
    check("sqrt.approx.f32 %d, %a;", f64::sqrt, p(-23.0), 0.0, SINGLE);
    check(
        "rsqrt.approx.f32 %d, %a;",
        |x| x.sqrt().recip(),
        p(-22.9),
        0.0,
        SINGLE,
    );
    check("sin.approx.f32 %d, %a;", f64::sin, 0.0, p(-20.5), SINGLE);
    check("cos.approx.f32 %d, %a;", f64::cos, 0.0, p(-20.5), SINGLE);
    check("tanh.approx.f32 %d, %a;", f64::tanh, p(-11.0), 0.0, SINGLE);
    check(
        "div.approx.f32 %d, %b, %a;",
        f64::recip,
        p(-22.0),
        0.0,
        SINGLE,
    );
    check(
        "div.full.f32 %d, %b, %a;",
        f64::recip,
        p(-22.0),
        0.0,
        SINGLE,
    );
    check("tanh.approx.f16 %d, %a;", f64::tanh, 0.0, p(-10.987), HALF);
    check("ex2.approx.f16 %d, %a;", f64::exp2, p(-9.9), 0.0, HALF);
    check("tanh.approx.bf16 %d, %a;", f64::tanh, 0.0, p(-8.0), BRAIN);
    check(
        "ex2.approx.ftz.bf16 %d, %a;",
        f64::exp2,
        p(-7.0),
        0.0,
        BRAIN,
    );
    // The error is absolute near one and relative elsewhere, where it is then larger.
    check(
        "lg2.approx.f32 %d, %a;",
        f64::log2,
        p(-22.0),
        p(-22.0),
        SINGLE,
    );
}

#[test]
fn exact_instructions_are_never_perturbed() {
    let operands: Vec<[u64; 3]> = (1..200)
        .map(|i| {
            [
                SINGLE.0(f64::from(i) * 0.37),
                SINGLE.0(f64::from(i) * 1.7),
                0,
            ]
        })
        .collect();
    for body in [
        "add.f32 %d, %a, %b;",
        "div.rn.f32 %d, %a, %b;",
        "sqrt.rn.f32 %d, %a;",
        "rcp.rn.f32 %d, %a;",
        "fma.rn.f32 %d, %a, %b, %a;",
    ] {
        let plain = perturbed(None, body, 32, &operands);
        assert_eq!(perturbed(Some(5), body, 32, &operands), plain, "{body}");
    }
}
