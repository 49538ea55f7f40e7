//! `cp.async`: sizes, the bytes beyond the source that become zero, and groups.

use crate::{bytes, launch, launch_of, words};
use cuda_emulator::FaultKind;

/// Every lane copies from its 16 bytes of the first buffer to its 16 bytes of shared memory, which it
/// writes to the second buffer at the end.
fn kernel(copies: &str) -> String {
    format!(
        ".shared .align 16 .b8 s[512];\n.reg .b64 %x, %y;\n.reg .b32 %t, %s, %n, %v<4>;\n.reg .pred %p;\n\
         mov.u32 %t, %tid.x;\nld.param.u64 %x, [b0];\nmad.wide.u32 %x, %t, 16, %x;\n\
         ld.param.u64 %y, [b1];\nmad.wide.u32 %y, %t, 16, %y;\nmov.u32 %s, s;\nmad.lo.u32 %s, %t, 16, %s;\n\
         st.shared.v4.b32 [%s], {{-1, -1, -1, -1}};\n{copies}\n\
         ld.shared.v4.b32 {{%v0, %v1, %v2, %v3}}, [%s];\n\
         st.global.v4.b32 [%y], {{%v0, %v1, %v2, %v3}};"
    )
}

fn source() -> Vec<u8> {
    (0..512).map(|i| (i % 251) as u8).collect()
}

#[test]
fn sizes_and_zeroes_beyond_the_source() {
    for (size, cache) in [(4, "ca"), (8, "ca"), (16, "ca"), (16, "cg")] {
        // Lane l takes l % (size + 1) bytes from memory.
        let ragged = format!(
            "rem.u32 %n, %t, {};\ncp.async.{cache}.shared.global [%s], [%x], {size}, %n;\ncp.async.wait_all;",
            size + 1
        );
        let whole =
            format!("cp.async.{cache}.shared.global [%s], [%x], {size};\ncp.async.wait_all;");
        for (text, ragged) in [(ragged, true), (whole, false)] {
            let mut buffers = [source(), vec![0; 512]];
            launch(&kernel(&text), &launch_of(32, 1), &mut buffers).expect("a clean run");
            for (i, found) in buffers[1].iter().enumerate() {
                let (lane, byte) = (i / 16, i % 16);
                let wanted = if byte >= size {
                    0xff
                } else if ragged && byte >= lane % (size + 1) {
                    0
                } else {
                    buffers[0][i]
                };
                assert_eq!(*found, wanted, "{text}: lane {lane}, byte {byte}");
            }
        }
    }
}

#[test]
fn no_byte_beyond_the_source_is_read() {
    // The last lane's source ends with the buffer.
    let text = kernel(
        "setp.eq.u32 %p, %t, 31;\nselp.u32 %n, 4, 16, %p;\n\
         cp.async.cg.shared.global [%s], [%x], 16, %n;\ncp.async.wait_all;",
    );
    let mut buffers = [source()[..31 * 16 + 4].to_vec(), vec![0; 512]];
    launch(&text, &launch_of(32, 1), &mut buffers).expect("a clean run");
    assert_eq!(buffers[1][31 * 16 + 4..], [0; 12]);
    let text = text.replace("16, %n", "16");
    let fault = launch(&text, &launch_of(32, 1), &mut buffers).expect_err("beyond the buffer");
    assert_eq!(
        (fault.kind, fault.thread),
        (FaultKind::OutOfBounds, Some([31, 0, 0]))
    );
    let text = text.replace("16;", "16, 17;");
    let fault = launch(&text, &launch_of(32, 1), &mut buffers).expect_err("more than the copy");
    assert!(fault.message.contains("17 exceeds"), "{fault}");
}

/// Three groups of four bytes each; all but the last `pending` groups are waited for, then the first
/// `read` words are read.
fn groups(wait: &str, read: usize) -> Result<Vec<u32>, FaultKind> {
    let mut copies = String::new();
    for k in 0..3 {
        copies += &format!(
            "cp.async.ca.shared.global [%s+{o}], [%x+{o}], 4;\ncp.async.commit_group;\n",
            o = 4 * k
        );
    }
    copies += wait;
    for k in 0..read {
        copies += &format!(
            "\nld.shared.b32 %v0, [%s+{o}];\nst.global.b32 [%y+{o}], %v0;",
            o = 4 * k
        );
    }
    let text = kernel(&copies);
    let end = text.find("\nld.shared.v4").expect("the end");
    let mut buffers = [bytes(0..128), vec![0xff; 512]];
    match launch(&text[..end], &launch_of(32, 1), &mut buffers) {
        Ok(()) => Ok(words(&buffers[1])),
        Err(fault) => Err(fault.kind),
    }
}

#[test]
fn groups_are_waited_for_in_order() {
    for (wait, done) in [
        ("cp.async.wait_group 3;", 0),
        ("cp.async.wait_group 2;", 1),
        ("cp.async.wait_group 1;", 2),
        ("cp.async.wait_group 0;", 3),
        ("cp.async.wait_all;", 3),
        // An empty group counts too.
        ("cp.async.commit_group;\ncp.async.wait_group 1;", 3),
        ("cp.async.commit_group;\ncp.async.wait_group 2;", 2),
    ] {
        let found = groups(wait, done).expect("a clean run");
        for lane in 0..32 {
            for k in 0..4 {
                let wanted = if k < done {
                    4 * lane + k
                } else {
                    u32::MAX as usize
                };
                assert_eq!(found[4 * lane + k] as usize, wanted, "{wait}");
            }
        }
        if done < 3 {
            assert_eq!(
                groups(wait, done + 1),
                Err(FaultKind::AsyncCopyRace),
                "{wait}"
            );
        }
    }
}
