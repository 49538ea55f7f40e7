//! Exchanges within a warp, and matrix products.

use crate::run;

fn lanes(f: impl Fn(u64) -> [u64; 3]) -> Vec<[u64; 3]> {
    (0..32).map(f).collect()
}

#[test]
fn shuffles() {
    let operands = lanes(|l| [100 + l, 0, 0]);
    type Source = fn(u64) -> u64;
    let cases: [(&str, Source); 5] = [
        ("up.b32 %d|%p, %a, 3, 0", |l| if l >= 3 { l - 3 } else { l }),
        ("down.b32 %d|%p, %a, 5, 31", |l| {
            if l + 5 < 32 { l + 5 } else { l }
        }),
        ("bfly.b32 %d|%p, %a, 9, 31", |l| l ^ 9),
        ("idx.b32 %d|%p, %a, 7, 31", |_| 7),
        // Segments of eight lanes: the upper bits of c hold the segment mask.
        ("down.b32 %d|%p, %a, 2, 6175", |l| {
            if l % 8 + 2 < 8 { l + 2 } else { l }
        }),
    ];
    for (text, source) in cases {
        let found = run(
            &format!("shfl.sync.{text}, 0xffffffff;"),
            &[32],
            32,
            &operands,
        );
        for (lane, found) in found.iter().enumerate() {
            assert_eq!(*found, 100 + source(lane as u64), "{text}, lane {lane}");
        }
    }
}

#[test]
fn votes_matches_and_reductions() {
    let operands = lanes(|l| [l % 5, 0, 0]);
    let odd = (0..32).filter(|l| l % 5 == 2).fold(0u64, |m, l| m | 1 << l);
    let body = "setp.eq.u32 %p, %a, 2;\nvote.sync.ballot.b32 %d, %p, 0xffffffff;";
    assert!(run(body, &[32], 32, &operands).iter().all(|v| *v == odd));
    let body =
        "setp.lt.u32 %p, %a, 5;\nvote.sync.all.pred %q, %p, 0xffffffff;\nselp.u32 %d, 1, 0, %q;";
    assert!(run(body, &[32], 32, &operands).iter().all(|v| *v == 1));
    let found = run(
        "match.any.sync.b32 %d, %a, 0xffffffff;",
        &[32],
        32,
        &operands,
    );
    for lane in 0..32u64 {
        let wanted = (0..32)
            .filter(|l| l % 5 == lane % 5)
            .fold(0u64, |m, l| m | 1 << l);
        assert_eq!(found[lane as usize], wanted);
    }
    let sum: u64 = (0..32).map(|l| l % 5).sum();
    let found = run(
        "redux.sync.add.u32 %d, %a, 0xffffffff;",
        &[32],
        32,
        &operands,
    );
    assert!(found.iter().all(|v| *v == sum));
    let found = run(
        "redux.sync.max.s32 %d, %a, 0xffffffff;",
        &[32],
        32,
        &operands,
    );
    assert!(found.iter().all(|v| *v == 4));
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

#[test]
fn matrix_product_of_halves() {
    // A[r][k] = r - k, B[k][n] = k + 2 n, C = 1; all exact in f16 and f32.
    let pair = |low: f32, high: f32| -> u64 {
        u64::from(half::f16::from_f32(low).to_bits())
            | u64::from(half::f16::from_f32(high).to_bits()) << 16
    };
    let a = |r: u64, k: u64| r as f32 - k as f32;
    let b = |k: u64, n: u64| k as f32 + 2.0 * n as f32;
    let operands = lanes(|l| {
        let (g, t) = (l / 4, l % 4 * 2);
        [
            pair(a(g, t), a(g, t + 1)) | pair(a(g + 8, t), a(g + 8, t + 1)) << 32,
            pair(b(t, g), b(t + 1, g)),
            0,
        ]
    });
    for (register, row, column) in [(0, 0, 0), (1, 0, 1), (2, 8, 0), (3, 8, 1)] {
        let body = format!(
            ".reg .b32 %l, %h;\n.reg .f32 %e<4>;\nmov.b64 {{%l, %h}}, %a;\n\
             mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {{%e0, %e1, %e2, %e3}}, {{%l, %h}}, {{%b}}, \
             {{0f3F800000, 0f3F800000, 0f3F800000, 0f3F800000}};\nmov.b32 %d, %e{register};"
        );
        let found = run(&body, &[64, 32], 32, &operands);
        for lane in 0..32u64 {
            let (r, n) = (lane / 4 + row, lane % 4 * 2 + column);
            let wanted: f32 = 1.0 + (0..8).map(|k| a(r, k) * b(k, n)).sum::<f32>();
            assert_eq!(
                f32::from_bits(found[lane as usize] as u32),
                wanted,
                "row {r}, column {n}"
            );
        }
    }
}
