//! `mma.sync` of every shape and type, and `ldmatrix`, with the fragment layouts of the PTX ISA reference.

use crate::{Sequence, bytes, launch, launch_of, narrow::nearest_half, words};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Format {
    F16,
    Bf16,
    Tf32,
    F32,
}
use Format::{Bf16, F16, F32, Tf32};

impl Format {
    fn name(self) -> &'static str {
        match self {
            F16 => "f16",
            Bf16 => "bf16",
            Tf32 => "tf32",
            F32 => "f32",
        }
    }

    fn bits(self) -> u32 {
        if matches!(self, F16 | Bf16) { 16 } else { 32 }
    }

    fn encode(self, v: f64) -> u32 {
        match self {
            F16 => u32::from(half::f16::from_f32(v as f32).to_bits()),
            Bf16 => u32::from(half::bf16::from_f32(v as f32).to_bits()),
            _ => (v as f32).to_bits(),
        }
    }

    fn decode(self, bits: u32) -> f64 {
        match self {
            F16 => half::f16::from_bits(bits as u16).to_f64(),
            Bf16 => half::bf16::from_bits(bits as u16).to_f64(),
            _ => f64::from(f32::from_bits(bits)),
        }
    }

    /// A value of the format whose products with its like are multiples of 2^-26 below 2^14.
    fn draw(self, s: &mut Sequence) -> f64 {
        let small = (s.draw() % 65) as f64 - 32.0;
        match s.draw() % 16 {
            // f16 has subnormals here; they count in full.
            0 => small * 2f64.powi(-22),
            n => small * 2f64.powi(n as i32 % 5 - 3),
        }
    }
}

/// A matrix of values, with what each register of each lane holds of it.
fn fragments(
    format: Format,
    registers: usize,
    value: impl Fn(usize, usize) -> f64,
    place: impl Fn(usize, usize, usize) -> (usize, usize),
) -> Vec<[u32; 4]> {
    let per = 32 / format.bits() as usize;
    (0..32)
        .map(|lane| {
            let mut out = [0; 4];
            for i in 0..registers * per {
                let (row, column) = place(lane / 4, lane % 4, i);
                let bits = format.encode(value(row, column));
                out[i / per] |= bits << (format.bits() as usize * (i % per) % 32);
            }
            out
        })
        .collect()
}

/// Row and column of element `i` of the first factor, the second, and the accumulator.
fn first(format: Format, g: usize, t: usize, i: usize) -> (usize, usize) {
    if format.bits() == 16 {
        // Elements 0, 1, 4, 5 in the upper rows; 4 to 7 eight columns on.
        let row = if i % 4 < 2 { g } else { g + 8 };
        (row, t * 2 + i % 2 + if i >= 4 { 8 } else { 0 })
    } else {
        let row = if i.is_multiple_of(2) { g } else { g + 8 };
        (row, t + if i >= 2 { 4 } else { 0 })
    }
}

fn second(format: Format, g: usize, t: usize, i: usize) -> (usize, usize) {
    if format.bits() == 16 {
        (t * 2 + i % 2 + if i >= 2 { 8 } else { 0 }, g)
    } else {
        (t + 4 * i, g)
    }
}

fn sums(g: usize, t: usize, i: usize) -> (usize, usize) {
    (if i < 2 { g } else { g + 8 }, t * 2 + i % 2)
}

