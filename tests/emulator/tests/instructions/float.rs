//! f32 and f64 arithmetic: roundings, flushing, saturation, NaN, subnormals.

use crate::check;

const POOL: [u64; 20] = [
    0,
    0x8000_0000,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x3f80_0001,
    0x3f7f_ffff,
    0x4b80_0001,
    0x3400_0000,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0x7f80_0001,
    0x4049_0fdb,
    0xb3a2_2168,
];

const NAN: u64 = 0x7fff_ffff;

fn f(x: u64) -> f32 {
    f32::from_bits(x as u32)
}

fn bits(v: f32) -> u64 {
    if v.is_nan() {
        NAN
    } else {
        u64::from(v.to_bits())
    }
}

fn flush(v: f32) -> f32 {
    if v.is_subnormal() {
        0f32.copysign(v)
    } else {
        v
    }
}

#[test]
fn nearest() {
    check("add.f32 %d, %a, %b;", &[32, 32], 32, &POOL, |a, b, _| {
        bits(f(a) + f(b))
    });
    check("sub.rn.f32 %d, %a, %b;", &[32, 32], 32, &POOL, |a, b, _| {
        bits(f(a) - f(b))
    });
    check("mul.f32 %d, %a, %b;", &[32, 32], 32, &POOL, |a, b, _| {
        bits(f(a) * f(b))
    });
    check("div.rn.f32 %d, %a, %b;", &[32, 32], 32, &POOL, |a, b, _| {
        bits(f(a) / f(b))
    });
    check("sqrt.rn.f32 %d, %a;", &[32], 32, &POOL, |a, _, _| {
        bits(f(a).sqrt())
    });
    check("rcp.rn.f32 %d, %a;", &[32], 32, &POOL, |a, _, _| {
        bits(1.0 / f(a))
    });
    check(
        "fma.rn.f32 %d, %a, %b, %c;",
        &[32, 32, 32],
        32,
        &POOL,
        |a, b, c| bits(f(a).mul_add(f(b), f(c))),
    );
}

#[test]
fn flushed_and_saturated() {
    check(
        "add.ftz.f32 %d, %a, %b;",
        &[32, 32],
        32,
        &POOL,
        |a, b, _| bits(flush(flush(f(a)) + flush(f(b)))),
    );
    check(
        "mul.ftz.f32 %d, %a, %b;",
        &[32, 32],
        32,
        &POOL,
        |a, b, _| bits(flush(flush(f(a)) * flush(f(b)))),
    );
    check(
        "fma.rn.ftz.f32 %d, %a, %b, %c;",
        &[32, 32, 32],
        32,
        &POOL,
        |a, b, c| bits(flush(flush(f(a)).mul_add(flush(f(b)), flush(f(c))))),
    );
    check(
        "add.sat.f32 %d, %a, %b;",
        &[32, 32],
        32,
        &POOL,
        |a, b, _| {
            let v = f(a) + f(b);
            bits(if v.is_nan() || v <= 0.0 {
                0.0
            } else {
                v.min(1.0)
            })
        },
    );
}

/// Steps from the nearest value in the direction asked for; exact through integers of 128 bits is
/// not needed, because f64 tells on which side of the exact product the f32 lies.
fn directed(exact: f64, towards: fn(f32, f64) -> bool) -> u64 {
    let near = exact as f32;
    if near.is_nan() {
        return NAN;
    }
    if exact.is_infinite() || f64::from(near) == exact {
        return bits(near);
    }
    let low = if f64::from(near) < exact {
        near
    } else {
        near.next_down()
    };
    let high = low.next_up();
    let zero = |v: f32| {
        if v == 0.0 {
            0f32.copysign(exact as f32)
        } else {
            v
        }
    };
    bits(zero(if towards(low, exact) { low } else { high }))
}

