//! Every operation of `atom` and `red`, in global and shared memory, lane after lane.

use crate::{Sequence, launch, launch_of};

type Modify = fn(u64, u64, u64) -> u64;

fn kernel(name: &str, bits: u32, shared: bool, reduce: bool) -> String {
    let place = if shared { "[%s]" } else { "[%m]" };
    let space = if shared { "shared" } else { "global" };
    let last = if name.starts_with("cas") { ", %c" } else { "" };
    let operation = if reduce {
        format!("red.{space}.{name} {place}, %b;\nmov.b{bits} %o, 0;")
    } else {
        format!("atom.{space}.{name} %o, {place}, %b{last};")
    };
    format!(
        ".shared .align 8 .b8 s[8];\n.reg .b64 %m, %x, %y;\n.reg .b32 %t, %s;\n.reg .pred %p;\n\
         .reg .b{bits} %b, %c, %o, %v;\nmov.u32 %t, %tid.x;\nmov.u32 %s, s;\nld.param.u64 %m, [b0];\n\
         ld.param.u64 %x, [b1];\nmad.wide.u32 %x, %t, 16, %x;\nld.param.u64 %y, [b2];\n\
         mad.wide.u32 %y, %t, 8, %y;\nld.global.b{bits} %b, [%x];\nld.global.b{bits} %c, [%x+8];\n\
         setp.eq.u32 %p, %t, 0;\n@%p ld.global.b{bits} %v, [%m];\n@%p st.shared.b{bits} [%s], %v;\n\
         bar.sync 0;\n{operation}\nst.global.b{bits} [%y], %o;\nbar.sync 0;\n{}",
        if shared {
            format!("@%p ld.shared.b{bits} %v, [%s];\n@%p st.global.b{bits} [%m], %v;")
        } else {
            String::new()
        }
    )
}

/// A warp of operands from the pool, applied to each first value.
fn check(name: &str, bits: u32, pool: &[u64], reduces: bool, shared: bool, f: Modify) {
    let keep = u64::MAX >> (64 - bits);
    for (start, seed) in pool.iter().zip(1..) {
        let mut s = Sequence(seed);
        let mut draw = || {
            let n = s.draw();
            pool[n as usize % pool.len()] & keep
        };
        let operands: Vec<[u64; 2]> = (0..32).map(|_| [draw(), draw()]).collect();
        for reduce in [false, true] {
            if reduce && !reduces {
                continue;
            }
            let text = kernel(name, bits, shared, reduce);
            let input = operands.iter().flatten().flat_map(|v| v.to_le_bytes());
            let first = (start & keep).to_le_bytes().to_vec();
            let mut buffers = [first, input.collect(), vec![0; 32 * 8]];
            launch(&text, &launch_of(32, 1), &mut buffers)
                .unwrap_or_else(|fault| panic!("{fault}\n{text}"));
            let mut value = start & keep;
            for (i, [b, c]) in operands.iter().enumerate() {
                let word = buffers[2][8 * i..8 * i + 8]
                    .try_into()
                    .expect("eight bytes");
                let wanted = if reduce { 0 } else { value };
                assert_eq!(
                    u64::from_le_bytes(word),
                    wanted,
                    "{name}, thread {i}, from {start:#x}"
                );
                value = f(value, *b, *c) & keep;
            }
            let word = buffers[0][..8].try_into().expect("eight bytes");
            assert_eq!(u64::from_le_bytes(word), value, "{name} from {start:#x}");
        }
    }
}

const INTEGERS: [u64; 10] = [
    0,
    1,
    5,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
    0x1234_5678_9abc_def0,
];

#[test]
fn integers() {
    let cases: [(&str, u32, Modify); 23] = [
        ("add.u32", 32, |a, b, _| a.wrapping_add(b)),
        ("add.s32", 32, |a, b, _| a.wrapping_add(b)),
        ("add.u64", 64, |a, b, _| a.wrapping_add(b)),
        ("min.u32", 32, |a, b, _| a.min(b)),
        ("max.u32", 32, |a, b, _| a.max(b)),
        ("min.s32", 32, |a, b, _| (a as i32).min(b as i32) as u64),
        ("max.s32", 32, |a, b, _| (a as i32).max(b as i32) as u64),
        ("min.u64", 64, |a, b, _| a.min(b)),
        ("max.u64", 64, |a, b, _| a.max(b)),
        ("min.s64", 64, |a, b, _| (a as i64).min(b as i64) as u64),
        ("max.s64", 64, |a, b, _| (a as i64).max(b as i64) as u64),
        ("and.b32", 32, |a, b, _| a & b),
        ("or.b32", 32, |a, b, _| a | b),
        ("xor.b32", 32, |a, b, _| a ^ b),
        ("and.b64", 64, |a, b, _| a & b),
        ("or.b64", 64, |a, b, _| a | b),
        ("xor.b64", 64, |a, b, _| a ^ b),
        ("exch.b32", 32, |_, b, _| b),
        ("exch.b64", 64, |_, b, _| b),
        ("cas.b32", 32, |a, b, c| if a == b { c } else { a }),
        ("cas.b64", 64, |a, b, c| if a == b { c } else { a }),
        ("inc.u32", 32, |a, b, _| if a >= b { 0 } else { a + 1 }),
        (
            "dec.u32",
            32,
            |a, b, _| if a == 0 || a > b { b } else { a - 1 },
        ),
    ];
    for (name, bits, f) in cases {
        let reduces = !name.starts_with("exch") && !name.starts_with("cas");
        for shared in [false, true] {
            check(name, bits, &INTEGERS, reduces, shared, f);
        }
    }
    // Halves of a word are swapped apart.
    check("cas.b16", 16, &INTEGERS, false, false, |a, b, c| {
        if a == b { c } else { a }
    });
}

