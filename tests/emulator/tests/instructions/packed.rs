//! Bytes and halves of a word, 24-bit products, and the rarer integer instructions.

use crate::{check, run};

const POOL: [u64; 13] = [
    0,
    1,
    0xffff_ffff,
    0x7fff_ffff,
    0x8000_0000,
    0x7fff_8000,
    0x8000_7fff,
    0x0080_007f,
    0x7f80_807f,
    0x00ff_ffff,
    0x0080_0000,
    0x1234_5678,
    0xfedc_ba98,
];

fn halves(a: u64, b: u64, f: impl Fn(u16, u16) -> u16) -> u64 {
    let one = |shift: u32| u64::from(f((a >> shift) as u16, (b >> shift) as u16)) << shift;
    one(0) | one(16)
}

#[test]
fn packed_sums_and_extremes() {
    type Half = fn(u16, u16) -> u16;
    let cases: [(&str, Half); 10] = [
        ("add.u16x2", u16::wrapping_add),
        ("add.s16x2", u16::wrapping_add),
        ("add.sat.u16x2", u16::saturating_add),
        ("add.sat.s16x2", |a, b| {
            (a as i16).saturating_add(b as i16) as u16
        }),
        ("min.u16x2", u16::min),
        ("max.u16x2", u16::max),
        ("min.s16x2", |a, b| (a as i16).min(b as i16) as u16),
        ("max.s16x2", |a, b| (a as i16).max(b as i16) as u16),
        ("min.relu.s16x2", |a, b| {
            (a as i16).min(b as i16).max(0) as u16
        }),
        ("max.relu.s16x2", |a, b| {
            (a as i16).max(b as i16).max(0) as u16
        }),
    ];
    for (name, f) in cases {
        let body = format!("{name} %d, %a, %b;");
        check(&body, &[32, 32], 32, &POOL, |a, b, _| halves(a, b, f));
    }
}

#[test]
fn integers_saturated_side_by_side() {
    let pool = [
        0,
        1,
        127,
        128,
        255,
        256,
        32767,
        32768,
        65535,
        65536,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0xffff_ff80,
        0xffff_ff7f,
        0xffff_8000,
        0xffff_7fff,
    ];
    for (ty, low, high, bits) in [
        ("u8", 0, 255, 8),
        ("s8", -128, 127, 8),
        ("u16", 0, 65535, 16),
        ("s16", -32768, 32767, 16),
    ] {
        let one = move |v: u64| (v as i32).clamp(low, high) as u64 & ((1 << bits) - 1);
        let body = if bits == 8 {
            format!("cvt.pack.sat.{ty}.s32.b32 %d, %a, %b, %c;")
        } else {
            format!("cvt.pack.sat.{ty}.s32 %d, %a, %b;")
        };
        check(&body, &[32, 32, 32], 32, &pool, |a, b, c| {
            c << (2 * bits) | one(a) << bits | one(b)
        });
    }
}

#[test]
fn dot_products() {
    let byte = |v: u64, k: usize, signed: bool| {
        let b = (v as u32).to_le_bytes()[k];
        if signed {
            i64::from(b as i8)
        } else {
            i64::from(b)
        }
    };
    let half = |v: u64, k: usize, signed: bool| {
        let h = (v >> (16 * k)) as u16;
        if signed {
            i64::from(h as i16)
        } else {
            i64::from(h)
        }
    };
    for (first, second) in [
        ("u32", "u32"),
        ("u32", "s32"),
        ("s32", "u32"),
        ("s32", "s32"),
    ] {
        let (sa, sb) = (first == "s32", second == "s32");
        let body = format!("dp4a.{first}.{second} %d, %a, %b, %c;");
        check(&body, &[32, 32, 32], 32, &POOL, |a, b, c| {
            let sum: i64 = (0..4).map(|k| byte(a, k, sa) * byte(b, k, sb)).sum();
            (c as i64 + sum) as u64
        });
        for (part, from) in [("lo", 0), ("hi", 2)] {
            let body = format!("dp2a.{part}.{first}.{second} %d, %a, %b, %c;");
            check(&body, &[32, 32, 32], 32, &POOL, |a, b, c| {
                let sum: i64 = (0..2).map(|k| half(a, k, sa) * byte(b, from + k, sb)).sum();
                (c as i64 + sum) as u64
            });
        }
    }
}

#[test]
fn products_of_24_bits() {
    let unsigned = |v: u64| i128::from(v & 0xff_ffff);
    let signed = |v: u64| {
        let v = i128::from(v & 0xff_ffff);
        if v >= 1 << 23 { v - (1 << 24) } else { v }
    };
    type Value = fn(u64) -> i128;
    for (ty, value) in [("u32", unsigned as Value), ("s32", signed)] {
        for (part, shift) in [("lo", 0), ("hi", 16)] {
            let body = format!("mul24.{part}.{ty} %d, %a, %b;");
            check(&body, &[32, 32], 32, &POOL, |a, b, _| {
                ((value(a) * value(b)) >> shift) as u64
            });
            let body = format!("mad24.{part}.{ty} %d, %a, %b, %c;");
            check(&body, &[32, 32, 32], 32, &POOL, |a, b, c| {
                (((value(a) * value(b)) >> shift) + i128::from(c)) as u64
            });
        }
    }
    check(
        "mad24.hi.sat.s32 %d, %a, %b, %c;",
        &[32, 32, 32],
        32,
        &POOL,
        |a, b, c| {
            // The part is taken as a number of 32 bits, then the sum is held in range.
            let sum = i64::from(((signed(a) * signed(b)) >> 16) as i32) + i64::from(c as i32);
            sum.clamp(i32::MIN.into(), i32::MAX.into()) as u64
        },
    );
}

