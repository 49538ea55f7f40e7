//! Integer instructions.

use crate::check;

const POOL: [u64; 14] = [
    0,
    1,
    2,
    5,
    31,
    32,
    33,
    64,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

type Reference32 = fn(u32, u32, u32) -> u32;

#[test]
fn thirty_two_bits() {
    let cases: [(&str, Reference32); 41] = [
        ("add.s32 %d, %a, %b;", |a, b, _| a.wrapping_add(b)),
        ("add.sat.s32 %d, %a, %b;", |a, b, _| {
            (a as i32).saturating_add(b as i32) as u32
        }),
        ("sub.u32 %d, %a, %b;", |a, b, _| a.wrapping_sub(b)),
        ("sub.sat.s32 %d, %a, %b;", |a, b, _| {
            (a as i32).saturating_sub(b as i32) as u32
        }),
        ("mul.lo.s32 %d, %a, %b;", |a, b, _| a.wrapping_mul(b)),
        ("mul.hi.u32 %d, %a, %b;", |a, b, _| {
            ((a as u64 * b as u64) >> 32) as u32
        }),
        ("mul.hi.s32 %d, %a, %b;", |a, b, _| {
            ((a as i32 as i64 * b as i32 as i64) >> 32) as u32
        }),
        ("mad.lo.s32 %d, %a, %b, %c;", |a, b, c| {
            a.wrapping_mul(b).wrapping_add(c)
        }),
        ("mad.hi.u32 %d, %a, %b, %c;", |a, b, c| {
            (((a as u64 * b as u64) >> 32) as u32).wrapping_add(c)
        }),
        ("div.u32 %d, %a, %b;", |a, b, _| {
            a.checked_div(b).unwrap_or(u32::MAX)
        }),
        ("rem.u32 %d, %a, %b;", |a, b, _| {
            a.checked_rem(b).unwrap_or(a)
        }),
        ("div.s32 %d, %a, %b;", |a, b, _| {
            if b == 0 {
                u32::MAX
            } else {
                (a as i32).wrapping_div(b as i32) as u32
            }
        }),
        ("rem.s32 %d, %a, %b;", |a, b, _| {
            if b == 0 {
                a
            } else {
                (a as i32).wrapping_rem(b as i32) as u32
            }
        }),
        ("min.s32 %d, %a, %b;", |a, b, _| {
            (a as i32).min(b as i32) as u32
        }),
        ("max.s32 %d, %a, %b;", |a, b, _| {
            (a as i32).max(b as i32) as u32
        }),
        ("min.u32 %d, %a, %b;", |a, b, _| a.min(b)),
        ("max.u32 %d, %a, %b;", |a, b, _| a.max(b)),
        ("and.b32 %d, %a, %b;", |a, b, _| a & b),
        ("or.b32 %d, %a, %b;", |a, b, _| a | b),
        ("xor.b32 %d, %a, %b;", |a, b, _| a ^ b),
        ("not.b32 %d, %a;", |a, _, _| !a),
        ("cnot.b32 %d, %a;", |a, _, _| u32::from(a == 0)),
        ("neg.s32 %d, %a;", |a, _, _| a.wrapping_neg()),
        ("abs.s32 %d, %a;", |a, _, _| {
            (a as i32).wrapping_abs() as u32
        }),
        ("shl.b32 %d, %a, %b;", |a, b, _| {
            a.checked_shl(b).unwrap_or(0)
        }),
        ("shr.u32 %d, %a, %b;", |a, b, _| {
            a.checked_shr(b).unwrap_or(0)
        }),
        ("shr.s32 %d, %a, %b;", |a, b, _| {
            ((a as i32) >> b.min(31)) as u32
        }),
        ("popc.b32 %d, %a;", |a, _, _| a.count_ones()),
        ("clz.b32 %d, %a;", |a, _, _| a.leading_zeros()),
        ("brev.b32 %d, %a;", |a, _, _| a.reverse_bits()),
        ("bfind.u32 %d, %a;", |a, _, _| {
            31u32.wrapping_sub(a.leading_zeros())
        }),
        ("bfind.s32 %d, %a;", |a, _, _| {
            let v = if (a as i32) < 0 { !a } else { a };
            31u32.wrapping_sub(v.leading_zeros())
        }),
        ("bfind.shiftamt.u32 %d, %a;", |a, _, _| {
            if a == 0 { u32::MAX } else { a.leading_zeros() }
        }),
        ("sad.u32 %d, %a, %b, %c;", |a, b, c| {
            a.abs_diff(b).wrapping_add(c)
        }),
        ("sad.s32 %d, %a, %b, %c;", |a, b, c| {
            (a as i32).abs_diff(b as i32).wrapping_add(c)
        }),
        ("shf.l.wrap.b32 %d, %a, %b, %c;", |a, b, c| {
            (((b as u64) << 32 | a as u64) << (c & 31) >> 32) as u32
        }),
        ("shf.r.wrap.b32 %d, %a, %b, %c;", |a, b, c| {
            (((b as u64) << 32 | a as u64) >> (c & 31)) as u32
        }),
        ("shf.l.clamp.b32 %d, %a, %b, %c;", |a, b, c| {
            if c >= 32 {
                a
            } else {
                (((b as u64) << 32 | a as u64) << c >> 32) as u32
            }
        }),
        ("shf.r.clamp.b32 %d, %a, %b, %c;", |a, b, c| {
            if c >= 32 {
                b
            } else {
                (((b as u64) << 32 | a as u64) >> c) as u32
            }
        }),
        ("lop3.b32 %d, %a, %b, %c, 0x96;", |a, b, c| a ^ b ^ c),
        ("lop3.b32 %d, %a, %b, %c, 0xca;", |a, b, c| {
            (a & b) | (!a & c)
        }),
    ];
    for (text, f) in cases {
        check(text, &[32, 32, 32], 32, &POOL, |a, b, c| {
            u64::from(f(a as u32, b as u32, c as u32))
        });
    }
}

#[test]
fn sixty_four_and_sixteen_bits() {
    type Reference = fn(u64, u64, u64) -> u64;
    let cases: [(&str, Reference); 12] = [
        ("add.s64 %d, %a, %b;", |a, b, _| a.wrapping_add(b)),
        ("sub.s64 %d, %a, %b;", |a, b, _| a.wrapping_sub(b)),
        ("mul.lo.s64 %d, %a, %b;", |a, b, _| a.wrapping_mul(b)),
        ("mul.hi.u64 %d, %a, %b;", |a, b, _| {
            ((a as u128 * b as u128) >> 64) as u64
        }),
        ("mul.hi.s64 %d, %a, %b;", |a, b, _| {
            ((a as i64 as i128 * b as i64 as i128) >> 64) as u64
        }),
        ("mad.lo.s64 %d, %a, %b, %c;", |a, b, c| {
            a.wrapping_mul(b).wrapping_add(c)
        }),
        ("div.s64 %d, %a, %b;", |a, b, _| {
            if b == 0 {
                u64::MAX
            } else {
                (a as i64).wrapping_div(b as i64) as u64
            }
        }),
        ("rem.u64 %d, %a, %b;", |a, b, _| {
            a.checked_rem(b).unwrap_or(a)
        }),
        ("min.s64 %d, %a, %b;", |a, b, _| {
            (a as i64).min(b as i64) as u64
        }),
        ("xor.b64 %d, %a, %b;", |a, b, _| a ^ b),
        ("brev.b64 %d, %a;", |a, _, _| a.reverse_bits()),
        ("neg.s64 %d, %a;", |a, _, _| a.wrapping_neg()),
    ];
    for (text, f) in cases {
        check(text, &[64, 64, 64], 64, &POOL, f);
    }
    check("shl.b64 %d, %a, %b;", &[64, 32], 64, &POOL, |a, b, _| {
        a.checked_shl(b as u32).unwrap_or(0)
    });
    check("shr.s64 %d, %a, %b;", &[64, 32], 64, &POOL, |a, b, _| {
        ((a as i64) >> (b as u32).min(63)) as u64
    });
    check("clz.b64 %d, %a;", &[64], 32, &POOL, |a, _, _| {
        u64::from(a.leading_zeros())
    });
    check("popc.b64 %d, %a;", &[64], 32, &POOL, |a, _, _| {
        u64::from(a.count_ones())
    });
    check(
        "mul.wide.u32 %d, %a, %b;",
        &[32, 32],
        64,
        &POOL,
        |a, b, _| a * b,
    );
    check(
        "mul.wide.s32 %d, %a, %b;",
        &[32, 32],
        64,
        &POOL,
        |a, b, _| (i64::from(a as i32) * i64::from(b as i32)) as u64,
    );
    check(
        "mad.wide.s32 %d, %a, %b, %c;",
        &[32, 32, 64],
        64,
        &POOL,
        |a, b, c| ((i64::from(a as i32) * i64::from(b as i32)) as u64).wrapping_add(c),
    );
    check(
        "mul.wide.s16 %d, %a, %b;",
        &[16, 16],
        32,
        &POOL,
        |a, b, _| (i32::from(a as i16) * i32::from(b as i16)) as u64,
    );
    check("add.s16 %d, %a, %b;", &[16, 16], 16, &POOL, |a, b, _| {
        a.wrapping_add(b)
    });
    check("min.s16 %d, %a, %b;", &[16, 16], 16, &POOL, |a, b, _| {
        (a as i16).min(b as i16) as u64
    });
    check("shr.s16 %d, %a, %b;", &[16, 32], 16, &POOL, |a, b, _| {
        ((a as i16) >> (b as u32).min(15)) as u64
    });
}

#[test]
fn bit_fields() {
    let extract = |a: u64, at: u64, length: u64, bits: u64, signed: bool| -> u64 {
        let (at, length) = (at & 255, length & 255);
        let sign = if signed && length > 0 {
            a >> (at + length - 1).min(bits - 1) & 1
        } else {
            0
        };
        // As the reference words it: bit by bit.
        (0..bits).fold(0, |d, i| {
            let bit = if i < length && at + i < bits {
                a >> (at + i) & 1
            } else {
                sign
            };
            d | bit << i
        })
    };
    check(
        "bfe.u32 %d, %a, %b, %c;",
        &[32, 32, 32],
        32,
        &POOL,
        |a, b, c| extract(a, b, c, 32, false),
    );
    check(
        "bfe.s32 %d, %a, %b, %c;",
        &[32, 32, 32],
        32,
        &POOL,
        |a, b, c| extract(a, b, c, 32, true),
    );
    check(
        "bfe.u64 %d, %a, %b, %c;",
        &[64, 32, 32],
        64,
        &POOL,
        |a, b, c| extract(a, b, c, 64, false),
    );
    check(
        "bfe.s64 %d, %a, %b, %c;",
        &[64, 32, 32],
        64,
        &POOL,
        |a, b, c| extract(a, b, c, 64, true),
    );
    check(
        "bfi.b32 %d, %a, %b, %c, 9;",
        &[32, 32, 32],
        32,
        &POOL,
        |a, b, c| {
            (0..32).fold(b, |d, i| {
                let at = (c & 255) + i;
                if i < 9 && at < 32 {
                    d & !(1 << at) | (a >> i & 1) << at
                } else {
                    d
                }
            })
        },
    );
    check(
        "prmt.b32 %d, %a, %b, %c;",
        &[32, 32, 32],
        32,
        &POOL,
        |a, b, c| {
            let bytes = (b << 32 | a).to_le_bytes();
            (0..4).fold(0, |d, k| {
                let pick = c >> (4 * k) & 15;
                let byte = bytes[(pick & 7) as usize];
                let byte = if pick & 8 != 0 {
                    ((byte as i8) >> 7) as u8
                } else {
                    byte
                };
                d | u64::from(byte) << (8 * k)
            })
        },
    );
}

#[test]
fn carries_chain() {
    let body = ".reg .b32 %l, %h, %e, %f;\nmov.b64 {%l, %h}, %a;\nmov.b64 {%e, %f}, %b;\n\
                add.cc.u32 %l, %l, %e;\naddc.u32 %h, %h, %f;\nmov.b64 %d, {%l, %h};";
    check(body, &[64, 64], 64, &POOL, |a, b, _| a.wrapping_add(b));
    let body = body.replace("add.cc", "sub.cc").replace("addc", "subc");
    check(&body, &[64, 64], 64, &POOL, |a, b, _| a.wrapping_sub(b));
    let wide = ".reg .b32 %g, %h;\nmad.lo.cc.u32 %g, %a, %b, %c;\nmadc.hi.u32 %h, %a, %b, 0;\n\
                mov.b64 %d, {%g, %h};";
    check(wide, &[32, 32, 32], 64, &POOL, |a, b, c| {
        (a * b).wrapping_add(c)
    });
}

#[test]
fn comparisons() {
    type Reference = fn(u32, u32) -> bool;
    let cases: [(&str, Reference); 10] = [
        ("eq.s32", |a, b| a == b),
        ("ne.s32", |a, b| a != b),
        ("lt.s32", |a, b| (a as i32) < b as i32),
        ("le.s32", |a, b| a as i32 <= b as i32),
        ("gt.s32", |a, b| a as i32 > b as i32),
        ("ge.s32", |a, b| a as i32 >= b as i32),
        ("lt.u32", |a, b| a < b),
        ("lo.u32", |a, b| a < b),
        ("hs.u32", |a, b| a >= b),
        ("gt.u32", |a, b| a > b),
    ];
    for (name, f) in cases {
        let body =
            format!("setp.{name} %p|%q, %a, %b;\nselp.u32 %d, 2, 0, %p;\n@%q add.u32 %d, %d, 1;");
        check(&body, &[32, 32], 32, &POOL, |a, b, _| {
            if f(a as u32, b as u32) { 2 } else { 1 }
        });
    }
    let body = "setp.eq.u32 %q, %c, 5;\nsetp.lt.and.u32 %p, %a, %b, !%q;\nselp.u32 %d, 1, 0, %p;";
    check(body, &[32, 32, 32], 32, &POOL, |a, b, c| {
        u64::from(a < b && c != 5)
    });
    check(
        "set.gt.u32.s32 %d, %a, %b;",
        &[32, 32],
        32,
        &POOL,
        |a, b, _| {
            if a as i32 > b as i32 { 0xffff_ffff } else { 0 }
        },
    );
}
