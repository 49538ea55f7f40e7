//! philox.cu: the published answers, and variates from the same stream.

use crate::device::{arg, each, line};

/// Known answers of Philox4x32-10, published with the Random123 library (file kat_vectors): counter, key, words.
const PUBLISHED: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
    (
        [0; 4],
        [0; 2],
        [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ),
    (
        [u32::MAX; 4],
        [u32::MAX; 2],
        [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ),
    (
        [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
        [0xa4093822, 0x299f31d0],
        [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ),
];

/// Philox4x32-10 (Salmon et al. 2011).
fn philox([mut a, mut b, mut c, mut d]: [u32; 4], [mut k, mut l]: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let left = 0xd251_1f53 * u64::from(a);
        let right = 0xcd9e_8d57 * u64::from(c);
        a = (right >> 32) as u32 ^ b ^ k;
        b = right as u32;
        c = (left >> 32) as u32 ^ d ^ l;
        d = left as u32;
        k = k.wrapping_add(0x9e37_79b9);
        l = l.wrapping_add(0xbb67_ae85);
    }
    [a, b, c, d]
}

#[test]
fn gives_the_published_answers() {
    for (counter, key, words) in PUBLISHED {
        assert_eq!(philox(counter, key), words);
    }
    let counters: Vec<u32> = PUBLISHED.iter().flat_map(|c| c.0).collect();
    let keys: Vec<u32> = PUBLISHED.iter().flat_map(|c| c.1).collect();
    let expected: Vec<u32> = PUBLISHED.iter().flat_map(|c| c.2).collect();
    each("philox", |d| {
        let (counters, keys, out) = (d.put(&counters), d.put(&keys), d.room::<u32>(12));
        let arguments = [arg(counters), arg(keys), arg(out), arg(3u32)];
        d.run("philox_blocks", line(1, 32), &arguments);
        d.equal("words", &d.get::<u32>(out, 12), &expected);
    });
}

#[test]
fn variates() {
    let (n, seed) = (500u32, 0x1234_5678_9abc_def0u64);
    let unit = 1.0 / f64::from(1 << 24);
    let (mut uniform, mut logistic, mut normal) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..n {
        let r = philox([i, 0, 0, 0], [seed as u32, (seed >> 32) as u32]);
        let [u, v, w] = [r[0], r[1], r[2]].map(|r| f64::from(r >> 8) * unit);
        // The kernel's fused sum rounds once.
        let [u, v] = [u, v].map(|u| (u + unit / 2.0) as f32);
        let [p, q] = [u, v].map(f64::from);
        uniform.push(u);
        logistic.push(q.ln() - (-q).ln_1p());
        // The argument of the cosine as the kernel rounds it.
        let angle = f64::from(std::f32::consts::TAU * w as f32);
        normal.push((-2.0 * p.ln()).sqrt() * angle.cos());
    }
    each("philox", |d| {
        let out = [(); 3].map(|()| d.room::<f32>(n as usize));
        let mut arguments = vec![arg(seed)];
        arguments.extend(out.map(arg));
        arguments.push(arg(n));
        d.run("philox_variates", line(8, 64), &arguments);
        let [u, l, z] = out.map(|address| d.get::<f32>(address, n as usize));
        let wide = |v: Vec<f32>| -> Vec<f64> { v.into_iter().map(f64::from).collect() };
        d.equal("uniform", &u, &uniform);
        // One and two units in the last place of logarithms below 17 and a cosine below 1, and the roundings of the
        // result: 1e-6 is 8 units of 1.
        d.close("logistic", &wide(l), &logistic, 1e-6, 1e-6);
        d.close("normal", &wide(z), &normal, 1e-6, 1e-6);
    });
}
