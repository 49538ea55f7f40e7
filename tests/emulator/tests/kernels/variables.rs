//! variables.cu: module variables, arguments of every type, coordinates.

use crate::device::{Numbers, Shape, arg, each, line};
use half::{bf16, f16};

#[test]
fn constants() {
    let x = Numbers::new(90).floats(100, 3.0);
    let expected: Vec<f32> = x
        .iter()
        .map(|&x| {
            let inner = x.mul_add(2.0, 0.25);
            x.mul_add(x.mul_add(inner, -0.5), 1.0)
        })
        .collect();
    each("variables", |d| {
        let (from, to) = (d.put(&x), d.room::<f32>(100));
        let arguments = [arg(from), arg(to), arg(100u32)];
        d.run("polynomial", line(2, 64), &arguments);
        d.equal("polynomial", &d.get::<f32>(to, 100), &expected);
    });
}

#[test]
fn tables_pointers_and_counters() {
    each("variables", |d| {
        let to = d.room::<i32>(5);
        for launch in 1..3 {
            d.run("count_and_look_up", line(1, 32), &[arg(to)]);
            let counter = d.get::<i32>(d.variable("counter"), 1);
            d.equal("counter", &counter, &[41 + launch]);
        }
        let expected = [2 + 11, 3 + 7, 5 + 5, 7 + 3, 11 + 2];
        d.equal("sums", &d.get::<i32>(to, 5), &expected);
        let mut scratch = [0.0; 8];
        scratch[0] = 0.5;
        let found = d.get::<f64>(d.variable("scratch"), 8);
        d.equal("scratch", &found, &scratch);
    });
}

#[test]
fn arguments_of_every_type() {
    each("variables", |d| {
        let (data, y) = (d.put(&[0.5f32, 6.25]), d.room::<f64>(17));
        // A u8, three u16 from byte 2, a double from byte 8, a pointer from byte 16.
        let mut shape = vec![7u8, 0, 1, 0, 2, 0, 3, 0];
        shape.extend((-0.125f64).to_le_bytes());
        shape.extend(data.to_le_bytes());
        let (half, brain) = (f16::from_f32(0.1), bf16::from_f32(0.1));
        let arguments = [
            arg(200u8),
            arg(-100i8),
            arg(60000u16),
            arg(-30000i16),
            arg(4_000_000_000u32),
            arg(-2_000_000_000i32),
            arg(1u64 << 52),
            arg(-(1i64 << 51)),
            arg(1.5f32),
            arg(2.75f64),
            arg(half.to_bits()),
            arg(brain.to_bits()),
            arg(1u8),
            shape,
            arg(y),
        ];
        d.run("arguments", line(1, 1), &arguments);
        let expected = [
            200.0,
            -100.0,
            60000.0,
            -30000.0,
            4e9,
            -2e9,
            (1u64 << 52) as f64,
            -((1u64 << 51) as f64),
            1.5,
            2.75,
            half.to_f64(),
            brain.to_f64(),
            1.0,
            7.0,
            10203.0,
            -0.125,
            6.25,
        ];
        d.equal("values", &d.get::<f64>(y, 17), &expected);
    });
}

#[test]
fn coordinates_in_three_dimensions() {
    let shape = Shape {
        grid: [3, 2, 2],
        block: [5, 3, 4],
        shared: 0,
        cooperative: false,
    };
    let expected: Vec<u32> = (0..12)
        .flat_map(|block| (0..60).map(move |thread| block * 100_000 + thread * 100 + 1))
        .collect();
    each("variables", |d| {
        let y = d.room::<u32>(720);
        d.run("coordinates", shape, &[arg(y)]);
        d.equal("coordinates", &d.get::<u32>(y, 720), &expected);
    });
}
