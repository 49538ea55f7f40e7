//! Exchanges within a warp.

use crate::{run, run_on};
use cuda_emulator::{DeviceConfig, FaultKind};

fn lanes(f: impl Fn(u64) -> [u64; 3]) -> Vec<[u64; 3]> {
    (0..32).map(f).collect()
}

/// As the reference words it: the segment is lanes `s` to `last`; a lane whose source lies outside it reads
/// itself and its predicate is false.
fn source(mode: &str, lane: i64, b: i64, clamp: i64, segment: i64) -> (i64, bool) {
    let start = lane & segment;
    let last = start | (clamp & !segment);
    let (from, inside) = match mode {
        "up" => (lane - b, lane - b >= last),
        "down" => (lane + b, lane + b <= last),
        "bfly" => (lane ^ b, lane ^ b <= last),
        _ => (start | (b & !segment), start | (b & !segment) <= last),
    };
    if inside { (from, true) } else { (lane, false) }
}

#[test]
fn shuffles_of_every_mode_width_and_clamp() {
    let operands = lanes(|l| [100 + l, 0, 0]);
    for mode in ["up", "down", "bfly", "idx"] {
        for width in [1, 2, 4, 8, 16, 32] {
            let segment = 32 - width;
            // What compilers give for the width, and clamps within it.
            let clamps = if mode == "up" {
                vec![0, 3]
            } else {
                vec![31, width / 2, 0]
            };
            for clamp in clamps {
                for b in [0, 1, 2, 3, 7, 9, 16, 31, 32, 35] {
                    let c = segment << 8 | clamp;
                    let text = format!(
                        "shfl.sync.{mode}.b32 %t|%p, %a, {b}, {c}, 0xffffffff;\n\
                         selp.u32 %u, 1000, 0, %p;\nadd.u32 %d, %t, %u;\nmov.u32 %t, %tid.x;"
                    );
                    let found = run(&text, &[32], 32, &operands);
                    for (lane, found) in (0..).zip(&found) {
                        // Only five bits of the second operand count.
                        let (from, inside) = source(mode, lane, b & 31, clamp, segment);
                        let wanted = 100 + from as u64 + if inside { 1000 } else { 0 };
                        assert_eq!(*found, wanted, "{text}, lane {lane}");
                    }
                }
            }
        }
    }
}

#[test]
fn shuffles_among_some_lanes_by_registers() {
    // Even lanes exchange among themselves, each naming its source; the others do not take part.
    let operands = lanes(|l| [100 + l, (l + 6) % 32, 0]);
    let text = "and.b32 %u, %t, 1;\nsetp.eq.u32 %q, %u, 0;\nmov.u32 %d, 0;\n\
                @%q shfl.sync.idx.b32 %d, %a, %b, 31, 0x55555555;";
    let found = run(text, &[32, 32], 32, &operands);
    for (lane, found) in (0..32).zip(found) {
        let wanted = if lane % 2 == 0 {
            100 + (lane + 6) % 32
        } else {
            0
        };
        assert_eq!(found, wanted, "lane {lane}");
    }
    // An odd source takes no part.
    let odd = lanes(|l| [100 + l, (l + 7) % 32, 0]);
    let fault = run_on(DeviceConfig::default(), text, &[32, 32], 32, &odd).expect_err("absent");
    assert_eq!(
        (fault.kind, fault.thread),
        (FaultKind::DivergentSync, Some([0, 0, 0]))
    );
    assert!(fault.message.contains("lane 0 reads lane 7"), "{fault}");
    // Lanes that take part must agree on who does.
    let text = "setp.lt.u32 %q, %t, 16;\nselp.b32 %u, 0xffffffff, 0xffff0000, %q;\n\
                shfl.sync.idx.b32 %d, %a, 20, 31, %u;";
    let fault = run_on(DeviceConfig::default(), text, &[32], 32, &operands).expect_err("masks");
    assert_eq!(fault.kind, FaultKind::DivergentSync);
    // Two groups with masks of their own are right.
    let text = text
        .replace("0xffffffff", "0x0000ffff")
        .replace("20, 31", "20, 4127");
    let found = run(&text, &[32], 32, &operands);
    for (lane, found) in (0..32).zip(found) {
        assert_eq!(found, 100 + (lane & 16) + 4, "lane {lane}");
    }
}

/// The masks that warp instructions are tried with, and the values of the lanes.
const MASKS: [u32; 4] = [u32::MAX, 0x0000_ffff, 0x8000_0001, 0x0f0f_5500];
type Values = fn(u64) -> u64;
const VALUES: [Values; 4] = [
    |l| l % 5,
    |_| 7,
    |l| l.wrapping_mul(0x9e37_79b9) & 0xffff_ffff,
    |l| if l == 31 { 1 } else { 0x8000_0000 + (l & 1) },
];

