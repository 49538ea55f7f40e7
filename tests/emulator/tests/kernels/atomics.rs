//! atomics.cu: what any order of the additions gives.

use crate::device::{Numbers, arg, each, line};
use half::f16;

#[test]
fn histogram_of_bytes() {
    let mut numbers = Numbers::new(40);
    let x: Vec<u8> = (0..3000).map(|_| numbers.bits() as u8 & 0x3f).collect();
    let mut expected = [0u32; 256];
    for &v in &x {
        expected[usize::from(v)] += 1;
    }
    each("atomics", |d| {
        let (from, counts) = (d.put(&x), d.put(&[0u32; 256]));
        let arguments = [arg(from), arg(counts), arg(x.len() as u32)];
        d.run("histogram", line(4, 96), &arguments);
        d.equal("counts", &d.get::<u32>(counts, 256), &expected);
    });
}

#[test]
fn every_operation_on_words() {
    let (threads, limit) = (200u32, 6u32);
    let mut expected = [0, 0, u32::MAX, 0, u32::MAX, 0, 0, 0, 0];
    for v in 1..=threads {
        expected[0] += v;
        expected[1] = expected[1].wrapping_sub(v);
        expected[2] = expected[2].min(v);
        expected[3] = expected[3].max(v);
        expected[4] &= !v;
        expected[5] |= v;
        expected[6] ^= v;
        // The guide's definitions of atomicInc and atomicDec.
        let (up, down) = (expected[7], expected[8]);
        expected[7] = if up >= limit { 0 } else { up + 1 };
        expected[8] = if down == 0 || down > limit {
            limit
        } else {
            down - 1
        };
    }
    each("atomics", |d| {
        let words = d.put(&[0, 0, u32::MAX, 0, u32::MAX, 0, 0, 0, 0]);
        d.run("every_operation", line(4, 50), &[arg(words), arg(limit)]);
        d.equal("words", &d.get::<u32>(words, 9), &expected);
    });
}

#[test]
fn floats_doubles_long_words_and_pairs() {
    let threads = 4 * 96u64;
    each("atomics", |d| {
        let (f, e, u) = (d.put(&[0.5f32]), d.put(&[0.25f64]), d.put(&[7u64]));
        let h = d.put(&[0u16; 2]);
        let arguments = [f, e, u, h].map(arg);
        d.run("wide_additions", line(4, 96), &arguments);
        let sum = threads * (threads - 1) / 2;
        d.equal("f32", &d.get::<f32>(f, 1), &[threads as f32 * 1.5 + 0.5]);
        d.equal("f64", &d.get::<f64>(e, 1), &[sum as f64 + 0.25]);
        d.equal("u64", &d.get::<u64>(u, 1), &[7 + 0x1_0000_0001 * sum]);
        let pair = [64.0, 128.0].map(|v| f16::from_f32(v).to_bits());
        d.equal("f16x2", &d.get::<u16>(h, 2), &pair);
    });
}

#[test]
fn largest_by_compare_and_swap() {
    let x = Numbers::new(41).floats(500, 1e6);
    let expected = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    each("atomics", |d| {
        let (from, largest) = (d.put(&x), d.put(&[f32::NEG_INFINITY]));
        let arguments = [arg(from), arg(largest), arg(500u32)];
        d.run("largest_by_swap", line(4, 128), &arguments);
        d.equal("largest", &d.get::<f32>(largest, 1), &[expected]);
    });
}

#[test]
fn a_spin_lock_excludes() {
    each("atomics", |d| {
        let (lock, counter) = (d.put(&[0i32]), d.put(&[5i32]));
        d.run("spin_lock", line(6, 128), &[arg(lock), arg(counter)]);
        d.equal("lock", &d.get::<i32>(lock, 1), &[0]);
        d.equal("counter", &d.get::<i32>(counter, 1), &[5 + 6 * 4]);
    });
}
