//! PyTorch files, pickled as PyTorch's own pickler does with protocol 2.

use fastpix::families::pixelcnnpp::{Hyperparameters, LayerKind, Layers};

/// Name, shape, strides in elements, and the memory in which the tensor lies.
pub type Named = (String, Vec<usize>, Vec<usize>, Vec<f32>);

/// Row-major strides.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(b'X');
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.bytes());
}

fn number(bytes: &mut Vec<u8>, number: usize) {
    bytes.push(b'J');
    bytes.extend((number as i32).to_le_bytes());
}

fn tuple(bytes: &mut Vec<u8>, numbers: &[usize]) {
    bytes.push(b'(');
    for &side in numbers {
        number(bytes, side);
    }
    bytes.push(b't');
}

/// Pushes an ordered dict of tensors whose storages are numbered from 0.
pub fn state_dict(tensors: &[Named], legacy: bool) -> Vec<u8> {
    let mut bytes = b"ccollections\nOrderedDict\n)Rq\x00(".to_vec();
    for (key, (name, shape, strides, memory)) in tensors.iter().enumerate() {
        text(&mut bytes, name);
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut bytes, "storage");
        bytes.extend(b"ctorch\nFloatStorage\n");
        text(&mut bytes, &key.to_string());
        text(&mut bytes, "cpu");
        number(&mut bytes, memory.len());
        bytes.extend(if legacy { b"NtQ".as_slice() } else { b"tQ" });
        number(&mut bytes, 0);
        tuple(&mut bytes, shape);
        tuple(&mut bytes, strides);
        bytes.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    bytes.push(b'u');
    bytes
}

/// A pickle of the object that these opcodes push.
pub fn pickle(object: &[u8]) -> Vec<u8> {
    [b"\x80\x02", object, b"."].concat()
}

/// The zip format around a pickled object.
pub fn zip(object: &[u8], tensors: &[Named]) -> Vec<u8> {
    let pickle = pickle(object);
    let data: Vec<(String, Vec<u8>)> = tensors
        .iter()
        .enumerate()
        .map(|(key, (.., memory))| (format!("archive/data/{key}"), super::le_bytes(memory)))
        .collect();
    let mut members: Vec<(&str, &[u8])> = vec![("archive/data.pkl", &pickle)];
    members.extend(data.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
    members.push(("archive/version", b"3\n"));
    super::zip(&members, false)
}

/// The legacy format around a pickled object.
pub fn legacy(object: &[u8], tensors: &[Named]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    bytes.extend(b"\x80\x02M\xe9\x03.\x80\x02}q\x00.");
    bytes.extend(pickle(object));
    let mut keys = b"](".to_vec();
    for key in 0..tensors.len() {
        text(&mut keys, &key.to_string());
    }
    keys.push(b'e');
    bytes.extend(pickle(&keys));
    for (.., memory) in tensors {
        bytes.extend((memory.len() as u64).to_le_bytes());
        bytes.extend(super::le_bytes(memory));
    }
    bytes
}

/// How a port stores the weight of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Norm {
    /// `weight_g` and `weight_v`.
    GainAndDirection,
    /// `parametrizations.weight.original0` and `original1`.
    Parametrized,
    /// `weight`.
    Folded,
}

/// The state dict of a model, filled with numbers that differ everywhere.
pub fn model(hyper: &Hyperparameters, norm: Norm, prefix: &str) -> Vec<Named> {
    let layers = Layers::new(hyper);
    let mut modules = vec![
        (layers.u_init, "u_init.conv".to_owned()),
        (layers.ul_init_above, "ul_init.0.conv".to_owned()),
        (layers.ul_init_left, "ul_init.1.conv".to_owned()),
        (layers.output, "nin_out.lin_a".to_owned()),
    ];
    for level in 0..3 {
        for (pass, blocks) in [
            (format!("up_layers.{level}"), &layers.up[level]),
            (format!("down_layers.{}", 2 - level), &layers.down[level]),
        ] {
            for (row, pair) in blocks.iter().enumerate() {
                for (stream, block) in [("u_stream", &pair.u), ("ul_stream", &pair.ul)] {
                    let module = format!("{pass}.{stream}.{row}");
                    modules.push((block.conv_in, format!("{module}.conv_input.conv")));
                    modules.push((block.conv_out, format!("{module}.conv_out.conv")));
                    if let Some(nin) = block.nin {
                        modules.push((nin, format!("{module}.nin_skip.lin_a")));
                    }
                }
            }
        }
    }
    for number in 0..2 {
        for (pair, module, kind) in [
            (layers.downsample[number], "downsize", "conv"),
            // Numbered in order of use.
            (layers.upsample[1 - number], "upsize", "deconv"),
        ] {
            modules.push((pair.u, format!("{module}_u_stream.{number}.{kind}")));
            modules.push((pair.ul, format!("{module}_ul_stream.{number}.{kind}")));
        }
    }
    let mut state = 7u32;
    let mut memory = |count: usize| -> Vec<f32> {
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 + 0.25
            })
            .collect()
    };
    let mut tensors = Vec::new();
    for (layer, module) in modules {
        let layer = &layers.all[layer];
        let (kh, kw) = layer.filter;
        let shape = match layer.kind {
            LayerKind::Conv => vec![layer.cout, layer.cin, kh, kw],
            LayerKind::Deconv => vec![layer.cin, layer.cout, kh, kw],
            LayerKind::Dense | LayerKind::Class | LayerKind::Map => vec![layer.cout, layer.cin],
        };
        let mut add = |suffix: &str, shape: Vec<usize>| {
            let values = memory(shape.iter().product());
            let strides = strides(&shape);
            tensors.push((format!("{prefix}{module}.{suffix}"), shape, strides, values));
        };
        let mut g = vec![1; shape.len()];
        g[0] = shape[0];
        match norm {
            Norm::GainAndDirection => {
                add("weight_g", g);
                add("weight_v", shape);
            }
            Norm::Parametrized => {
                add("parametrizations.weight.original0", g);
                add("parametrizations.weight.original1", shape);
            }
            Norm::Folded => add("weight", shape),
        }
        add("bias", vec![layer.cout]);
    }
    tensors
}