fn product(depth: usize, factor: Format, c_format: Format, d_format: Format, seed: u64) {
    let mut s = Sequence(seed);
    let mut a = vec![[0.0; 16]; 16];
    let mut b = vec![[0.0; 8]; 16];
    let mut c = vec![[0.0; 8]; 16];
    for k in 0..depth {
        for row in &mut a {
            row[k] = factor.draw(&mut s);
        }
        for v in &mut b[k] {
            *v = factor.draw(&mut s);
        }
    }
    for row in &mut c {
        for v in row {
            // An f32 has places that the sum loses when it is rounded.
            *v = c_format.draw(&mut s) + if c_format == F32 { 2f64.powi(-23) } else { 0.0 };
        }
    }
    // Infinity less infinity, infinity times zero, NaN, and (in f16) a sum beyond the largest value.
    a[3][1] = f64::INFINITY;
    b[1][2] = 0.0;
    a[5][0] = f64::NAN;
    a[6] = [4000.0; 16];
    a[7] = [-4000.0; 16];
    b.iter_mut().for_each(|row| row[4] = 32.0);
    c[3][1] = f64::NEG_INFINITY;
    c[9][3] = f64::INFINITY;
    let counts = |format: Format, elements: usize| elements * format.bits() as usize / 32 / 32;
    let (na, nb) = (counts(factor, 16 * depth), counts(factor, 8 * depth));
    let (nc, nd) = (counts(c_format, 128), counts(d_format, 128));
    let lanes = [
        fragments(factor, na, |r, k| a[r][k], |g, t, i| first(factor, g, t, i)),
        fragments(
            factor,
            nb,
            |k, n| b[k][n],
            |g, t, i| second(factor, g, t, i),
        ),
        fragments(c_format, nc, |r, n| c[r][n], sums),
    ];
    let mut text = String::from(
        ".reg .b64 %x, %y;\n.reg .b32 %t, %a<4>, %b<4>, %c<4>, %d<4>;\nmov.u32 %t, %tid.x;\n\
         ld.param.u64 %x, [b0];\nmad.wide.u32 %x, %t, 48, %x;\n\
         ld.param.u64 %y, [b1];\nmad.wide.u32 %y, %t, 16, %y;\n",
    );
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        for k in 0..4 {
            text += &format!("ld.global.b32 %{name}{k}, [%x+{}];\n", 16 * i + 4 * k);
        }
    }
    let list = |name: &str, n: usize| {
        let names: Vec<String> = (0..n).map(|k| format!("%{name}{k}")).collect();
        format!("{{{}}}", names.join(", "))
    };
    text += &format!(
        "mma.sync.aligned.m16n8k{depth}.row.col.{}.{f}.{f}.{} {}, {}, {}, {};\n",
        d_format.name(),
        c_format.name(),
        list("d", nd),
        list("a", na),
        list("b", nb),
        list("c", nc),
        f = factor.name(),
    );
    for k in 0..nd {
        text += &format!("st.global.b32 [%y+{}], %d{k};\n", 4 * k);
    }
    let input = (0..32).flat_map(|lane| lanes.iter().flat_map(move |m| m[lane]));
    let mut buffers = [bytes(input), vec![0; 32 * 16]];
    launch(&text, &launch_of(32, 1), &mut buffers).expect("a clean run");
    let found = words(&buffers[1]);
    let (mut overflows, mut nans) = (0, 0);
    for lane in 0..32 {
        for i in 0..4 {
            let (row, n) = sums(lane / 4, lane % 4, i);
            let value = |v: f64, format: Format| format.decode(format.encode(v));
            // Every partial sum is exact in f64.
            let exact = (0..depth).fold(value(c[row][n], c_format), |sum, k| {
                sum + value(a[row][k], factor) * value(b[k][n], factor)
            });
            let per = 32 / d_format.bits() as usize;
            let word = found[4 * lane + i / per];
            let bits = word >> (d_format.bits() as usize * (i % per) % 32);
            let bits = if per == 2 { bits & 0xffff } else { bits };
            let wanted = match (d_format, exact.is_nan()) {
                (F16, true) => 0x7fff,
                (_, true) => 0x7fff_ffff,
                (F16, _) if exact.is_infinite() => 0x7c00 | u32::from(exact < 0.0) << 15,
                (F16, _) => nearest_half((exact * 2f64.powi(48)) as i128) as u32,
                _ => (exact as f32).to_bits(),
            };
            overflows +=
                u32::from(d_format == F16 && exact.is_finite() && wanted & 0x7fff == 0x7c00);
            nans += u32::from(exact.is_nan());
            let zero = wanted & 0x7fff_ffff == 0 && bits & 0x7fff == 0;
            assert!(
                bits == wanted || zero,
                "{factor:?} {d_format:?} k{depth}, row {row}, column {n}: {bits:#x}, expected {wanted:#x}"
            );
        }
    }
    assert!(nans >= 8, "only {nans} NaNs");
    assert!(overflows > 0 || d_format != F16, "nothing overflowed");
}

