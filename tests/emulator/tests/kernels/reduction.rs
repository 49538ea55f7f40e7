//! reduction.cu: sums in the kernels' own order of additions, votes.

use crate::device::{Numbers, Shape, arg, each, line};

#[test]
fn shared_memory_trees() {
    let n = 1000usize;
    let x = Numbers::new(1).floats(n, 10.0);
    for threads in [32usize, 128, 256] {
        let blocks = n.div_ceil(threads);
        let expected: Vec<f32> = (0..blocks)
            .map(|b| {
                let mut s: Vec<f32> = (0..threads)
                    .map(|t| x.get(b * threads + t).copied().unwrap_or(0.0))
                    .collect();
                let mut step = threads / 2;
                while step > 0 {
                    for t in 0..step {
                        s[t] += s[t + step];
                    }
                    step /= 2;
                }
                s[0]
            })
            .collect();
        each("reduction", |d| {
            let (from, to) = (d.put(&x), d.room::<f32>(blocks));
            let shape = Shape {
                shared: threads as u32 * 4,
                ..line(blocks as u32, threads as u32)
            };
            d.run("reduce_shared", shape, &[arg(from), arg(to), arg(n as u32)]);
            d.equal("partial sums", &d.get::<f32>(to, blocks), &expected);
        });
    }
}

/// A butterfly over 32 lanes leaves the sum in lane 0.
fn warp_sum(lanes: &[f32]) -> f32 {
    let mut v = lanes.to_vec();
    v.resize(32, 0.0);
    for mask in [16, 8, 4, 2, 1] {
        v = (0..32).map(|lane| v[lane] + v[lane ^ mask]).collect();
    }
    v[0]
}

#[test]
fn shuffles_within_warps() {
    let n = 1500usize;
    let x = Numbers::new(2).floats(n, 10.0);
    let (blocks, threads) = (3, 160);
    let expected: Vec<f32> = (0..blocks)
        .map(|b| {
            let of_threads: Vec<f32> = (0..threads)
                .map(|t| {
                    let mine = x.iter().skip(b * threads + t).step_by(blocks * threads);
                    mine.fold(0.0, |sum, v| sum + v)
                })
                .collect();
            let of_warps: Vec<f32> = of_threads.chunks(32).map(warp_sum).collect();
            warp_sum(&of_warps)
        })
        .collect();
    each("reduction", |d| {
        let (from, to) = (d.put(&x), d.room::<f32>(blocks));
        let shape = line(blocks as u32, threads as u32);
        d.run(
            "reduce_shuffle",
            shape,
            &[arg(from), arg(to), arg(n as u32)],
        );
        d.equal("partial sums", &d.get::<f32>(to, blocks), &expected);
    });
}

#[test]
fn one_atomic_for_each_warp() {
    let n = 700;
    let x = Numbers::new(3).integers(n, -1_000_000, -10);
    each("reduction", |d| {
        let from = d.put(&x);
        let (sum, largest) = (d.put(&[0i32]), d.put(&[i32::MIN]));
        let arguments = [arg(from), arg(sum), arg(largest), arg(n as u32)];
        d.run("reduce_atomic", line(6, 128), &arguments);
        d.equal("sum", &d.get::<i32>(sum, 1), &[x.iter().sum::<i32>()]);
        let expected = *x.iter().max().expect("elements");
        d.equal("largest", &d.get::<i32>(largest, 1), &[expected]);
    });
}

#[test]
fn votes_and_matches() {
    let mut numbers = Numbers::new(4);
    let mut x = numbers.integers(64, -3, 4);
    x.extend([5; 32]);
    x.extend([-5; 32]);
    let warps: Vec<&[i32]> = x.chunks(32).collect();
    let count: Vec<u32> = warps
        .iter()
        .map(|w| w.iter().filter(|&&v| v > 0).count() as u32)
        .collect();
    let all: Vec<u32> = count.iter().map(|&c| u32::from(c == 32)).collect();
    let any: Vec<u32> = count.iter().map(|&c| u32::from(c > 0)).collect();
    let mut same = Vec::new();
    for warp in &warps {
        for v in *warp {
            same.push((0..32).fold(0u32, |mask, j| mask | u32::from(warp[j] == *v) << j));
        }
    }
    each("reduction", |d| {
        let from = d.put(&x);
        let to = [4, 4, 4, 128].map(|words| d.room::<u32>(words));
        let mut arguments = vec![arg(from)];
        arguments.extend(to.map(arg));
        d.run("votes", line(2, 64), &arguments);
        d.equal("count", &d.get::<u32>(to[0], 4), &count);
        d.equal("all", &d.get::<u32>(to[1], 4), &all);
        d.equal("any", &d.get::<u32>(to[2], 4), &any);
        d.equal("same", &d.get::<u32>(to[3], 128), &same);
    });
}