#[test]
fn directed_products() {
    // A product of two f32 is exact in f64.
    let product = |a, b| f64::from(f(a)) * f64::from(f(b));
    check("mul.rm.f32 %d, %a, %b;", &[32, 32], 32, &POOL, |a, b, _| {
        directed(product(a, b), |_, _| true)
    });
    check("mul.rp.f32 %d, %a, %b;", &[32, 32], 32, &POOL, |a, b, _| {
        directed(product(a, b), |_, _| false)
    });
    check("mul.rz.f32 %d, %a, %b;", &[32, 32], 32, &POOL, |a, b, _| {
        directed(product(a, b), |_, exact| exact > 0.0)
    });
}

#[test]
fn directed_sums_of_integers() {
    // Integers below 2^29: sums and products with a small factor are exact in i64.
    let pool: Vec<u64> = [0u32, 1, 3, 0xff_ffff, 0x100_0001, 0x1fff_ffff, 0x1234_5677]
        .iter()
        .flat_map(|&v| {
            [
                u64::from((v as f32).to_bits()),
                u64::from((-(v as f32)).to_bits()),
            ]
        })
        .collect();
    let small =
        |x: u64| f(x).abs() < 1e9 && (f(x) == 0.0 || f(x).abs() >= 1.0) && f(x).fract() == 0.0;
    for (name, low) in [("rm", true), ("rp", false)] {
        let body = format!("add.{name}.f32 %d, %a, %b;");
        check(&body, &[32, 32], 32, &pool, |a, b, _| {
            if !small(a) || !small(b) {
                return side_of_sum(f(a), f(b), low);
            }
            let exact = f(a) as i64 + f(b) as i64;
            if exact == 0 {
                let negative =
                    a >> 31 == 1 && b >> 31 == 1 || (low && (a >> 31 == 1 || b >> 31 == 1));
                return if negative { 0x8000_0000 } else { 0 };
            }
            let near = exact as f32;
            let side = near as i64;
            bits(if low && side > exact {
                near.next_down()
            } else if !low && side < exact {
                near.next_up()
            } else {
                near
            })
        });
    }
}

/// The sum of two f32, rounded down or up: the nearest f32 is compared with the exact sum, whose
/// sign of difference f64 gives term by term (every difference below is exact).
fn side_of_sum(a: f32, b: f32, low: bool) -> u64 {
    let near = a + b;
    if near.is_nan() || a.is_infinite() || b.is_infinite() {
        return bits(near);
    }
    if near.is_infinite() {
        // The exact sum is finite.
        return bits(match (low, near > 0.0) {
            (true, true) => f32::MAX,
            (false, false) => f32::MIN,
            _ => near,
        });
    }
    let (large, small) = if a.abs() >= b.abs() { (a, b) } else { (b, a) };
    let rest = f64::from(large) - f64::from(near) + f64::from(small);
    if near == 0.0 && rest == 0.0 {
        let both = a.is_sign_negative() && b.is_sign_negative();
        let any = a.is_sign_negative() || b.is_sign_negative();
        return if both || (low && any) { 0x8000_0000 } else { 0 };
    }
    bits(if low && rest < 0.0 {
        near.next_down()
    } else if !low && rest > 0.0 {
        near.next_up()
    } else {
        near
    })
}

#[test]
fn minimum_and_maximum() {
    let min = |a: f32, b: f32| match (a.is_nan(), b.is_nan()) {
        (true, true) => f32::NAN,
        (true, _) => b,
        (_, true) => a,
        _ if a == b => {
            if a.is_sign_negative() {
                a
            } else {
                b
            }
        }
        _ => {
            if a < b {
                a
            } else {
                b
            }
        }
    };
    check("min.f32 %d, %a, %b;", &[32, 32], 32, &POOL, |a, b, _| {
        bits(min(f(a), f(b)))
    });
    check("max.f32 %d, %a, %b;", &[32, 32], 32, &POOL, |a, b, _| {
        bits(-min(-f(a), -f(b)))
    });
    check(
        "max.NaN.f32 %d, %a, %b;",
        &[32, 32],
        32,
        &POOL,
        |a, b, _| {
            if f(a).is_nan() || f(b).is_nan() {
                NAN
            } else {
                bits(-min(-f(a), -f(b)))
            }
        },
    );
    check(
        "copysign.f32 %d, %a, %b;",
        &[32, 32],
        32,
        &POOL,
        |a, b, _| b & 0x7fff_ffff | a & 0x8000_0000,
    );
}

