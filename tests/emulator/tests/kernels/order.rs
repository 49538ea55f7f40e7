//! The order of blocks and warps: natural unless a seed shuffles it, and repeatable with each seed.

use cuda_emulator::{DeviceConfig, Engine, Launch, LaunchOrder};

/// Every warp takes a ticket and writes it down at its place in the grid.
const TICKETS: &str = r"
.version 7.0
.target sm_75
.address_size 64
.visible .entry tickets(.param .u64 counter, .param .u64 out) {
  .reg .pred %p<2>;
  .reg .b32 %r<8>;
  .reg .b64 %d<5>;
  mov.u32 %r1, %tid.x;
  and.b32 %r2, %r1, 31;
  setp.ne.u32 %p1, %r2, 0;
  @%p1 bra END;
  ld.param.u64 %d1, [counter];
  ld.param.u64 %d2, [out];
  atom.global.add.u32 %r3, [%d1], 1;
  mov.u32 %r4, %ctaid.x;
  mov.u32 %r5, %ntid.x;
  mad.lo.u32 %r6, %r4, %r5, %r1;
  shr.u32 %r6, %r6, 5;
  mul.wide.u32 %d3, %r6, 4;
  add.u64 %d4, %d2, %d3;
  st.global.u32 [%d4], %r3;
END:
  ret;
}
";
const BLOCKS: u32 = 16;
const WARPS: u32 = 4;

fn tickets(shuffle_seed: Option<u64>, host_threads: usize) -> Vec<u32> {
    let engine = Engine::new(DeviceConfig {
        shuffle_seed,
        host_threads,
        ..DeviceConfig::default()
    });
    let module = engine.load_module(TICKETS).expect("the PTX loads");
    let bytes = u64::from(BLOCKS * WARPS * 4);
    let (counter, out) = (
        engine.alloc(4).expect("memory"),
        engine.alloc(bytes).expect("memory"),
    );
    engine.fill(counter, &[0], 4).expect("a fill");
    let launch = Launch {
        grid: [BLOCKS, 1, 1],
        block: [WARPS * 32, 1, 1],
        shared_bytes: 0,
        cooperative: false,
        order: LaunchOrder::Serial,
    };
    let parameters: Vec<u8> = [counter, out].map(u64::to_le_bytes).concat();
    let kernel = module.kernel("tickets").expect("the kernel");
    engine
        .launch(&kernel, &launch, &parameters)
        .expect("a clean run");
    let mut found = vec![0; bytes as usize];
    engine.read(out, &mut found).expect("a copy");
    bytemuck::pod_collect_to_vec(&found)
}

#[test]
fn a_seed_shuffles_blocks_and_warps_repeatably() {
    let natural: Vec<u32> = (0..BLOCKS * WARPS).collect();
    assert_eq!(tickets(None, 1), natural);
    let shuffled = tickets(Some(1), 1);
    assert_eq!(shuffled, tickets(Some(1), 1));
    assert_ne!(shuffled, tickets(Some(2), 1));
    let mut sorted = shuffled.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, natural, "every warp ran once");
    let firsts: Vec<u32> = (shuffled.chunks(WARPS as usize))
        .map(|block| *block.iter().min().expect("warps"))
        .collect();
    assert!(!firsts.is_sorted(), "blocks ran in order: {shuffled:?}");
    assert!(
        shuffled
            .chunks(WARPS as usize)
            .any(|block| !block.is_sorted()),
        "warps ran in order: {shuffled:?}"
    );
}

#[test]
fn atomics_are_deterministic_on_any_number_of_host_threads() {
    for seed in [None, Some(3)] {
        let alone = tickets(seed, 1);
        for _ in 0..3 {
            assert_eq!(tickets(seed, 4), alone);
        }
    }
}
