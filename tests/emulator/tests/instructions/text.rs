//! Text that is not valid: one clear error, never a panic or a hang.

use crate::{Sequence, launch_of};
use cuda_emulator::{DeviceConfig, Engine, FaultKind};

const KERNEL: &str = include_str!("sample.ptx");

fn engine() -> Engine {
    Engine::new(DeviceConfig {
        memory_bytes: 1 << 20,
        host_threads: 1,
        instruction_budget: Some(20_000),
        ..DeviceConfig::default()
    })
}

fn message(body: &str) -> String {
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{\n.reg .b32 %r<4>;\n{body}\nret;\n}}\n"
    );
    match engine().load_module(&text) {
        Ok(_) => panic!("accepted: {body}"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn errors_name_the_instruction_and_the_line() {
    for (body, part) in [
        (
            "frobnicate.u32 %r0, %r1;",
            "'frobnicate.u32' is not supported",
        ),
        ("add.u32 %r0, %r1, %r9;", "'%r9' is not defined"),
        ("add.u64 %r0, %r1, %r2;", "register '%r0'"),
        (
            "add.zz.u32 %r0, %r1, %r2;",
            "modifier '.zz' is not supported",
        ),
        ("bra NOWHERE;", "label 'NOWHERE' is not defined"),
        (
            "vadd4.u32.u32.u32 %r0, %r1, %r2, %r3;",
            "'vadd4.u32.u32.u32' is not supported",
        ),
        ("sub.u16x2 %r0, %r1, %r2;", "'sub.u16x2' is not supported"),
        (
            "add.sat.u32 %r0, %r1, %r2;",
            "'add.sat.u32': these modifiers",
        ),
        (
            "mul.approx.f32 %r0, %r1, %r2;",
            "'mul.approx.f32': these modifiers",
        ),
        (
            "add.NaN.f32 %r0, %r1, %r2;",
            "'add.NaN.f32': these modifiers",
        ),
        ("shl.hi.b32 %r0, %r1, %r2;", "'shl.hi.b32': these modifiers"),
        ("dp2a.u32.u32 %r0, %r1, %r2, %r3;", "dp2a needs .lo or .hi"),
        (
            "red.shared.min.f32 [%r0], %r1;",
            "operation and type do not go together",
        ),
        ("red.shared.add.f16x2 [%r0], %r1;", "need .noftz"),
        (
            "mma.sync.aligned.m16n8k8.col.row.f32.bf16.bf16.f32 {%r0}, {%r1}, {%r2}, {%r3};",
            "must be .row and .col",
        ),
        (
            "mma.sync.aligned.m16n8k16.row.col.f16.bf16.bf16.f16 {%r0}, {%r1}, {%r2}, {%r3};",
            "types are not supported",
        ),
        (
            "mbarrier.init.shared.b64 [%r0], 1;",
            "'mbarrier.init.shared.b64' is not supported",
        ),
        (
            "redux.sync.min.b32 %r0, %r1, -1;",
            "operation and type do not go together",
        ),
        (
            "redux.sync.and.u32 %r0, %r1, -1;",
            "operation and type do not go together",
        ),
        (
            "prefetch.global.L9 [%r0];",
            "modifier '.L9' is not supported",
        ),
        ("cvt.pack.u8.s32 %r0, %r1, %r2;", "only .sat of .s32"),
        ("tex.2d.v4.f32.f32 {%r0}, [%r1];", "is not supported"),
    ] {
        let found = message(body);
        assert!(
            found.contains(part) && found.contains("line 7"),
            "{body}: {found}"
        );
    }
}

#[test]
fn mutated_text_never_panics_or_hangs() {
    let mut sequence = Sequence(2024);
    let tokens: Vec<&str> = KERNEL.split_inclusive([' ', ',', ';', '.', '\n']).collect();
    let mut loaded = 0;
    let mut ran = 0;
    for _ in 0..1500 {
        let mut text = KERNEL.as_bytes().to_vec();
        if sequence.draw().is_multiple_of(2) {
            // Whole tokens exchanged, dropped or repeated.
            let mut mutated = tokens.clone();
            for _ in 0..=sequence.draw() % 3 {
                let at = sequence.draw() as usize % mutated.len();
                let from = sequence.draw() as usize % mutated.len();
                match sequence.draw() % 3 {
                    0 => mutated[at] = mutated[from],
                    1 => {
                        mutated.remove(at);
                    }
                    _ => mutated.insert(at, mutated[from]),
                }
            }
            text = mutated.concat().into_bytes();
        } else {
            for _ in 0..=sequence.draw() % 4 {
                let at = sequence.draw() as usize % text.len();
                text[at] = sequence.draw() as u8 & 0x7f;
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let engine = engine();
        let Ok(module) = engine.load_module(&text) else {
            continue;
        };
        loaded += 1;
        for kernel in module.kernels() {
            let buffer = engine.alloc(4096).expect("fits");
            engine.fill(buffer, &[1], 4096).expect("in bounds");
            let mut params = vec![0; kernel.param_bytes().max(8) as usize];
            params[..8].copy_from_slice(&buffer.to_le_bytes());
            ran += u32::from(engine.launch(kernel, &launch_of(64, 2), &params).is_ok());
        }
    }
    // The mutations are mild enough that some kernels still load and run.
    assert!(loaded > 50 && ran > 10, "{loaded} loaded, {ran} ran");
}

#[test]
fn a_runaway_kernel_meets_its_budget() {
    let text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\nLOOP:\nbra LOOP;\n}\n";
    let engine = engine();
    let module = engine.load_module(text).expect("valid");
    let kernel = module.kernel("k").expect("there");
    let fault = engine
        .launch(&kernel, &launch_of(32, 1), &[])
        .expect_err("never ends");
    assert_eq!(fault.kind, FaultKind::InstructionBudget);
}