#[test]
fn ordered_and_unordered() {
    fn unordered(a: f32, b: f32) -> bool {
        a.is_nan() || b.is_nan()
    }
    type Reference = fn(f32, f32) -> bool;
    let cases: [(&str, Reference); 9] = [
        ("eq", |a, b| a == b),
        ("ne", |a, b| a != b && !unordered(a, b)),
        ("lt", |a, b| a < b),
        ("ge", |a, b| a >= b),
        ("equ", |a, b| a == b || unordered(a, b)),
        ("neu", |a, b| a != b),
        ("ltu", |a, b| a < b || unordered(a, b)),
        ("num", |a, b| !a.is_nan() && !b.is_nan()),
        ("nan", |a, b| a.is_nan() || b.is_nan()),
    ];
    for (name, reference) in cases {
        let body = format!("setp.{name}.f32 %p, %a, %b;\nselp.u32 %d, 1, 0, %p;");
        check(&body, &[32, 32], 32, &POOL, |a, b, _| {
            u64::from(reference(f(a), f(b)))
        });
    }
}

#[test]
fn double_precision() {
    let pool: Vec<u64> = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        1e300,
        -1e300,
        5e-324,
        f64::MAX,
        f64::INFINITY,
        0.1,
    ]
    .iter()
    .map(|v: &f64| v.to_bits())
    .collect();
    let d = f64::from_bits;
    // The payload of a NaN is left open.
    let same = |found: u64, wanted: f64| {
        if wanted.is_nan() && d(found).is_nan() {
            found
        } else {
            wanted.to_bits()
        }
    };
    for (text, reference) in [
        (
            "add.f64 %d, %a, %b;",
            (|a, b, _| a + b) as fn(f64, f64, f64) -> f64,
        ),
        ("mul.rn.f64 %d, %a, %b;", |a, b, _| a * b),
        ("div.rn.f64 %d, %a, %b;", |a, b, _| a / b),
        ("fma.rn.f64 %d, %a, %b, %c;", |a, b, c| a.mul_add(b, c)),
    ] {
        let operands: Vec<[u64; 3]> = pool
            .iter()
            .flat_map(|&a| pool.iter().map(move |&b| [a, b, 0x3ff8_0000_0000_0000]))
            .collect();
        let found = crate::run(text, &[64, 64, 64], 64, &operands);
        for (o, found) in operands.iter().zip(found) {
            let wanted = reference(d(o[0]), d(o[1]), d(o[2]));
            assert_eq!(found, same(found, wanted), "{text} {o:x?}");
        }
    }
}

#[test]
fn approximations_are_accurate() {
    type Reference = fn(f64) -> f64;
    let cases: [(&str, Reference); 7] = [
        ("ex2.approx.ftz.f32", f64::exp2),
        ("lg2.approx.f32", f64::log2),
        ("rsqrt.approx.f32", |x| 1.0 / x.sqrt()),
        ("sqrt.approx.f32", f64::sqrt),
        ("sin.approx.f32", f64::sin),
        ("cos.approx.f32", f64::cos),
        ("tanh.approx.f32", f64::tanh),
    ];
    let operands: Vec<[u64; 3]> = (1..200)
        .map(|i| [u64::from((i as f32 * 0.037).to_bits()), 0, 0])
        .collect();
    for (name, reference) in cases {
        let found = crate::run(&format!("{name} %d, %a;"), &[32], 32, &operands);
        for (o, found) in operands.iter().zip(found) {
            let wanted = reference(f64::from(f(o[0])));
            // One rounding to f32 is all that may differ.
            assert!(
                (f64::from(f(found)) - wanted).abs() <= 1e-37 + 6e-8 * wanted.abs(),
                "{name} {}: {} against {wanted}",
                f(o[0]),
                f(found)
            );
        }
    }
}