fn sum32(a: u64, b: u64) -> u64 {
    let v = f32::from_bits(a as u32) + f32::from_bits(b as u32);
    if v.is_nan() {
        0x7fff_ffff
    } else {
        u64::from(v.to_bits())
    }
}

fn flushed(x: u64) -> u64 {
    if f32::from_bits(x as u32).is_subnormal() {
        x & 0x8000_0000
    } else {
        x
    }
}

#[test]
fn floats() {
    let floats: Vec<u64> = [
        0.0f32, -0.0, 1.5, -1.5, 3.4e38, -3.4e38, 1e-45, -1e-39, 2e-38, 16777217.0,
    ]
    .iter()
    .map(|v| u64::from(v.to_bits()))
    .chain([0x7f80_0000, 0xff80_0000])
    .collect();
    // Subnormals are zero in global memory and numbers in shared memory.
    check("add.f32", 32, &floats, true, false, |a, b, _| {
        flushed(sum32(flushed(a), flushed(b)))
    });
    check("add.f32", 32, &floats, true, true, |a, b, _| sum32(a, b));
    let doubles: Vec<u64> = [
        0.0,
        -0.0,
        0.1,
        -1.5,
        f64::MAX,
        f64::MIN,
        5e-324,
        -5e-324,
        1e16,
    ]
    .iter()
    .map(|v| v.to_bits())
    .collect();
    for shared in [false, true] {
        check("add.f64", 64, &doubles, true, shared, |a, b, _| {
            (f64::from_bits(a) + f64::from_bits(b)).to_bits()
        });
    }
}

/// A sum of two f16 or bf16 is exact in f64 but for bf16 far apart, which the pools avoid.
fn half_sum(a: u64, b: u64) -> u64 {
    let (x, y) = (
        half::f16::from_bits(a as u16),
        half::f16::from_bits(b as u16),
    );
    let v = x.to_f32() + y.to_f32();
    let v = half::f16::from_f32(v);
    if v.is_nan() {
        0x7fff
    } else {
        u64::from(v.to_bits())
    }
}

fn brain_sum(a: u64, b: u64) -> u64 {
    let (x, y) = (
        half::bf16::from_bits(a as u16),
        half::bf16::from_bits(b as u16),
    );
    let v = half::bf16::from_f32(x.to_f32() + y.to_f32());
    if v.is_nan() {
        0x7fff
    } else {
        u64::from(v.to_bits())
    }
}

fn pairs(a: u64, b: u64, f: fn(u64, u64) -> u64) -> u64 {
    f(a & 0xffff, b & 0xffff) | f(a >> 16 & 0xffff, b >> 16 & 0xffff) << 16
}

#[test]
fn narrow_floats_alone_and_in_pairs() {
    // Sums of f16 are exact in f32: 2^-24 to 2^16.
    let halves = [
        0x3c00_0001,
        0x0001_8001,
        0x7bff_7bff,
        0xfbff_3555,
        0x8000_0000,
        0x7c00_1400,
        0x03ff_6800,
    ];
    let brains = [
        0x3f80_0000,
        0xbf81_4000,
        0x8000_3f01,
        0x7f7f_3f80,
        0x0001_0001,
        0x8001_0080,
    ];
    for shared in [false, true] {
        check("add.noftz.f16", 16, &halves, true, shared, |a, b, _| {
            half_sum(a, b)
        });
        check("add.noftz.f16x2", 32, &halves, true, shared, |a, b, _| {
            pairs(a, b, half_sum)
        });
        check("add.noftz.bf16", 16, &brains, true, shared, |a, b, _| {
            brain_sum(a, b)
        });
        check("add.noftz.bf16x2", 32, &brains, true, shared, |a, b, _| {
            pairs(a, b, brain_sum)
        });
    }
}
