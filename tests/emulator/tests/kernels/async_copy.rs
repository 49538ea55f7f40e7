//! async_copy.cu: pipelines of asynchronous copies.

use crate::device::{Numbers, Shape, arg, each, line};

#[test]
fn tiles_in_flight() {
    let (blocks, threads) = (2, 64);
    // Fewer tiles than the pipeline holds, as many, and more.
    for tiles in [1, 2, 3, 4, 9] {
        let x = Numbers::new(60).floats(blocks * tiles * threads * 4, 10.0);
        let mut expected = Vec::new();
        for b in 0..blocks {
            for t in 0..threads {
                let mut sum = 0.0f32;
                for tile in 0..tiles {
                    let at = ((b * tiles + tile) * threads + (t + tile) % threads) * 4;
                    sum += x[at] + x[at + 1] + x[at + 2] + x[at + 3];
                }
                expected.push(sum);
            }
        }
        each("async_copy", |d| {
            let (from, to) = (d.put(&x), d.room::<f32>(blocks * threads));
            let shape = Shape {
                shared: 4 * 16 * threads as u32,
                ..line(blocks as u32, threads as u32)
            };
            let arguments = [arg(from), arg(to), arg(tiles as i32)];
            d.run("pipeline_sum", shape, &arguments);
            d.equal("sums", &d.get::<f32>(to, blocks * threads), &expected);
        });
    }
}

#[test]
fn halos_filled_with_zeros() {
    for n in [1usize, 64, 200] {
        let x = Numbers::new(61).floats(n, 10.0);
        let at = |i: usize| i.checked_sub(1).and_then(|i| x.get(i)).copied();
        let expected: Vec<f32> = (0..n)
            .map(|i| at(i).unwrap_or(0.0) + x[i] + at(i + 2).unwrap_or(0.0))
            .collect();
        each("async_copy", |d| {
            let (from, to) = (d.put(&x), d.room::<f32>(n));
            let shape = Shape {
                shared: 66 * 4,
                ..line(n.div_ceil(64) as u32, 64)
            };
            d.run("halo_sum", shape, &[arg(from), arg(to), arg(n as i32)]);
            d.equal("sums", &d.get::<f32>(to, n), &expected);
        });
    }
}
