//! tensor.cu: products on tensor cores, of small integers (exact in any order) and of fractions.

use crate::device::{Device, Numbers, Shape, arg, each};
use half::{bf16, f16};
use std::cell::Cell;

const M: usize = 32;
const N: usize = 24;
const K: usize = 48;

/// How a kernel holds its operands.
struct Operands {
    kernel: &'static str,
    /// The bytes of an element.
    element: fn(f32) -> Vec<u8>,
    /// The element's value.
    value: fn(f32) -> f32,
    /// B is [k, n] instead of [n, k].
    transposed: bool,
}

/// Rounds to the nearest tf32, ties away from zero: 10 of the 23 bits of the fraction stay.
fn tf32(v: f32) -> f32 {
    f32::from_bits((v.to_bits() + 0x1000) & !0x1fff)
}

const HALF: Operands = Operands {
    kernel: "product_f16",
    element: |v| f16::from_f32(v).to_le_bytes().to_vec(),
    value: |v| f16::from_f32(v).to_f32(),
    transposed: false,
};
const HALF_TRANSPOSED: Operands = Operands {
    kernel: "product_f16_transposed",
    transposed: true,
    ..HALF
};
const BRAIN: Operands = Operands {
    kernel: "product_bf16",
    element: |v| bf16::from_f32(v).to_le_bytes().to_vec(),
    value: |v| bf16::from_f32(v).to_f32(),
    transposed: false,
};
const TENSOR: Operands = Operands {
    kernel: "product_tf32",
    element: |v| v.to_le_bytes().to_vec(),
    value: tf32,
    transposed: false,
};

fn product(d: &Device, operands: &Operands, a: &[f32], b: &[f32]) -> Vec<f64> {
    let bytes = |v: &[f32]| v.iter().copied().flat_map(operands.element).collect();
    let (a, b): (Vec<u8>, Vec<u8>) = (bytes(a), bytes(b));
    let (a, b, c) = (d.put(&a), d.put(&b), d.room::<f32>(M * N));
    let mut arguments = [a, b, c].map(arg).to_vec();
    arguments.extend([M, N, K].map(|extent| arg(extent as i32)));
    let shape = Shape {
        grid: [N as u32 / 8, M as u32 / 16, 1],
        block: [32, 1, 1],
        shared: 0,
        cooperative: false,
    };
    d.run(operands.kernel, shape, &arguments);
    let c = d.get::<f32>(c, M * N);
    c.into_iter().map(f64::from).collect()
}

fn expected(operands: &Operands, a: &[f32], b: &[f32]) -> Vec<f64> {
    let value = |v: f32| f64::from((operands.value)(v));
    let mut c = Vec::new();
    for row in 0..M {
        for column in 0..N {
            let at = |i| {
                if operands.transposed {
                    i * N + column
                } else {
                    column * K + i
                }
            };
            c.push(
                (0..K)
                    .map(|i| value(a[row * K + i]) * value(b[at(i)]))
                    .sum(),
            );
        }
    }
    c
}

fn check(operands: &Operands) {
    let mut numbers = Numbers::new(30);
    let mut whole = |count| -> Vec<f32> {
        let v = numbers.integers(count, -8, 9);
        v.into_iter().map(|v| v as f32).collect()
    };
    let (a, b) = (whole(M * K), whole(N * K));
    let (p, q) = (numbers.floats(M * K, 1.0), numbers.floats(N * K, 1.0));
    let ran = Cell::new(0);
    each("tensor", |d| {
        if !d.has(operands.kernel) {
            return;
        }
        ran.set(ran.get() + 1);
        let found = product(d, operands, &a, &b);
        d.equal(operands.kernel, &found, &expected(operands, &a, &b));
        // 48 additions of at most 2^-24 relative error each, of sums that stay below 16.
        let bound = 48.0 * 16.0 / f64::from(1 << 24);
        let found = product(d, operands, &p, &q);
        let expected = expected(operands, &p, &q);
        d.close(operands.kernel, &found, &expected, bound, 0.0);
    });
    assert!(ran.get() > 0, "no file has {}", operands.kernel);
}

#[test]
fn f16() {
    check(&HALF);
}

#[test]
fn f16_transposed_on_the_way() {
    check(&HALF_TRANSPOSED);
}

#[test]
fn bf16_and_tf32() {
    check(&BRAIN);
    check(&TENSOR);
}