/// The reference's table: for each selector, which of the eight bytes each result byte is, highest first.
#[test]
fn permute_modes() {
    let table: [(&str, [[usize; 4]; 4]); 6] = [
        (
            "f4e",
            [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]],
        ),
        (
            "b4e",
            [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]],
        ),
        (
            "rc8",
            [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]],
        ),
        (
            "ecl",
            [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]],
        ),
        (
            "ecr",
            [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]],
        ),
        (
            "rc16",
            [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]],
        ),
    ];
    for (mode, rows) in table {
        let body = format!("prmt.b32.{mode} %d, %a, %b, %c;");
        check(&body, &[32, 32, 32], 32, &POOL, |a, b, c| {
            let bytes = (b << 32 | a).to_le_bytes();
            rows[(c & 3) as usize]
                .iter()
                .fold(0, |d, &k| d << 8 | u64::from(bytes[k]))
        });
    }
}

#[test]
fn selections_masks_and_extensions() {
    check(
        "slct.u32.s32 %d, %a, %b, %c;",
        &[32, 32, 32],
        32,
        &POOL,
        |a, b, c| {
            if c as i32 >= 0 { a } else { b }
        },
    );
    let floats = [
        0,
        0x8000_0000,
        0x8000_0001,
        1,
        0xbf80_0000,
        0x3f80_0000,
        0x7fc0_0000,
        0xff80_0000,
    ];
    check(
        "slct.b64.f32 %d, %a, %b, %c;",
        &[64, 64, 32],
        64,
        &floats,
        |a, b, c| {
            if f32::from_bits(c as u32) >= 0.0 {
                a
            } else {
                b
            }
        },
    );
    check(
        "slct.ftz.b32.f32 %d, %a, %b, %c;",
        &[32, 32, 32],
        32,
        &floats,
        |a, b, c| {
            let v = f32::from_bits(c as u32);
            if v >= 0.0 || v.is_subnormal() { a } else { b }
        },
    );
    let counts = [0, 1, 5, 16, 31, 32, 33, 200, 0xffff_ffff];
    for (mode, wraps) in [("clamp", false), ("wrap", true)] {
        let limit = move |v: u64| if wraps { v & 31 } else { v.min(32) };
        let body = format!("bmsk.{mode}.b32 %d, %a, %b;");
        check(&body, &[32, 32], 32, &counts, |a, b, _| {
            (0..64)
                .filter(|&i| i >= limit(a) && i < limit(a) + limit(b))
                .fold(0, |d, i| d | 1 << i)
        });
        for (ty, signed) in [("u32", false), ("s32", true)] {
            let body = format!("szext.{mode}.{ty} %d, %a, %b;");
            check(&body, &[32, 32], 32, &counts, |a, b, _| {
                // Bit by bit: those from the width on are the top one's, or zero.
                let n = limit(b);
                (0..32).fold(0, |d, i| {
                    let from = if i < n { i } else { n.wrapping_sub(1) };
                    let bit = n > 0 && (i < n || signed) && a >> from & 1 != 0;
                    d | u64::from(bit) << i
                })
            });
        }
    }
}

#[test]
fn properties_of_floats_and_addresses() {
    type Holds = fn(f32) -> bool;
    let cases: [(&str, Holds); 6] = [
        ("finite", |v| v.is_finite()),
        ("infinite", |v| v.is_infinite()),
        ("number", |v| !v.is_nan()),
        ("notanumber", |v| v.is_nan()),
        ("normal", |v| v.is_normal()),
        ("subnormal", |v| v.is_subnormal()),
    ];
    let pool = [
        0,
        0x8000_0000,
        1,
        0x807f_ffff,
        0x0080_0000,
        0x3f80_0000,
        0xff7f_ffff,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
    ];
    for (name, holds) in cases {
        let body = format!("testp.{name}.f32 %p, %a;\nselp.u32 %d, 1, 0, %p;");
        check(&body, &[32], 32, &pool, |a, _, _| {
            u64::from(holds(f32::from_bits(a as u32)))
        });
    }
    // %x is the address of the operands; s and l lie in other spaces.
    for (address, space) in [
        ("", "global"),
        ("cvta.shared.u64 %x, s;", "shared"),
        ("cvta.local.u64 %x, l;", "local"),
    ] {
        for tested in ["global", "shared", "local"] {
            let body = format!(
                ".shared .b32 s;\n.local .b32 l;\n{address}\nisspacep.{tested} %p, %x;\nselp.u32 %d, 1, 0, %p;"
            );
            let found = run(&body, &[32], 32, &[[0; 3]; 4]);
            assert_eq!(
                found,
                [u64::from(space == tested); 4],
                "{tested} of {space}"
            );
        }
    }
}
