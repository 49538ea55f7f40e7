//! calls.cu: device functions.

use crate::device::{Numbers, arg, each, line};

#[derive(Clone, Copy)]
struct Pair {
    low: f32,
    high: i32,
    wide: f64,
}

impl Pair {
    /// As calls.cu lays it out: 4, 4 and 8 bytes.
    fn words(&self) -> [u64; 2] {
        let first = u64::from(self.low.to_bits()) | u64::from(self.high as u32) << 32;
        [first, self.wide.to_bits()]
    }
}

fn greatest_divisor(mut a: i32, mut b: i32) -> i32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[test]
fn calls_on_both_sides_of_a_branch() {
    let mut numbers = Numbers::new(80);
    let (a, b) = (numbers.integers(100, 1, 5000), numbers.integers(100, 0, 90));
    let expected: Vec<i32> = (a.iter().zip(&b))
        .map(|(&a, &b)| match a % 2 {
            0 => -greatest_divisor(b, a),
            _ => greatest_divisor(a, b),
        })
        .collect();
    each("calls", |d| {
        let (pa, pb, to) = (d.put(&a), d.put(&b), d.room::<i32>(100));
        let mut arguments = [pa, pb, to].map(arg).to_vec();
        arguments.push(arg(100u32));
        d.run("divisors", line(2, 64), &arguments);
        d.equal("divisors", &d.get::<i32>(to, 100), &expected);
    });
}

#[test]
fn structures_by_value() {
    let mut numbers = Numbers::new(81);
    let n = 70;
    let p: Vec<Pair> = (0..n)
        .map(|_| Pair {
            low: numbers.floats(1, 10.0)[0],
            high: numbers.integers(1, 1, 1000)[0],
            wide: f64::from(numbers.bits()) / 7.0,
        })
        .collect();
    let words: Vec<[u64; 2]> = p.iter().map(Pair::words).collect();
    let scale = 0.7f32;
    let expected: Vec<[u64; 2]> = (0..n)
        .map(|i| {
            let (a, b) = (p[i], p[(i + 1) % n]);
            Pair {
                low: a.low.mul_add(scale, b.low),
                high: greatest_divisor(a.high, b.high),
                wide: a.wide - b.wide,
            }
            .words()
        })
        .collect();
    each("calls", |d| {
        let (from, to) = (d.put(&words), d.room::<[u64; 2]>(n));
        let arguments = [arg(from), arg(to), arg(n as u32), arg(scale)];
        d.run("pairs", line(2, 64), &arguments);
        d.equal("pairs", &d.get::<[u64; 2]>(to, n), &expected);
    });
}

#[test]
fn pointers_to_local_memory() {
    let x = Numbers::new(82).integers(75, -50, 50);
    let expected: Vec<i32> = (0..75)
        .map(|i| {
            let mut v: Vec<i32> = (0..8).map(|j| x[(i + j) % 75]).collect();
            v.sort_unstable();
            v[3]
        })
        .collect();
    each("calls", |d| {
        let (from, to) = (d.put(&x), d.room::<i32>(75));
        let arguments = [arg(from), arg(to), arg(75u32)];
        d.run("medians", line(2, 64), &arguments);
        d.equal("medians", &d.get::<i32>(to, 75), &expected);
    });
}
