//! Indexed branches, and barriers of a block and of parts of it.

use crate::{launch, launch_of, words};
use cuda_emulator::{Fault, FaultKind};

/// `%t` is the thread, `%w` its warp; every thread stores `%d` at the end.
#[allow(clippy::result_large_err)] // the fault is what is looked at
fn run(body: &str, threads: u32) -> Result<Vec<u32>, Fault> {
    let text = format!(
        ".shared .align 4 .b8 s[512];\n.reg .b64 %y;\n.reg .b32 %t, %w, %s, %d, %v, %n;\n.reg .pred %p, %q;\n\
         mov.u32 %t, %tid.x;\nshr.u32 %w, %t, 5;\nmov.u32 %s, s;\nmad.lo.u32 %s, %t, 4, %s;\n\
         ld.param.u64 %y, [b0];\nmad.wide.u32 %y, %t, 4, %y;\n{body}\nst.global.b32 [%y], %d;"
    );
    let mut buffers = [vec![0; 4 * threads as usize]];
    launch(&text, &launch_of(threads, 1), &mut buffers)?;
    Ok(words(&buffers[0]))
}

#[test]
fn indexed_branches() {
    let body = "TABLE: .branchtargets L0, L1, L2, L1;\nrem.u32 %n, %t, LIMIT;\nmov.u32 %d, 0;\n\
                brx.idx %n, TABLE;\nL0:\nadd.u32 %d, %d, 1;\nbra.uni END;\nL1:\nadd.u32 %d, %d, 20;\n\
                bra.uni END;\nL2:\nadd.u32 %d, %d, 300;\nEND:\nadd.u32 %d, %d, 4000;";
    let found = run(&body.replace("LIMIT", "4"), 64).expect("a clean run");
    for (t, found) in found.iter().enumerate() {
        assert_eq!(*found, 4000 + [1, 20, 300, 20][t % 4], "thread {t}");
    }
    // The same for all lanes, and under a guard.
    let found = run(&body.replace("rem.u32 %n, %t, LIMIT", "mov.u32 %n, 2"), 32);
    assert_eq!(found.expect("a clean run"), [4300; 32]);
    let guarded = body
        .replace("LIMIT", "4")
        .replace("brx.idx", "setp.lt.u32 %p, %t, 8;\n@%p brx.idx");
    let found = run(&guarded, 32).expect("a clean run");
    for (t, found) in found.iter().enumerate() {
        let wanted = if t < 8 { [1, 20, 300, 20][t % 4] } else { 1 };
        assert_eq!(*found, 4000 + wanted, "thread {t}");
    }
    let fault = run(&body.replace("LIMIT", "5"), 32).expect_err("no fifth target");
    assert_eq!(
        (fault.kind, fault.thread),
        (FaultKind::OutOfBounds, Some([4, 0, 0]))
    );
}

#[test]
fn reductions_at_a_barrier() {
    // A partial last warp counts with the threads it has.
    for threads in [32, 96, 100] {
        for (condition, holds) in [
            ("setp.lt.u32 %p, %t, 70;", (|t| t < 70) as fn(u32) -> bool),
            ("setp.ge.u32 %p, %t, 0;", |_| true),
            ("setp.lt.u32 %p, %t, 0;", |_| false),
            ("setp.eq.u32 %p, %t, 31;", |t| t == 31),
        ] {
            let count = (0..threads).filter(|&t| holds(t)).count() as u32;
            let popc = run(
                &format!("{condition}\nbar.red.popc.u32 %d, 0, %p;"),
                threads,
            );
            assert_eq!(popc.expect("a clean run"), vec![count; threads as usize]);
            let not = run(
                &format!("{condition}\nbarrier.cta.red.popc.aligned.u32 %d, 3, !%p;"),
                threads,
            );
            assert_eq!(
                not.expect("a clean run"),
                vec![threads - count; threads as usize]
            );
            for (name, wanted) in [("and", count == threads), ("or", count > 0)] {
                let body =
                    format!("{condition}\nbar.red.{name}.pred %q, 1, %p;\nselp.u32 %d, 1, 0, %q;");
                let found = run(&body, threads).expect("a clean run");
                assert_eq!(
                    found,
                    vec![u32::from(wanted); threads as usize],
                    "{name} {condition}"
                );
            }
        }
    }
    // The first two warps of three, by a count.
    let body = "mov.u32 %d, 99;\nsetp.lt.u32 %q, %t, 64;\nsetp.lt.u32 %p, %t, 40;\n\
                @%q bar.red.popc.u32 %d, 2, 64, %p;";
    let mut wanted = vec![40; 64];
    wanted.resize(96, 99);
    assert_eq!(run(body, 96).expect("a clean run"), wanted);
}