#[test]
fn products_of_every_shape_and_type() {
    for seed in 1..20 {
        for depth in [8, 16] {
            for (c, d) in [(F32, F32), (F16, F16), (F16, F32), (F32, F16)] {
                product(depth, F16, c, d, seed);
            }
            product(depth, Bf16, F32, F32, seed);
        }
        for depth in [4, 8] {
            product(depth, Tf32, F32, F32, seed);
        }
    }
}

#[test]
fn tf32_ignores_the_lowest_bits() {
    let body = ".reg .b32 %e<4>;\n\
        mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%e0, %e1, %e2, %e3}, {%a, %a}, {%b}, \
        {0f00000000, 0f00000000, 0f00000000, 0f00000000};\nmov.b32 %d, %e0;";
    let one = u64::from(1f32.to_bits());
    let run = |a: u64| crate::run(body, &[32, 32], 32, &[[a, one, 0]; 32]);
    assert_eq!(run(one | 0x1fff), [u64::from(4f32.to_bits()); 32]);
    let next = f32::from_bits(1f32.to_bits() | 0x2000);
    assert_eq!(run(one | 0x2000), [u64::from((4.0 * next).to_bits()); 32]);
}

/// Lane `l` gets of matrix `m` the elements in row l / 4, columns 2 (l % 4) and the next.
#[test]
fn matrices_load_straight_and_transposed() {
    for (count, transpose) in [1, 2, 4].into_iter().flat_map(|n| [(n, false), (n, true)]) {
        // Rows of 16 bytes lie 48 bytes apart; lanes name them in an order of their own.
        let names: Vec<String> = (0..count).map(|k| format!("%d{k}")).collect();
        let mut text = format!(
            ".shared .align 16 .b8 s[1536];\n.reg .b64 %x, %y;\n.reg .b32 %t, %s, %r, %v<4>, %d<4>;\n\
             mov.u32 %t, %tid.x;\nld.param.u64 %x, [b0];\nmad.wide.u32 %x, %t, 16, %x;\n\
             ld.param.u64 %y, [b1];\nmad.wide.u32 %y, %t, 16, %y;\n\
             ld.global.v4.b32 {{%v0, %v1, %v2, %v3}}, [%x];\nmov.u32 %s, s;\nmad.lo.u32 %r, %t, 48, %s;\n\
             st.shared.v4.b32 [%r], {{%v0, %v1, %v2, %v3}};\nbar.warp.sync 0xffffffff;\n\
             xor.b32 %t, %t, 5;\nmad.lo.u32 %r, %t, 48, %s;\n\
             ldmatrix.sync.aligned.m8n8.x{count}{}.shared.b16 {{{}}}, [%r];\n",
            if transpose { ".trans" } else { "" },
            names.join(", ")
        );
        for (k, name) in names.iter().enumerate() {
            text += &format!("st.global.b32 [%y+{}], {name};\n", 4 * k);
        }
        let mut s = Sequence(11);
        let rows: Vec<u16> = (0..32 * 8).map(|_| s.draw() as u16).collect();
        let input = rows.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut buffers = [input, vec![0; 32 * 16]];
        launch(&text, &launch_of(32, 1), &mut buffers).expect("a clean run");
        let found = words(&buffers[1]);
        for lane in 0..32 {
            for m in 0..count {
                let element = |row: usize, column: usize| {
                    let named_by = 8 * m + row;
                    u32::from(rows[8 * (named_by ^ 5) + column])
                };
                let (r, c) = (lane / 4, 2 * (lane % 4));
                let wanted = if transpose {
                    element(c, r) | element(c + 1, r) << 16
                } else {
                    element(r, c) | element(r, c + 1) << 16
                };
                assert_eq!(
                    found[4 * lane + m],
                    wanted,
                    "x{count} {transpose} lane {lane}"
                );
            }
        }
    }
}
