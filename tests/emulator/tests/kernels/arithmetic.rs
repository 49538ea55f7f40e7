//! arithmetic.cu: elementary functions within the errors that the CUDA programming guide states (appendix
//! "Mathematical Functions"), packed halves and conversions exactly.

use crate::device::{Device, Numbers, arg, each, line};
use half::{bf16, f16};

/// A function's reference in f64, and its largest error: units in the last place, and absolute.
type Function = (&'static str, fn(f64) -> f64, fn(f64) -> f64, f64);

/// The error function by its Maclaurin series; for |x| <= 3 it loses fewer than 5 of f64's 15 digits.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

/// |x| + 1e-6 as the kernel rounds it.
fn positive(x: f64) -> f64 {
    f64::from((x as f32).abs() + 1e-6)
}

/// The distance from |v| to the next f32.
fn ulp(v: f64) -> f64 {
    let v = (v.abs() as f32).max(f32::MIN_POSITIVE);
    f64::from(f32::from_bits(v.to_bits() + 1)) - f64::from(v)
}

fn rows_of(d: &Device, kernel: &str, x: &[f32], functions: &[Function]) {
    let (n, rows) = (x.len(), functions.len());
    let (from, to) = (d.put(x), d.room::<f32>(n * rows));
    let shape = line(n.div_ceil(64) as u32, 64);
    d.run(kernel, shape, &[arg(from), arg(to), arg(n as u32)]);
    let found = d.get::<f32>(to, n * rows);
    for (row, (name, reference, ulps, abs)) in functions.iter().enumerate() {
        let rows = found[row * n..][..n].iter().zip(x);
        let pairs: Vec<(f32, f32, f64)> = rows
            .map(|(&y, &x)| (x, y, reference(f64::from(x))))
            .collect();
        // Half a unit is the rounding of an exact result.
        d.all(name, &pairs, |&(x, y, expected)| {
            let units = ulps(f64::from(x)).max(0.5);
            (f64::from(y) - expected).abs() <= units * ulp(expected) + abs
        });
    }
}

#[test]
fn elementary_functions() {
    let mut x = Numbers::new(110).floats(300, 3.0);
    x.extend([0.0, -0.0, 1.0, -1.0, 0.75, 1e-4, -1e-4, 2.9]);
    let functions: [Function; 12] = [
        ("exp", f64::exp, |_| 2.0, 0.0),
        ("log", |x| positive(x).ln(), |_| 1.0, 0.0),
        ("sin", f64::sin, |_| 2.0, 0.0),
        ("cos", f64::cos, |_| 2.0, 0.0),
        ("tanh", f64::tanh, |_| 2.0, 0.0),
        ("sqrt", |x| positive(x).sqrt(), |_| 0.0, 0.0),
        ("1/sqrt", |x| 1.0 / positive(x).sqrt(), |_| 2.0, 0.0),
        ("x/3", |x| x / 3.0, |_| 0.0, 0.0),
        ("pow", |x| positive(x).powf(1.5), |_| 4.0, 0.0),
        ("erf", erf, |_| 2.0, 0.0),
        ("log1p", |x| positive(x).ln_1p(), |_| 1.0, 0.0),
        ("fmod", |x| x % 0.75, |_| 0.0, 0.0),
    ];
    each("arithmetic", |d| rows_of(d, "functions", &x, &functions));
}

#[test]
fn fast_functions() {
    let x = Numbers::new(111).floats(300, 3.0);
    let of_exp = |x: f64| 2.0 + (1.173 * x).abs().floor();
    let functions: [Function; 6] = [
        ("exp", f64::exp, of_exp, 0.0),
        // 3 ulp outside [0.5, 2], 2^-21.41 absolute within.
        ("log", |x| positive(x).ln(), |_| 3.0, 3.6e-7),
        ("sin", f64::sin, |_| 0.5, 3.6e-7),
        ("cos", f64::cos, |_| 0.5, 4.2e-7),
        ("x/3", |x| x / 3.0, |_| 2.0, 0.0),
        // exp's error, less the share of exp in 1 + exp, and two roundings.
        (
            "logistic",
            |x| 1.0 / (1.0 + (-x).exp()),
            |x| 8.0 + x.abs(),
            0.0,
        ),
    ];
    each("arithmetic", |d| {
        rows_of(d, "fast_functions", &x, &functions)
    });
}

#[test]
fn double_functions() {
    let n = 200;
    let x: Vec<f64> = Numbers::new(112)
        .floats(n, 5.0)
        .into_iter()
        .map(f64::from)
        .collect();
    // The guide's units in the last place, and one for the host's own library where it is not exact.
    let functions: [Function; 5] = [
        ("exp", f64::exp, |_| 2.0, 0.0),
        ("log", |x| (x.abs() + 1e-6).ln(), |_| 2.0, 0.0),
        ("sin", f64::sin, |_| 3.0, 0.0),
        ("sqrt", |x| (x.abs() + 1e-6).sqrt(), |_| 0.0, 0.0),
        ("x/3", |x| x / 3.0, |_| 0.0, 0.0),
    ];
    each("arithmetic", |d| {
        let (from, to) = (d.put(&x), d.room::<f64>(n * 5));
        d.run(
            "double_functions",
            line(4, 64),
            &[arg(from), arg(to), arg(n as u32)],
        );
        let found = d.get::<f64>(to, n * 5);
        for (row, (name, reference, ulps, _)) in functions.iter().enumerate() {
            let rows = found[row * n..][..n].iter().zip(&x);
            let triples: Vec<(f64, f64, f64)> = rows.map(|(&y, &x)| (x, y, reference(x))).collect();
            d.all(name, &triples, |&(x, y, expected)| {
                let size = expected.abs();
                let unit = f64::from_bits(size.to_bits() + 1) - size;
                (y - expected).abs() <= ulps(x) * unit
            });
        }
    });
}

/// What the packed kernels compute, in f64: exact for the operands below, so that one rounding follows.
const PACKED: [fn(f64, f64) -> f64; 5] = [
    |a, b| a + b,
    |a, b| a * b,
    |a, b| a * b + b,
    f64::max,
    |a, b| a - b,
];

fn packed(kernel: &str, round: fn(f64) -> u16, value: fn(u16) -> f64) {
    let mut numbers = Numbers::new(113);
    let mut operand = || -> Vec<u16> {
        let v = numbers.floats(240, 8.0);
        v.into_iter().map(|v| round(f64::from(v))).collect()
    };
    let (a, b) = (operand(), operand());
    let expected: Vec<u16> = PACKED
        .iter()
        .flat_map(|f| {
            a.iter()
                .zip(&b)
                .map(|(&a, &b)| round(f(value(a), value(b))))
        })
        .collect();
    let ran = std::cell::Cell::new(false);
    each("arithmetic", |d| {
        if d.has(kernel) {
            ran.set(true);
            let (pa, pb, to) = (d.put(&a), d.put(&b), d.room::<u16>(240 * 5));
            let arguments = [arg(pa), arg(pb), arg(to), arg(120u32)];
            d.run(kernel, line(2, 64), &arguments);
            d.equal(kernel, &d.get::<u16>(to, 240 * 5), &expected);
        }
    });
    assert!(ran.get(), "no file has {kernel}");
}

#[test]
fn packed_halves() {
    packed(
        "half2_arithmetic",
        |v| f16::from_f64(v).to_bits(),
        |v| f16::from_bits(v).to_f64(),
    );
    packed(
        "bfloat2_arithmetic",
        |v| bf16::from_f64(v).to_bits(),
        |v| bf16::from_bits(v).to_f64(),
    );
}

#[test]
fn conversions() {
    let mut x = Numbers::new(114).floats(100, 300.0);
    // Ties, halves' largest, overflow and denormal numbers, infinities.
    x.extend([
        0.5, 1.5, 2.5, -0.5, -1.5, 254.5, 255.5, 65504.0, 65519.9, 65520.0,
    ]);
    x.extend([
        6.0e-8,
        2.9e-8,
        1e-40,
        3e9,
        -3e9,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ]);
    x.extend([1.003_906_3, 1.011_718_8, f32::MAX, 0.0, -0.0]);
    let n = x.len();
    let mut floats: Vec<f32> = x.iter().map(|&v| f16::from_f32(v).to_f32()).collect();
    floats.extend(x.iter().map(|&v| bf16::from_f32(v).to_f32()));
    let bits = |v: &[f32]| -> Vec<u32> { v.iter().map(|v| v.to_bits()).collect() };
    let roundings: [fn(f32) -> i32; 5] = [
        |v| v.round_ties_even() as i32,
        |v| v as i32,
        |v| v.floor() as i32,
        |v| v.ceil() as i32,
        |v| v.round_ties_even().clamp(0.0, 255.0) as i32,
    ];
    let integers: Vec<i32> = roundings
        .iter()
        .flat_map(|f| x.iter().map(|&v| f(v)))
        .collect();
    each("arithmetic", |d| {
        let (from, y, z) = (d.put(&x), d.room::<f32>(2 * n), d.room::<i32>(5 * n));
        let arguments = [arg(from), arg(y), arg(z), arg(n as u32)];
        d.run("conversions", line(2, 64), &arguments);
        d.equal("floats", &bits(&d.get::<f32>(y, 2 * n)), &bits(&floats));
        d.equal("integers", &d.get::<i32>(z, 5 * n), &integers);
    });
}