#[test]
fn barriers_of_some_warps_order_what_they_name() {
    // Warps 0 and 1 exchange, and so do warps 2 and 3, at barriers of their own.
    let exchange = "st.shared.b32 [%s], 0;\nbar.sync 0;\nst.shared.b32 [%s], %t;\nshr.u32 %n, %w, 1;\nadd.u32 %n, %n, 1;\nbar.sync %n, 64;\n\
                    xor.b32 %v, %t, 32;\nmov.u32 %s, s;\nmad.lo.u32 %s, %v, 4, %s;\nld.shared.b32 %d, [%s];";
    let wanted: Vec<u32> = (0..128).map(|t| t ^ 32).collect();
    assert_eq!(run(exchange, 128).expect("a clean run"), wanted);
    // The same barriers do not order warps 1 and 2.
    let across = exchange.replace("xor.b32 %v, %t, 32", "xor.b32 %v, %t, 96");
    let fault = run(&across, 128).expect_err("unordered");
    assert_eq!(fault.kind, FaultKind::SharedRace);
}

#[test]
fn producers_arrive_and_consumers_wait() {
    // Warp 0 writes and goes on; warp 1 waits and reads. Then the other way round.
    let body = "mov.u32 %d, 7;\nsetp.eq.u32 %p, %w, 0;\n@!%p bra CONSUME;\nst.shared.b32 [%s], %t;\n\
                bar.arrive 1, 64;\nbar.sync 2, 64;\nld.shared.b32 %d, [%s];\nbra.uni END;\nCONSUME:\n\
                bar.sync 1, 64;\nld.shared.b32 %v, [%s+-128];\nadd.u32 %v, %v, 100;\n\
                st.shared.b32 [%s+-128], %v;\nmov.u32 %d, %v;\nbar.arrive 2, 64;\nEND:";
    let wanted: Vec<u32> = (0..64).map(|t| 100 + t % 32).collect();
    assert_eq!(run(body, 64).expect("a clean run"), wanted);
    let early = body.replace("bar.sync 1, 64;", "bar.arrive 1, 64;");
    assert_eq!(
        run(&early, 64).expect_err("nobody waits").kind,
        FaultKind::SharedRace
    );
    // A count that is never reached.
    let fault = run(&body.replace("bar.arrive 2, 64;", ""), 64).expect_err("nobody arrives");
    assert_eq!(fault.kind, FaultKind::DivergentBarrier);
    assert!(fault.message.contains("32 of 64"), "{fault}");
}

#[test]
fn barriers_that_are_not_valid() {
    for (body, part) in [
        ("mov.u32 %d, 0;\nbar.sync 16;", "there are 16"),
        (
            "mov.u32 %d, 0;\nbar.sync 1, 33;",
            "not a multiple of the warp size",
        ),
    ] {
        let fault = run(body, 32).expect_err("not valid");
        assert!(fault.message.contains(part), "{fault}");
    }
}