/// Quotients, reciprocals and roots lie between their roundings down and up, which are the same value or
/// neighbours; the products that tell are exact in f64.
#[test]
fn directed_quotients_and_roots() {
    let mut sequence = crate::Sequence(21);
    let mut draw = |i: u64| {
        // Some quotients are subnormal, some beyond the largest value.
        let exponent = match i % 4 {
            0 => 1 + sequence.draw() % 40,
            1 => 214 + sequence.draw() % 40,
            _ => 100 + sequence.draw() % 50,
        };
        exponent << 23 | sequence.draw() & 0x7f_ffff
    };
    let operands: Vec<[u64; 3]> = (0..2000).map(|i| [draw(i), draw(i / 4), 0]).collect();
    let results = |body: &str| {
        ["rm", "rp", "rz"].map(|d| crate::run(&body.replace("DIR", d), &[32, 32], 32, &operands))
    };
    type Holds = fn(f64, f64, f64) -> std::cmp::Ordering;
    // How the exact result compares with a value v.
    let cases: [(&str, Holds); 3] = [
        ("div.DIR.f32 %d, %a, %b;", |a, b, v| a.total_cmp(&(v * b))),
        ("rcp.DIR.f32 %d, %a;", |a, _, v| 1f64.total_cmp(&(v * a))),
        ("sqrt.DIR.f32 %d, %a;", |a, _, v| a.total_cmp(&(v * v))),
    ];
    for (body, compare) in cases {
        let [low, high, cut] = results(body);
        let mut exact = 0;
        for (i, o) in operands.iter().enumerate() {
            let (a, b) = (f64::from(f(o[0])), f64::from(f(o[1])));
            let (l, h) = (f(low[i]), f(high[i]));
            assert_eq!(cut[i], low[i], "{body} {o:x?}");
            let side = |v: f32| compare(a, b, f64::from(v));
            assert!(side(l).is_ge(), "{body} {o:x?}: {l:e}");
            assert!(h.is_infinite() || side(h).is_le(), "{body} {o:x?}: {h:e}");
            assert!(h == l || h == l.next_up(), "{body} {o:x?}: {l:e} {h:e}");
            assert_eq!(h == l, side(l).is_eq(), "{body} {o:x?}");
            exact += u32::from(h == l);
        }
        assert!(exact < 200, "{body}: {exact} results were exact");
    }
}

/// Sums of a product of integers and a third, exact in i128, rounded to 24 places.
#[test]
fn directed_fused_products() {
    let pool: Vec<u64> = [
        0i32, 1, -1, 3, 0xff_ffff, -0xff_ffff, 0x12_3457, -0x7f_0001, 0x80_0001,
    ]
    .iter()
    .map(|&v| u64::from((v as f32).to_bits()))
    .collect();
    for direction in ["rz", "rm", "rp"] {
        let body = format!("fma.{direction}.f32 %d, %a, %b, %c;");
        let operands: Vec<[u64; 3]> = (0..pool.len().pow(3))
            .map(|i| [i, i / pool.len(), i / pool.len().pow(2)].map(|k| pool[k % pool.len()]))
            .collect();
        let found = crate::run(&body, &[32, 32, 32], 32, &operands);
        for (o, found) in operands.iter().zip(found) {
            let [a, b, c] = o.map(|v| f(v) as i128);
            let exact = a * b + c;
            let drop = (128 - exact.unsigned_abs().leading_zeros()).saturating_sub(24);
            let cut = exact.unsigned_abs() >> drop << drop;
            let away = match direction {
                "rz" => false,
                "rm" => exact < 0,
                _ => exact > 0,
            };
            let up = u128::from(away && cut != exact.unsigned_abs()) << drop;
            let wanted = (cut + up) as f32 * if exact < 0 { -1.0 } else { 1.0 };
            assert_eq!(f(found), wanted, "{body} {a} {b} {c}");
        }
    }
}
