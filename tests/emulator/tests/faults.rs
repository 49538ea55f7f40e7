//! For every check, a kernel with the fault planted, which is found on the right line, and its corrected twin, which is silent.

use cuda_emulator::{DeviceConfig, Engine, Fault, FaultKind, Launch, LaunchOrder};

const SOURCE: &str = include_str!("kernels/faults.cu");
const PTX: [&str; 2] = [
    include_str!("kernels/ptx/faults.compute_75.ptx"),
    include_str!("kernels/ptx/faults.compute_80.ptx"),
];

/// An argument of a kernel: memory of so many zeroed words, memory never written, null, or a number.
#[derive(Clone, Copy)]
enum Argument {
    Zeroed(u64),
    Unwritten(u64),
    Freed(u64),
    Null,
    Int(i32),
}
use Argument::{Freed, Int, Null, Unwritten, Zeroed};

#[allow(clippy::result_large_err)] // the fault is what is looked at
fn run(
    ptx: &str,
    kernel: &str,
    grid: u32,
    block: u32,
    shared: u32,
    arguments: &[Argument],
) -> Result<(), Fault> {
    let engine = Engine::new(DeviceConfig {
        instruction_budget: Some(1_000_000),
        ..DeviceConfig::default()
    });
    let module = engine.load_module(ptx).expect("the PTX loads");
    let kernel = module.kernel(kernel).expect("the kernel exists");
    let mut parameters = vec![0; kernel.param_bytes() as usize];
    for (argument, place) in arguments.iter().zip(kernel.params()) {
        let words = |n: u64| engine.alloc(4 * n).expect("memory");
        let value = match *argument {
            Zeroed(n) => {
                let address = words(n);
                engine.fill(address, &[0], 4 * n).expect("a fill");
                address
            }
            Unwritten(n) => words(n),
            Freed(n) => {
                let address = words(n);
                engine.free(address).expect("a free");
                address
            }
            Null => 0,
            Int(n) => n as u32 as u64,
        };
        parameters[place.offset as usize..][..place.size as usize]
            .copy_from_slice(&value.to_le_bytes()[..place.size as usize]);
    }
    let launch = Launch {
        grid: [grid, 1, 1],
        block: [block, 1, 1],
        shared_bytes: shared,
        cooperative: false,
        order: LaunchOrder::Serial,
    };
    engine.launch(&kernel, &launch, &parameters)
}

/// The lines that end in the comment which marks the kernel's fault.
fn marked_lines(kernel: &str) -> Vec<u32> {
    let mark = format!("// FAULT {kernel}");
    SOURCE
        .lines()
        .zip(1..)
        .filter(|(text, _)| text.ends_with(&mark))
        .map(|(_, line)| line)
        .collect()
}

#[track_caller]
fn found(
    kernel: &str,
    kinds: &[FaultKind],
    grid: u32,
    block: u32,
    shared: u32,
    arguments: &[Argument],
) {
    let lines = marked_lines(kernel);
    assert!(!lines.is_empty(), "no line is marked for {kernel}");
    for ptx in PTX {
        let fault = run(ptx, kernel, grid, block, shared, arguments)
            .expect_err("the planted fault is found");
        assert!(
            kinds.contains(&fault.kind),
            "expected one of {kinds:?}: {fault}"
        );
        assert!(
            lines.contains(&fault.line),
            "expected a line of {lines:?}: {fault}"
        );
        assert_eq!(fault.kernel, kernel);
        assert!(
            fault
                .file
                .as_deref()
                .is_some_and(|f| f.ends_with("faults.cu")),
            "{fault}"
        );
    }
}

#[track_caller]
fn silent(kernel: &str, grid: u32, block: u32, shared: u32, arguments: &[Argument]) {
    for ptx in PTX {
        if let Err(fault) = run(ptx, kernel, grid, block, shared, arguments) {
            panic!("{fault}");
        }
    }
}

/// The fault and its twin under the same launch.
#[track_caller]
fn pair(
    kernel: &str,
    kinds: &[FaultKind],
    grid: u32,
    block: u32,
    shared: u32,
    arguments: &[Argument],
) {
    found(kernel, kinds, grid, block, shared, arguments);
    silent(
        &format!("{kernel}_corrected"),
        grid,
        block,
        shared,
        arguments,
    );
}

#[test]
fn reads_and_writes_beyond_an_allocation() {
    pair(
        "read_beyond",
        &[FaultKind::OutOfBounds],
        2,
        64,
        0,
        &[Zeroed(100), Zeroed(100), Int(100)],
    );
    pair(
        "write_beyond",
        &[FaultKind::OutOfBounds],
        2,
        64,
        0,
        &[Zeroed(100), Int(100)],
    );
    pair(
        "write_before",
        &[FaultKind::OutOfBounds],
        1,
        32,
        0,
        &[Zeroed(100), Int(-2)],
    );
    pair(
        "atomic_beyond",
        &[FaultKind::OutOfBounds],
        1,
        64,
        0,
        &[Zeroed(63), Int(63)],
    );
}

