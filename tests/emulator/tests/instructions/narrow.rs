//! f16 and bf16, single and packed.

use crate::check;

const POOL: [u64; 16] = [
    0, 0x8000, 1, 0x03ff, 0x0400, 0x3c00, 0xbc00, 0x3c01, 0x3555, 0x7bff, 0xfbff, 0x7c00, 0xfc00,
    0x7e00, 0x6800, 0x1400,
];

fn half(x: u64) -> half::f16 {
    half::f16::from_bits(x as u16)
}

fn brain(x: u64) -> half::bf16 {
    half::bf16::from_bits(x as u16)
}

fn out(v: half::f16) -> u64 {
    if v.is_nan() {
        0x7fff
    } else {
        u64::from(v.to_bits())
    }
}

fn brain_out(v: half::bf16) -> u64 {
    if v.is_nan() {
        0x7fff
    } else {
        u64::from(v.to_bits())
    }
}

/// The nearest f16 to an exact multiple of 2^-48, by search over all of them.
pub fn nearest_half(exact: i128) -> u64 {
    let scaled = |bits: u16| -> i128 {
        let v = half::f16::from_bits(bits).to_f64() * 2f64.powi(48);
        v as i128
    };
    let magnitude = exact.unsigned_abs() as i128;
    // Beyond the largest value by half a place it becomes infinite.
    let mut best = 0u16;
    let (mut low, mut high) = (0u16, 0x7c00u16);
    while low + 1 < high {
        let middle = (low + high) / 2;
        if scaled(middle) <= magnitude {
            low = middle
        } else {
            high = middle
        }
    }
    let limit = if high == 0x7c00 {
        65536i128 << 48
    } else {
        scaled(high)
    };
    let (below, above) = (magnitude - scaled(low), limit - magnitude);
    best += if below < above || (below == above && low & 1 == 0) {
        low
    } else {
        high
    };
    u64::from(best) | if exact < 0 { 0x8000 } else { 0 }
}

#[test]
fn half_precision() {
    let exact = |x: u64, places: i32| (half(x).to_f64() * 2f64.powi(places)) as i128;
    let finite = |x: u64| half(x).is_finite();
    check("add.f16 %d, %a, %b;", &[16, 16], 16, &POOL, |a, b, _| {
        if !finite(a) || !finite(b) {
            return out(half::f16::from_f32(half(a).to_f32() + half(b).to_f32()));
        }
        let sum = exact(a, 48) + exact(b, 48);
        if sum == 0 {
            if a == 0x8000 && b == 0x8000 {
                0x8000
            } else {
                0
            }
        } else {
            nearest_half(sum)
        }
    });
    check("mul.f16 %d, %a, %b;", &[16, 16], 16, &POOL, |a, b, _| {
        if !finite(a) || !finite(b) {
            return out(half::f16::from_f32(half(a).to_f32() * half(b).to_f32()));
        }
        nearest_half(exact(a, 24) * exact(b, 24)) | (a ^ b) & 0x8000
    });
    check(
        "fma.rn.f16 %d, %a, %b, %c;",
        &[16, 16, 16],
        16,
        &POOL,
        |a, b, c| {
            if !finite(a) || !finite(b) || !finite(c) {
                let v = half(a).to_f64() * half(b).to_f64() + half(c).to_f64();
                return out(half::f16::from_f64(v));
            }
            let v = exact(a, 24) * exact(b, 24) + exact(c, 48);
            if v == 0 {
                let product = (a ^ b) & 0x8000;
                let zeros = exact(a, 24) * exact(b, 24) == 0;
                return if zeros && product == 0x8000 && c == 0x8000 {
                    0x8000
                } else {
                    0
                };
            }
            nearest_half(v)
        },
    );
    check("neg.f16 %d, %a;", &[16], 16, &POOL, |a, _, _| a ^ 0x8000);
    check(
        "max.f16 %d, %a, %b;",
        &[16, 16],
        16,
        &POOL[..13],
        |a, b, _| {
            let (x, y) = (half(a), half(b));
            match (x.is_nan(), y.is_nan()) {
                (true, true) => 0x7fff,
                (true, _) => b,
                (_, true) => a,
                _ if x == y => {
                    if x.is_sign_negative() {
                        b
                    } else {
                        a
                    }
                }
                _ => {
                    if x > y {
                        a
                    } else {
                        b
                    }
                }
            }
        },
    );
}

