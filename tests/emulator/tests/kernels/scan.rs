//! scan.cu: inclusive prefix sums.

use crate::device::{Numbers, Shape, arg, each, line};

fn sums(x: &[i32]) -> Vec<i32> {
    x.iter()
        .scan(0, |sum, v| {
            *sum += v;
            Some(*sum)
        })
        .collect()
}

#[test]
fn of_a_block() {
    let x = Numbers::new(10).integers(192, -100, 100);
    each("scan", |d| {
        for threads in [1usize, 48, 96, 192] {
            let (from, to) = (d.put(&x), d.room::<i32>(192));
            let shape = Shape {
                shared: threads as u32 * 8,
                ..line((192 / threads) as u32, threads as u32)
            };
            d.run("scan_block", shape, &[arg(from), arg(to)]);
            let expected: Vec<i32> = x.chunks(threads).flat_map(sums).collect();
            d.equal("sums", &d.get::<i32>(to, 192), &expected);
        }
    });
}

#[test]
fn of_an_array_by_chained_blocks() {
    let n = 1500;
    let x = Numbers::new(11).integers(n, -1000, 1000);
    each("scan", |d| {
        let (from, to) = (d.put(&x), d.room::<i32>(n));
        let state = d.put(&[0i32; 1 + 2 * 12]);
        let arguments = [arg(from), arg(to), arg(n as u32), arg(state)];
        d.run("scan_chained", line(12, 128), &arguments);
        d.equal("sums", &d.get::<i32>(to, n), &sums(&x));
    });
}
