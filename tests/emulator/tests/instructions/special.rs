//! Special registers, in a launch of three dimensions with a partial last warp.

use crate::{launch, words};
use cuda_emulator::{Launch, LaunchOrder};

const GRID: [u32; 3] = [3, 2, 2];
const BLOCK: [u32; 3] = [5, 3, 3];

/// The register for each thread of the grid, threads of a block together.
fn read(name: &str, bits: u32) -> Vec<u32> {
    let text = format!(
        ".shared .align 4 .b8 s[40];\n.reg .b64 %y, %o;\n.reg .b32 %t, %b, %n, %d;\n.reg .b64 %w;\n\
         mov.u32 %t, %tid.z;\nmov.u32 %n, %ntid.y;\nmov.u32 %d, %tid.y;\nmad.lo.u32 %t, %t, %n, %d;\n\
         mov.u32 %n, %ntid.x;\nmov.u32 %d, %tid.x;\nmad.lo.u32 %t, %t, %n, %d;\n\
         mov.u32 %b, %ctaid.z;\nmov.u32 %n, %nctaid.y;\nmov.u32 %d, %ctaid.y;\nmad.lo.u32 %b, %b, %n, %d;\n\
         mov.u32 %n, %nctaid.x;\nmov.u32 %d, %ctaid.x;\nmad.lo.u32 %b, %b, %n, %d;\n\
         mad.lo.u32 %t, %b, 45, %t;\nld.param.u64 %y, [b0];\nmad.wide.u32 %y, %t, 4, %y;\n{}\n\
         st.global.b32 [%y], %d;",
        if bits == 64 {
            format!("mov.u64 %w, {name};\ncvt.u32.u64 %d, %w;")
        } else {
            format!("mov.u32 %d, {name};")
        }
    );
    let mut buffers = [vec![0; 12 * 45 * 4]];
    let shape = Launch {
        grid: GRID,
        block: BLOCK,
        shared_bytes: 256,
        cooperative: false,
        order: LaunchOrder::Serial,
    };
    launch(&text, &shape, &mut buffers).expect("a clean run");
    words(&buffers[0])
}

#[test]
fn threads_blocks_and_their_numbers() {
    // Thread and block as three numbers each, then the thread's place in the block.
    type Reference = fn([u32; 3], [u32; 3], u32) -> u32;
    let cases: [(&str, Reference); 24] = [
        ("%tid.x", |t, _, _| t[0]),
        ("%tid.y", |t, _, _| t[1]),
        ("%tid.z", |t, _, _| t[2]),
        ("%ntid.x", |_, _, _| BLOCK[0]),
        ("%ntid.y", |_, _, _| BLOCK[1]),
        ("%ntid.z", |_, _, _| BLOCK[2]),
        ("%ctaid.x", |_, b, _| b[0]),
        ("%ctaid.y", |_, b, _| b[1]),
        ("%ctaid.z", |_, b, _| b[2]),
        ("%nctaid.x", |_, _, _| GRID[0]),
        ("%nctaid.y", |_, _, _| GRID[1]),
        ("%nctaid.z", |_, _, _| GRID[2]),
        ("%laneid", |_, _, i| i % 32),
        ("%warpid", |_, _, i| i / 32),
        ("%nwarpid", |_, _, _| 2),
        ("%lanemask_eq", |_, _, i| 1 << (i % 32)),
        ("%lanemask_lt", |_, _, i| (1 << (i % 32)) - 1),
        ("%lanemask_le", |_, _, i| u32::MAX >> (31 - i % 32)),
        ("%lanemask_gt", |_, _, i| !(u32::MAX >> (31 - i % 32))),
        ("%lanemask_ge", |_, _, i| u32::MAX << (i % 32)),
        ("%dynamic_smem_size", |_, _, _| 256),
        ("%total_smem_size", |_, _, _| 40 + 256),
        ("%nsmid", |_, _, _| 108),
        ("WARP_SZ", |_, _, _| 32),
    ];
    for (name, reference) in cases {
        let found = read(name, 32);
        for (n, found) in (0..).zip(found) {
            let (b, i) = (n / 45, n % 45);
            let thread = [i % 5, i / 5 % 3, i / 15];
            let block = [b % 3, b / 3 % 2, b / 6];
            assert_eq!(
                found,
                reference(thread, block, i),
                "{name}, block {b}, thread {i}"
            );
        }
    }
    assert!(read("%smid", 32).iter().all(|sm| *sm < 108));
    let grids = read("%gridid", 64);
    assert!(grids.iter().all(|g| *g == grids[0]));
}

#[test]
fn clocks_go_forward_and_the_active_mask_tells_who_runs() {
    let body = ".reg .b64 %c, %e;\nmov.u64 %c, %clock64;\nadd.u32 %a, %a, 1;\nmov.u64 %e, %clock64;\n\
                setp.gt.u64 %p, %e, %c;\nselp.u32 %d, 1, 0, %p;";
    assert_eq!(crate::run(body, &[32], 32, &[[0; 3]; 32]), [1; 32]);
    let body = "mov.u32 %d, 0;\nsetp.lt.u32 %q, %a, 12;\n@%q activemask.b32 %d;";
    let operands: Vec<[u64; 3]> = (0..32).map(|l| [l, 0, 0]).collect();
    let mut wanted = vec![0xfff; 12];
    wanted.resize(32, 0);
    assert_eq!(crate::run(body, &[32], 32, &operands), wanted);
}