/// Runs an instruction on the lanes of a mask; the others keep 0xdead.
fn masked(instruction: &str, mask: u32, values: Values, bits: u32) -> Vec<u64> {
    let text = format!(
        "mov.b32 %u, 1;\nshl.b32 %u, %u, %t;\nand.b32 %u, %u, {mask};\nsetp.eq.u32 %p, %u, 0;\n\
         mov.u32 %d, 0xdead;\n@%p bra SKIP;\n{}\nSKIP:",
        instruction.replace("MASK", &mask.to_string())
    );
    run(&text, &[bits], 32, &lanes(|l| [values(l), 0, 0]))
}

fn check_masked(instruction: &str, bits: u32, wanted: impl Fn(u32, usize, &[u64]) -> u64) {
    for mask in MASKS {
        for values in VALUES {
            let row: Vec<u64> = (0..32).map(values).collect();
            for (lane, found) in masked(instruction, mask, values, bits).iter().enumerate() {
                let wanted = if mask >> lane & 1 == 0 {
                    0xdead
                } else {
                    wanted(mask, lane, &row)
                };
                assert_eq!(*found, wanted, "{instruction} {mask:#x} lane {lane}");
            }
        }
    }
}

fn members(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |l| mask >> l & 1 != 0)
}

#[test]
fn votes_of_every_mode() {
    let condition = "setp.lt.u32 %q, %a, 7;";
    let holds = |v: u64| v < 7;
    type Vote = fn(usize, usize) -> bool;
    let modes: [(&str, Vote); 3] = [
        ("all", |yes, n| yes == n),
        ("any", |yes, _| yes > 0),
        ("uni", |yes, n| yes == 0 || yes == n),
    ];
    for (mode, reference) in modes {
        for negated in [false, true] {
            let not = if negated { "!" } else { "" };
            let text = format!(
                "{condition}\nvote.sync.{mode}.pred %p, {not}%q, MASK;\nselp.u32 %d, 1, 0, %p;"
            );
            check_masked(&text, 32, |mask, _, row| {
                let yes = members(mask).filter(|&l| holds(row[l]) != negated).count();
                u64::from(reference(yes, members(mask).count()))
            });
        }
    }
    let text = format!("{condition}\nvote.sync.ballot.b32 %d, %q, MASK;");
    check_masked(&text, 32, |mask, _, row| {
        members(mask)
            .filter(|&l| holds(row[l]))
            .fold(0, |d, l| d | 1 << l)
    });
}

#[test]
fn matches_of_words_and_long_words() {
    for bits in [32, 64] {
        let same = |mask: u32, lane: usize, row: &[u64]| {
            members(mask)
                .filter(|&l| row[l] == row[lane])
                .fold(0u64, |d, l| d | 1 << l)
        };
        check_masked(&format!("match.any.sync.b{bits} %d, %a, MASK;"), bits, same);
        let text = format!("match.all.sync.b{bits} %d|%p, %a, MASK;\n@%p xor.b32 %d, %d, 0x100;");
        check_masked(&text, bits, |mask, lane, row| {
            let same = same(mask, lane, row);
            if same == u64::from(mask) {
                same ^ 0x100
            } else {
                0
            }
        });
    }
}

#[test]
fn reductions_of_every_operation() {
    type Operation = fn(u32, u32) -> u32;
    let cases: [(&str, Operation); 9] = [
        ("add.u32", u32::wrapping_add),
        ("add.s32", u32::wrapping_add),
        ("min.u32", u32::min),
        ("max.u32", u32::max),
        ("min.s32", |a, b| (a as i32).min(b as i32) as u32),
        ("max.s32", |a, b| (a as i32).max(b as i32) as u32),
        ("and.b32", |a, b| a & b),
        ("or.b32", |a, b| a | b),
        ("xor.b32", |a, b| a ^ b),
    ];
    for (name, f) in cases {
        check_masked(
            &format!("redux.sync.{name} %d, %a, MASK;"),
            32,
            |mask, _, row| {
                members(mask)
                    .map(|l| row[l] as u32)
                    .reduce(f)
                    .map_or(0, u64::from)
            },
        );
    }
}

#[test]
fn one_lane_is_elected() {
    let text = "elect.sync %d|%p, MASK;\n@%p add.u32 %d, %d, 100;";
    check_masked(text, 32, |mask, lane, _| {
        let leader = u64::from(mask.trailing_zeros());
        leader + if leader == lane as u64 { 100 } else { 0 }
    });
    let text = "elect.sync _|%p, MASK;\nselp.u32 %d, 1, 0, %p;";
    check_masked(text, 32, |mask, lane, _| {
        u64::from(mask.trailing_zeros() == lane as u32)
    });
}

#[test]
fn shuffle_waits_for_lanes_that_diverged() {
    // Lanes below 16 take a detour before the exchange.
    let body = "setp.lt.u32 %p, %a, 16;\n@!%p bra MEET;\nadd.u32 %a, %a, 1000;\nMEET:\n\
                shfl.sync.bfly.b32 %d, %a, 16, 31, 0xffffffff;";
    let found = run(body, &[32], 32, &lanes(|l| [l, 0, 0]));
    for lane in 0..32u64 {
        let from = lane ^ 16;
        let wanted = if from < 16 { from + 1000 } else { from };
        assert_eq!(found[lane as usize], wanted);
    }
}