#[test]
fn packed_halves_work_apart() {
    let pool: Vec<u64> = POOL.iter().map(|v| v << 16 | 0x3c00).collect();
    for (packed, single) in [
        ("fma.rn.f16x2 %d, %a, %b, %c;", "fma.rn.f16 %d, %a, %b, %c;"),
        (
            "fma.rn.bf16x2 %d, %a, %b, %c;",
            "fma.rn.bf16 %d, %a, %b, %c;",
        ),
    ] {
        let operands: Vec<[u64; 3]> = pool
            .iter()
            .flat_map(|&a| pool.iter().map(move |&b| [a, b, 0x3c00_4000]))
            .collect();
        let low: Vec<[u64; 3]> = operands.iter().map(|o| o.map(|v| v & 0xffff)).collect();
        let high: Vec<[u64; 3]> = operands.iter().map(|o| o.map(|v| v >> 16)).collect();
        let found = crate::run(packed, &[32, 32, 32], 32, &operands);
        let low = crate::run(single, &[16, 16, 16], 16, &low);
        let high = crate::run(single, &[16, 16, 16], 16, &high);
        for i in 0..operands.len() {
            assert_eq!(
                found[i],
                high[i] << 16 | low[i],
                "{packed} {:x?}",
                operands[i]
            );
        }
    }
}

#[test]
fn bfloat_and_conversions() {
    check(
        "fma.rn.bf16 %d, %a, %b, %c;",
        &[16, 16, 16],
        16,
        &POOL,
        |a, b, c| {
            let (x, y, z) = (brain(a).to_f64(), brain(b).to_f64(), brain(c).to_f64());
            let product = x * y;
            let sum = product + z;
            // Where f64 rounds the sum the nearest value alone may be a false tie.
            let error = (product - (sum - (sum - product))) + (z - (sum - product));
            let mut odd = sum;
            if error != 0.0 && error.is_finite() && sum.to_bits() & 1 == 0 {
                odd = if (error < 0.0) != (sum < 0.0) {
                    f64::from_bits(sum.to_bits() - 1)
                } else {
                    f64::from_bits(sum.to_bits() + 1)
                };
            }
            if odd.is_nan() {
                return 0x7fff;
            }
            // Through f32, odd again.
            let near = odd as f32;
            let mut bits = near.to_bits();
            if f64::from(near) != odd && near.is_finite() {
                if f64::from(near).abs() > odd.abs() {
                    bits -= 1;
                }
                bits |= 1;
            } else if near.is_infinite() && odd.is_finite() {
                bits = bits & 0x8000_0000 | 0x7f7f_ffff;
            }
            brain_out(half::bf16::from_f32(f32::from_bits(bits)))
        },
    );
    let floats: [u64; 10] = [
        0,
        0x3f80_0000,
        0x3f80_8000,
        0x3f81_8000,
        0x7f7f_ffff,
        0x477f_efff,
        0x477f_f000,
        0x3300_0000,
        0x3300_0001,
        0x7f80_0000,
    ];
    check("cvt.rn.f16.f32 %d, %a;", &[32], 16, &floats, |a, _, _| {
        out(half::f16::from_f32(f32::from_bits(a as u32)))
    });
    check("cvt.rn.bf16.f32 %d, %a;", &[32], 16, &floats, |a, _, _| {
        brain_out(half::bf16::from_f32(f32::from_bits(a as u32)))
    });
    check("cvt.f32.f16 %d, %a;", &[16], 32, &POOL[..13], |a, _, _| {
        let v = half(a).to_f32();
        if v.is_nan() {
            0x7fff_ffff
        } else {
            u64::from(v.to_bits())
        }
    });
    check(
        "cvt.rn.f16x2.f32 %d, %a, %b;",
        &[32, 32],
        32,
        &floats,
        |a, b, _| {
            out(half::f16::from_f32(f32::from_bits(a as u32))) << 16
                | out(half::f16::from_f32(f32::from_bits(b as u32)))
        },
    );
    check(
        "cvt.rn.bf16x2.f32 %d, %a, %b;",
        &[32, 32],
        32,
        &floats,
        |a, b, _| {
            brain_out(half::bf16::from_f32(f32::from_bits(a as u32))) << 16
                | brain_out(half::bf16::from_f32(f32::from_bits(b as u32)))
        },
    );
}
