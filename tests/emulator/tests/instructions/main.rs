//! Every instruction against exact Rust arithmetic: one-instruction kernels on chosen and random
//! operands.

mod approximate;
mod async_copy;
mod atomics;
mod block;
mod convert;
mod double;
mod float;
mod integer;
mod matrix;
mod narrow;
mod packed;
mod special;
mod text;
mod warp;

use cuda_emulator::{DeviceConfig, Engine, Fault, Launch, LaunchOrder};

/// A pseudo-random sequence (Knuth's MMIX constants), high bits first.
pub struct Sequence(pub u64);

impl Sequence {
    pub fn draw(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let high = self.0 >> 32;
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        high << 32 | self.0 >> 32
    }
}

pub fn launch_of(threads: u32, blocks: u32) -> Launch {
    Launch {
        grid: [blocks, 1, 1],
        block: [threads, 1, 1],
        shared_bytes: 0,
        cooperative: false,
        order: LaunchOrder::Serial,
    }
}

/// Runs `body` on one lane per set of operands. Registers `%a`, `%b`, `%c` of the widths in `from`
/// hold the operands, `%d` of `to` bits is the result.
pub fn run(body: &str, from: &[u32], to: u32, operands: &[[u64; 3]]) -> Vec<u64> {
    run_on(DeviceConfig::default(), body, from, to, operands)
        .unwrap_or_else(|fault| panic!("{fault}\n{body}"))
}

/// As [`run`], on a device of one's own; the fault that was found, if any.
#[allow(clippy::result_large_err)] // the fault is what is looked at
pub fn run_on(
    config: DeviceConfig,
    body: &str,
    from: &[u32],
    to: u32,
    operands: &[[u64; 3]],
) -> Result<Vec<u64>, Fault> {
    let names = ["a", "b", "c"];
    let mut text = String::from(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out, .param .u32 n)\n{\n\
         .reg .pred %p, %q;\n.reg .b32 %t, %u, %n;\n.reg .b64 %x, %y, %z;\n",
    );
    for (name, bits) in names.iter().zip(from) {
        text += &format!(".reg .b{bits} %{name};\n");
    }
    text += &format!(
        ".reg .b{to} %d;\nmov.u32 %t, %tid.x;\nmov.u32 %u, %ctaid.x;\nmad.lo.u32 %t, %u, 128, %t;\nld.param.u32 %n, [n];\n\
         setp.ge.u32 %p, %t, %n;\n@%p bra DONE;\n\
         ld.param.u64 %x, [in];\nmad.wide.u32 %x, %t, 24, %x;\n"
    );
    for (i, (name, bits)) in names.iter().zip(from).enumerate() {
        text += &format!("ld.global.b{bits} %{name}, [%x+{}];\n", 8 * i);
    }
    text += body;
    text += &format!(
        "\nld.param.u64 %y, [out];\nmad.wide.u32 %y, %t, 8, %y;\nst.global.b{to} [%y], %d;\nDONE:\nret;\n}}\n"
    );
    let engine = Engine::new(config);
    let module = engine
        .load_module(&text)
        .unwrap_or_else(|e| panic!("{e}\n{text}"));
    let kernel = module.kernel("k").expect("the kernel is there");
    let input = engine.alloc(24 * operands.len() as u64).expect("fits");
    let output = engine.alloc(8 * operands.len() as u64).expect("fits");
    let bytes: Vec<u8> = operands
        .iter()
        .flatten()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    engine.write(input, &bytes).expect("in bounds");
    engine
        .fill(output, &[0], 8 * operands.len() as u64)
        .expect("in bounds");
    let mut params = Vec::new();
    params.extend_from_slice(&input.to_le_bytes());
    params.extend_from_slice(&output.to_le_bytes());
    params.extend_from_slice(&(operands.len() as u32).to_le_bytes());
    let blocks = operands.len().div_ceil(128) as u32;
    engine.launch(&kernel, &launch_of(128, blocks), &params)?;
    let mut out = vec![0; 8 * operands.len()];
    engine.read(output, &mut out).expect("in bounds");
    Ok(out
        .chunks_exact(8)
        .map(|c| u64::from_le_bytes(c.try_into().expect("eight bytes")))
        .collect())
}

/// Runs one kernel of the text's body on the buffers, which its parameters `b0`, `b1` and so on point
/// to; they are read back.
#[allow(clippy::result_large_err)] // the fault is what is looked at
pub fn launch(body: &str, launch: &Launch, buffers: &mut [Vec<u8>]) -> Result<(), Fault> {
    let parameters: Vec<String> = (0..buffers.len())
        .map(|i| format!(".param .u64 b{i}"))
        .collect();
    let text = format!(
        ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k({})\n{{\n{body}\nret;\n}}\n",
        parameters.join(", ")
    );
    let engine = Engine::new(DeviceConfig {
        compute_capability: (9, 0),
        instruction_budget: Some(1_000_000),
        ..DeviceConfig::default()
    });
    let module = engine
        .load_module(&text)
        .unwrap_or_else(|e| panic!("{e}\n{text}"));
    let kernel = module.kernel("k").expect("the kernel is there");
    let mut params = Vec::new();
    let mut addresses = Vec::new();
    for buffer in buffers.iter() {
        let address = engine.alloc(buffer.len() as u64).expect("fits");
        engine.write(address, buffer).expect("in bounds");
        params.extend_from_slice(&address.to_le_bytes());
        addresses.push(address);
    }
    engine.launch(&kernel, launch, &params)?;
    for (buffer, address) in buffers.iter_mut().zip(addresses) {
        engine.read(address, buffer).expect("in bounds");
    }
    Ok(())
}

/// The words of a buffer.
pub fn words(buffer: &[u8]) -> Vec<u32> {
    buffer
        .chunks_exact(4)
        .map(|c| u32::from_le_bytes(c.try_into().expect("four bytes")))
        .collect()
}

/// A buffer of words.
pub fn bytes(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Checks an instruction against `expected` on every combination of `pool` and on random values.
pub fn check(
    body: &str,
    from: &[u32],
    to: u32,
    pool: &[u64],
    expected: impl Fn(u64, u64, u64) -> u64,
) {
    let keep = |bits: u32| {
        if bits == 64 {
            u64::MAX
        } else {
            (1 << bits) - 1
        }
    };
    let mut operands = Vec::new();
    let second: &[u64] = if from.len() > 1 { pool } else { &[0] };
    for &a in pool {
        for &b in second {
            operands.push([a, b, pool[operands.len() % pool.len()]]);
        }
    }
    let mut sequence = Sequence(7);
    for _ in 0..512 {
        operands.push([sequence.draw(), sequence.draw(), sequence.draw()]);
    }
    for o in &mut operands {
        for (v, bits) in o.iter_mut().zip(from.iter().chain(&[64, 64, 64])) {
            *v &= keep(*bits);
        }
    }
    let found = run(body, from, to, &operands);
    let mut faults = Vec::new();
    for (o, found) in operands.iter().zip(found) {
        let wanted = expected(o[0], o[1], o[2]) & keep(to);
        if found != wanted {
            faults.push(format!("{o:#x?}: found {found:#x}, expected {wanted:#x}"));
        }
    }
    assert!(
        faults.is_empty(),
        "{body}: {} of {} differ:\n{}",
        faults.len(),
        operands.len(),
        faults[..faults.len().min(10)].join("\n")
    );
}
