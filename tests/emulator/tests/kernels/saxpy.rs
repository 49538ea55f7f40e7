//! saxpy.cu: y = a x + y in three forms, all with one rounding.

use crate::device::{Numbers, arg, each, line};
use half::f16;

#[test]
fn one_by_one_and_in_vectors() {
    let mut numbers = Numbers::new(100);
    let (a, x, y) = (0.3f32, numbers.floats(500, 10.0), numbers.floats(500, 10.0));
    let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| a.mul_add(*x, *y)).collect();
    each("saxpy", |d| {
        for (kernel, shape, n) in [
            ("saxpy", line(4, 128), 500u32),
            ("saxpy_vector", line(2, 32), 125),
        ] {
            let (from, to) = (d.put(&x), d.put(&y));
            d.run(kernel, shape, &[arg(a), arg(from), arg(to), arg(n)]);
            d.equal(kernel, &d.get::<f32>(to, 500), &expected);
        }
    });
}

#[test]
fn in_pairs_of_halves() {
    let mut numbers = Numbers::new(101);
    let mut halves = || -> Vec<f16> {
        let v = numbers.floats(300, 10.0);
        v.into_iter().map(f16::from_f32).collect()
    };
    let (a, x, y) = (f16::from_f32(0.3), halves(), halves());
    // The product and sum of such halves are exact in f64.
    let expected: Vec<u16> = (x.iter().zip(&y))
        .map(|(x, y)| f16::from_f64(a.to_f64() * x.to_f64() + y.to_f64()).to_bits())
        .collect();
    let bits = |v: &[f16]| -> Vec<u16> { v.iter().map(|v| v.to_bits()).collect() };
    each("saxpy", |d| {
        let (from, to) = (d.put(&bits(&x)), d.put(&bits(&y)));
        let arguments = [arg(a.to_bits()), arg(from), arg(to), arg(150u32)];
        d.run("saxpy_half2", line(3, 64), &arguments);
        d.equal("halves", &d.get::<u16>(to, 300), &expected);
    });
}