#[test]
fn the_null_pointer() {
    pair(
        "null_pointer",
        &[FaultKind::OutOfBounds],
        1,
        32,
        0,
        &[Null, Zeroed(32)],
    );
}

#[test]
fn shared_memory_beyond_what_the_launch_gave() {
    pair(
        "shared_beyond",
        &[FaultKind::OutOfBounds],
        1,
        64,
        256,
        &[Zeroed(64)],
    );
}

#[test]
fn misaligned_accesses() {
    pair(
        "misaligned_global",
        &[FaultKind::Misaligned],
        1,
        32,
        0,
        &[Zeroed(64), Zeroed(32)],
    );
    pair(
        "misaligned_shared",
        &[FaultKind::Misaligned],
        1,
        32,
        0,
        &[Zeroed(32)],
    );
}

#[test]
fn memory_freed_or_never_written() {
    found(
        "read_global",
        &[FaultKind::UseAfterFree],
        1,
        32,
        0,
        &[Freed(32), Zeroed(32)],
    );
    found(
        "read_global",
        &[FaultKind::UninitialisedRead],
        1,
        32,
        0,
        &[Unwritten(32), Zeroed(32)],
    );
    silent("read_global", 1, 32, 0, &[Zeroed(32), Unwritten(32)]);
    pair(
        "unwritten_shared",
        &[FaultKind::UninitialisedRead],
        1,
        64,
        0,
        &[Zeroed(64)],
    );
    pair(
        "unwritten_local",
        &[FaultKind::UninitialisedRead],
        1,
        32,
        0,
        &[Zeroed(32), Int(15)],
    );
}

#[test]
fn races_in_shared_memory() {
    for kernel in ["shared_race", "shared_race_in_loop"] {
        pair(
            kernel,
            &[FaultKind::SharedRace, FaultKind::UninitialisedRead],
            1,
            64,
            0,
            &[Zeroed(256), Zeroed(64)],
        );
    }
    pair(
        "shared_write_race",
        &[FaultKind::SharedRace],
        1,
        64,
        0,
        &[Zeroed(64)],
    );
}

#[test]
fn races_between_blocks() {
    pair(
        "global_race",
        &[FaultKind::BlockRace],
        4,
        32,
        0,
        &[Zeroed(1)],
    );
    pair(
        "neighbour_race",
        &[FaultKind::BlockRace],
        4,
        32,
        0,
        &[Zeroed(128), Zeroed(128), Zeroed(128)],
    );
    pair(
        "plain_flag",
        &[FaultKind::BlockRace],
        4,
        32,
        0,
        &[Zeroed(1), Zeroed(1), Zeroed(4)],
    );
}

#[test]
fn a_write_after_several_readers() {
    pair(
        "absent_reader",
        &[FaultKind::BlockRace],
        3,
        32,
        0,
        &[Zeroed(1), Zeroed(1), Zeroed(2)],
    );
    silent("bytes_of_a_word_corrected", 16, 32, 0, &[Zeroed(4)]);
}

#[test]
fn locks_in_shared_memory() {
    pair(
        "shared_lock",
        &[FaultKind::SharedRace],
        1,
        96,
        0,
        &[Zeroed(96)],
    );
}

#[test]
fn barriers_that_part_of_a_block_reaches() {
    pair(
        "partial_barrier",
        &[FaultKind::DivergentBarrier],
        1,
        64,
        0,
        &[Zeroed(64), Int(40)],
    );
    pair(
        "two_barriers",
        &[FaultKind::DivergentBarrier],
        1,
        64,
        0,
        &[Zeroed(64)],
    );
    pair(
        "unnamed_lanes",
        &[FaultKind::DivergentSync],
        1,
        32,
        0,
        &[Zeroed(32)],
    );
}

#[test]
fn shuffles_with_lanes_that_do_not_take_part() {
    for (kernel, block) in [
        ("exited_lanes", 32),
        ("absent_lanes", 32),
        ("short_warp", 40),
        ("different_masks", 32),
    ] {
        let arguments = [Zeroed(64)];
        pair(kernel, &[FaultKind::DivergentSync], 1, block, 0, &arguments);
    }
    // The first lane whose source is missing, and which that is.
    for ptx in PTX {
        for (kernel, block, thread, message) in [
            (
                "exited_lanes",
                32,
                16,
                "lane 16 reads lane 24, which has exited",
            ),
            (
                "absent_lanes",
                32,
                0,
                "lane 0 reads lane 1, which the mask 0x55555555 does not name",
            ),
            (
                "short_warp",
                40,
                32,
                "lane 0 reads lane 16, which the block does not have",
            ),
        ] {
            let fault = run(ptx, kernel, 1, block, 0, &[Zeroed(64)]).expect_err("a fault");
            assert_eq!(fault.thread, Some([thread, 0, 0]), "{fault}");
            assert_eq!(fault.message, message);
        }
    }
}

#[test]
fn kernels_that_never_end_and_kernels_that_give_up() {
    found(
        "runaway",
        &[FaultKind::InstructionBudget],
        1,
        32,
        0,
        &[Zeroed(2)],
    );
    pair("trap", &[FaultKind::Trap], 1, 32, 0, &[Zeroed(32)]);
}
