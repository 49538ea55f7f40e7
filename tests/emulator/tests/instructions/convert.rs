//! Conversions.

use crate::check;

const FLOATS: [u64; 18] = [
    0,
    0x8000_0000,
    1,
    0x3f00_0000,
    0x3fc0_0000,
    0x4020_0000,
    0xbf00_0000,
    0xbfc0_0000,
    0x4eff_ffff,
    0x4f00_0000,
    0x4f80_0000,
    0xcf00_0001,
    0x5f80_0000,
    0x7f7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0x3f7f_ffff,
];
const INTEGERS: [u64; 12] = [
    0,
    1,
    127,
    128,
    255,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x0100_0001,
    u64::MAX,
    1 << 63,
];

fn f(x: u64) -> f32 {
    f32::from_bits(x as u32)
}

#[test]
fn float_to_integer_saturates() {
    // Rust's `as` saturates and gives zero for NaN, as PTX does for 32 bits.
    check("cvt.rni.s32.f32 %d, %a;", &[32], 32, &FLOATS, |a, _, _| {
        f(a).round_ties_even() as i32 as u64
    });
    check("cvt.rzi.s32.f32 %d, %a;", &[32], 32, &FLOATS, |a, _, _| {
        f(a) as i32 as u64
    });
    check("cvt.rmi.s32.f32 %d, %a;", &[32], 32, &FLOATS, |a, _, _| {
        f(a).floor() as i32 as u64
    });
    check("cvt.rpi.u32.f32 %d, %a;", &[32], 32, &FLOATS, |a, _, _| {
        u64::from(f(a).ceil() as u32)
    });
    check("cvt.rzi.u64.f32 %d, %a;", &[32], 64, &FLOATS, |a, _, _| {
        if f(a).is_nan() { 1 << 63 } else { f(a) as u64 }
    });
}

#[test]
fn integer_to_float_rounds_once() {
    check("cvt.rn.f32.s32 %d, %a;", &[32], 32, &INTEGERS, |a, _, _| {
        u64::from((a as i32 as f32).to_bits())
    });
    check("cvt.rn.f32.u32 %d, %a;", &[32], 32, &INTEGERS, |a, _, _| {
        u64::from((a as u32 as f32).to_bits())
    });
    check("cvt.rn.f32.u64 %d, %a;", &[64], 32, &INTEGERS, |a, _, _| {
        u64::from((a as f32).to_bits())
    });
    check("cvt.rn.f32.s64 %d, %a;", &[64], 32, &INTEGERS, |a, _, _| {
        u64::from((a as i64 as f32).to_bits())
    });
    check("cvt.rn.f64.u64 %d, %a;", &[64], 64, &INTEGERS, |a, _, _| {
        (a as f64).to_bits()
    });
    check("cvt.rz.f32.u32 %d, %a;", &[32], 32, &INTEGERS, |a, _, _| {
        let near = a as u32 as f32;
        let v = if near as u64 > a {
            near.next_down()
        } else {
            near
        };
        u64::from(v.to_bits())
    });
}

#[test]
fn integers_extend_truncate_and_saturate() {
    check("cvt.s64.s32 %d, %a;", &[32], 64, &INTEGERS, |a, _, _| {
        a as i32 as u64
    });
    check("cvt.u64.u32 %d, %a;", &[32], 64, &INTEGERS, |a, _, _| a);
    check("cvt.u32.u64 %d, %a;", &[64], 32, &INTEGERS, |a, _, _| a);
    check("cvt.s32.s8 %d, %a;", &[32], 32, &INTEGERS, |a, _, _| {
        a as i8 as u64
    });
    check("cvt.u32.u8 %d, %a;", &[32], 32, &INTEGERS, |a, _, _| {
        a & 255
    });
    check("cvt.s8.s32 %d, %a;", &[32], 32, &INTEGERS, |a, _, _| {
        a as i8 as u64
    });
    check("cvt.u16.u32 %d, %a;", &[32], 16, &INTEGERS, |a, _, _| a);
    check("cvt.sat.u8.s32 %d, %a;", &[32], 32, &INTEGERS, |a, _, _| {
        (a as i32).clamp(0, 255) as u64
    });
    check(
        "cvt.sat.s16.s32 %d, %a;",
        &[32],
        32,
        &INTEGERS,
        |a, _, _| (a as i32).clamp(-32768, 32767) as u64,
    );
}

#[test]
fn float_to_float() {
    let nan = |v: f32| {
        if v.is_nan() {
            0x7fff_ffff
        } else {
            u64::from(v.to_bits())
        }
    };
    check("cvt.rni.f32.f32 %d, %a;", &[32], 32, &FLOATS, |a, _, _| {
        nan(f(a).round_ties_even())
    });
    check("cvt.rmi.f32.f32 %d, %a;", &[32], 32, &FLOATS, |a, _, _| {
        nan(f(a).floor())
    });
    check("cvt.sat.f32.f32 %d, %a;", &[32], 32, &FLOATS, |a, _, _| {
        let v = f(a);
        nan(if v.is_nan() || v <= 0.0 {
            0.0
        } else {
            v.min(1.0)
        })
    });
    let doubles: Vec<u64> = [
        0.1f64,
        1e-40,
        1e-46,
        3.5e38,
        f64::MAX,
        -1.0 / 3.0,
        f64::INFINITY,
    ]
    .iter()
    .map(|v| v.to_bits())
    .collect();
    check("cvt.rn.f32.f64 %d, %a;", &[64], 32, &doubles, |a, _, _| {
        nan(f64::from_bits(a) as f32)
    });
    let operands: Vec<[u64; 3]> = FLOATS
        .iter()
        .filter(|a| !f(**a).is_nan())
        .map(|a| [*a, 0, 0])
        .collect();
    let found = crate::run("cvt.f64.f32 %d, %a;", &[32], 64, &operands);
    for (o, found) in operands.iter().zip(found) {
        assert_eq!(found, f64::from(f(o[0])).to_bits(), "{o:x?}");
    }
}

#[test]
fn tf32_rounds_ties_away() {
    check(
        "cvt.rna.tf32.f32 %d, %a;",
        &[32],
        32,
        &FLOATS[..14],
        |a, _, _| {
            let v = f(a);
            if v.is_nan() {
                return 0x7fff_ffff;
            }
            if v.is_infinite() {
                return a;
            }
            // Half of the last kept place is added to the magnitude, then the rest is cut.
            (a + 0x1000) & !0x1fff
        },
    );
}
