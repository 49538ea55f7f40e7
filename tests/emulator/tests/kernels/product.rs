//! product.cu: f32 products, which add in the order of k with fused rounding, so that they are exact.

use crate::device::{Numbers, Shape, arg, each};

fn product(a: &[f32], b: &[f32], [m, n, k]: [usize; 3]) -> Vec<f32> {
    let mut c = Vec::new();
    for row in 0..m {
        for column in 0..n {
            let terms = (0..k).map(|i| (a[row * k + i], b[i * n + column]));
            c.push(terms.fold(0.0f32, |sum, (p, q)| p.mul_add(q, sum)));
        }
    }
    c
}

fn check(kernel: &str, [m, n, k]: [usize; 3], shape: Shape) {
    let mut numbers = Numbers::new(20);
    let (a, b) = (numbers.floats(m * k, 1.0), numbers.floats(k * n, 1.0));
    let expected = product(&a, &b, [m, n, k]);
    each("product", |d| {
        let (pa, pb, c) = (d.put(&a), d.put(&b), d.room::<f32>(m * n));
        let mut arguments = [pa, pb, c].map(arg).to_vec();
        arguments.extend([m, n, k].map(|extent| arg(extent as i32)));
        d.run(kernel, shape, &arguments);
        d.equal(kernel, &d.get::<f32>(c, m * n), &expected);
    });
}

#[test]
fn tiled_for_any_shape() {
    for [m, n, k] in [[16usize, 16, 16], [19, 37, 45], [1, 1, 1], [33, 5, 16]] {
        let shape = Shape {
            grid: [n.div_ceil(16) as u32, m.div_ceil(16) as u32, 1],
            block: [16, 16, 1],
            shared: 0,
            cooperative: false,
        };
        check("product_tiled", [m, n, k], shape);
    }
}

#[test]
fn tiled_in_registers() {
    let shape = Shape {
        grid: [1, 2, 1],
        block: [256, 1, 1],
        shared: 0,
        cooperative: false,
    };
    check("product_registers", [128, 64, 32], shape);
}