/// A lock in shared memory, taken in turn by one thread of each warp or by every thread; what it guards
/// is an ordinary counter.
#[allow(clippy::result_large_err)] // the fault is what is looked at
fn locked(fence: &str, all: bool) -> Result<Vec<u32>, Fault> {
    let one = if all {
        ""
    } else {
        "and.b32 %n, %t, 31;\nsetp.ne.u32 %q, %n, 0;\n@%q bra END;"
    };
    let body = format!(
        "mov.u32 %s, s;\nmov.u32 %d, 0;\nsetp.eq.u32 %q, %t, 0;\n@%q st.shared.b32 [%s], 0;\n\
         @%q st.shared.b32 [%s+4], 5;\nbar.sync 0;\n{one}\nmov.u32 %n, 0;\nTAKE:\n\
         atom.shared.cas.b32 %v, [%s], 0, 1;\nsetp.ne.u32 %p, %v, 0;\n@%p bra NEXT;\n{fence}\n\
         ld.shared.b32 %d, [%s+4];\nadd.u32 %d, %d, 1;\nst.shared.b32 [%s+4], %d;\n{fence}\n\
         atom.shared.exch.b32 %v, [%s], 0;\nmov.u32 %n, 1;\nNEXT:\nsetp.eq.u32 %p, %n, 0;\n\
         @%p bra TAKE;\nEND:"
    );
    run(&body, 96)
}

#[test]
fn locks_in_shared_memory_order_what_they_guard() {
    for fence in [
        "membar.cta;",
        "fence.acq_rel.cta;",
        "membar.gl;",
        "fence.sc.gpu;",
    ] {
        for (all, threads) in [(false, 3), (true, 96)] {
            let mut found = locked(fence, all).expect("a clean run");
            found.retain(|v| *v != 0);
            found.sort_unstable();
            assert_eq!(found, (6..6 + threads).collect::<Vec<_>>(), "{fence}");
        }
    }
    for all in [false, true] {
        let fault = locked("", all).expect_err("no fence");
        assert_eq!(fault.kind, FaultKind::SharedRace);
    }
}

#[test]
fn a_write_is_held_against_every_earlier_reader() {
    // Warps 0, 1 and 2 read a word; then one of them, ordered after all but one of the others, writes it.
    for writer in 0..3 {
        for absent in (0..3).filter(|&w| w != writer) {
            let third = 3 - writer - absent;
            let body = format!(
                "mov.u32 %s, s;\nmov.u32 %d, 0;\nsetp.eq.u32 %q, %t, 0;\n@%q st.shared.b32 [%s], 1;\nbar.sync 0;\n\
                 ld.shared.b32 %d, [%s];\nsetp.eq.u32 %p, %w, {third};\n@%p bar.arrive 1, 64;\n\
                 setp.eq.u32 %p, %w, {writer};\n@!%p bra END;\nbar.sync 1, 64;\nsetp.eq.u32 %q, %t, {};\n\
                 @%q st.shared.b32 [%s], 2;\nEND:",
                32 * writer
            );
            let fault = run(&body, 96).expect_err("one reader is unordered");
            assert_eq!(fault.kind, FaultKind::SharedRace, "{fault}");
            // In the order of the warps the absent one has read before, or reads after, the write.
            let who = format!("by thread {}", 32 * absent);
            let after = fault
                .message
                .contains(&format!("write by thread {}", 32 * writer));
            assert!(
                fault.message.contains(&who) || after,
                "{writer} {absent}: {fault}"
            );
            let all = body
                .replace("bar.arrive 1, 64", "bar.arrive 1, 96")
                .replace("bar.sync 1, 64", "bar.sync 1, 96");
            let all = all.replace(
                &format!("setp.eq.u32 %p, %w, {third}"),
                &format!("setp.ne.u32 %p, %w, {writer}"),
            );
            run(&all, 96).expect("every reader is ordered");
        }
    }
    // Bytes of one word are apart.
    let bytes = "mov.u32 %s, s;\nmov.u32 %d, 0;\nsetp.eq.u32 %q, %t, 0;\n@%q st.shared.b32 [%s], 1;\nbar.sync 0;\n\
                 add.u32 %s, %s, %w;\nld.shared.u8 %d, [%s];\nand.b32 %n, %t, 31;\nsetp.eq.u32 %p, %n, 0;\nbar.warp.sync -1;\n\
                 @%p st.shared.u8 [%s], %w;";
    run(bytes, 96).expect("each warp has a byte of its own");
}
