//! grid_barrier.cu: rounds over a ring, in which blocks wait for one another.

use crate::device::{Numbers, Shape, arg, each, line};

#[test]
fn averages_over_a_ring() {
    let n = 300;
    let x = Numbers::new(50).floats(n, 100.0);
    each("grid_barrier", |d| {
        for kernel in ["ring_average", "ring_average_scoped"] {
            for steps in [1usize, 6] {
                let mut ring = x.clone();
                for _ in 0..steps {
                    ring = (0..n)
                        .map(|i| {
                            let (left, right) = (ring[(i + n - 1) % n], ring[(i + 1) % n]);
                            (left + ring[i] + right) * (1.0 / 3.0)
                        })
                        .collect();
                }
                let buffers = [d.put(&x), d.room::<f32>(n)];
                let arrived = d.put(&[0u32]);
                let mut arguments = buffers.map(arg).to_vec();
                arguments.extend([n as u32, steps as u32].map(arg));
                arguments.push(arg(arrived));
                let shape = Shape {
                    cooperative: true,
                    ..line(5, 40)
                };
                d.run(kernel, shape, &arguments);
                d.equal(kernel, &d.get::<f32>(buffers[steps % 2], n), &ring);
                let arrivals = d.get::<u32>(arrived, 1);
                d.equal("arrivals", &arrivals, &[5 * steps as u32]);
            }
        }
    });
}
