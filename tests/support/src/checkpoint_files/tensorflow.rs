//! Tables, V1 checkpoints and V2 bundles.

use fastpix::checkpoint::Tensors;

/// LevelDB's masked crc32c, by its definition.
pub fn masked(bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

pub fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Keys and values in order.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A block of entries with prefix compression and a restart point every sixteen.
pub fn block(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut restarts = Vec::new();
    let mut last: &[u8] = &[];
    for (number, (key, value)) in entries.iter().enumerate() {
        let shared = if number % 16 == 0 {
            restarts.push(bytes.len() as u32);
            0
        } else {
            key.iter().zip(last).take_while(|(a, b)| a == b).count()
        };
        for length in [shared, key.len() - shared, value.len()] {
            varint(&mut bytes, length as u64);
        }
        bytes.extend(&key[shared..]);
        bytes.extend(value);
        last = key;
    }
    if restarts.is_empty() {
        restarts.push(0);
    }
    for restart in &restarts {
        bytes.extend(restart.to_le_bytes());
    }
    bytes.extend((restarts.len() as u32).to_le_bytes());
    bytes
}

/// Appends a block with its trailer; gives the handle.
fn append(file: &mut Vec<u8>, contents: &[u8], snappy: bool) -> Vec<u8> {
    let packed = snappy.then(|| snap::raw::Encoder::new().compress_vec(contents).unwrap());
    let data = packed.as_deref().unwrap_or(contents);
    let mut handle = Vec::new();
    varint(&mut handle, file.len() as u64);
    varint(&mut handle, data.len() as u64);
    let start = file.len();
    file.extend(data);
    file.push(u8::from(snappy));
    let crc = masked(&file[start..]);
    file.extend(crc.to_le_bytes());
    handle
}

/// A table of entries in order, in blocks of about this many bytes.
pub fn table(entries: &[(Vec<u8>, Vec<u8>)], block_size: usize, snappy: bool) -> Vec<u8> {
    let mut file = Vec::new();
    let mut index = Vec::new();
    let mut pending: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut size = 0;
    for (number, entry) in entries.iter().enumerate() {
        size += entry.0.len() + entry.1.len();
        pending.push(entry.clone());
        if size >= block_size || number + 1 == entries.len() {
            let handle = append(&mut file, &block(&pending), snappy);
            index.push((entry.0.clone(), handle));
            pending.clear();
            size = 0;
        }
    }
    let meta = append(&mut file, &block(&[]), false);
    let index = append(&mut file, &block(&index), snappy);
    finish(&mut file, &meta, &index);
    file
}

/// Appends the footer.
pub fn finish(file: &mut Vec<u8>, meta: &[u8], index: &[u8]) {
    let mut footer = [meta, index].concat();
    footer.resize(40, 0);
    footer.extend(0xdb47_7524_8b80_fb57u64.to_le_bytes());
    file.extend(footer);
}

/// A protocol buffer message, field by field.
#[derive(Default, Clone)]
pub struct Message(pub Vec<u8>);

impl Message {
    pub fn number(mut self, field: u64, value: i64) -> Self {
        varint(&mut self.0, field << 3);
        varint(&mut self.0, value as u64);
        self
    }

    pub fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        varint(&mut self.0, field << 3 | 2);
        varint(&mut self.0, value.len() as u64);
        self.0.extend(value);
        self
    }

    pub fn fixed32(mut self, field: u64, value: u32) -> Self {
        varint(&mut self.0, field << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }
}

pub fn shape(sides: &[usize]) -> Message {
    sides.iter().fold(Message::default(), |message, &side| {
        message.bytes(2, &Message::default().number(1, side as i64).0)
    })
}

/// Start and length along each axis; `None` for a whole one.
pub type Extents = Vec<(i64, Option<i64>)>;

pub fn slice(extents: &Extents) -> Message {
    extents
        .iter()
        .fold(Message::default(), |message, &(start, length)| {
            let mut extent = Message::default();
            if start != 0 {
                extent = extent.number(1, start);
            }
            if let Some(length) = length {
                extent = extent.number(2, length);
            }
            message.bytes(1, &extent.0)
        })
}

/// The key of a slice, for numbers below 64 only.
pub fn slice_key(name: &str, extents: &Extents) -> Vec<u8> {
    let mut key = vec![0];
    key.extend(name.bytes());
    key.extend([0, 1]);
    if extents.is_empty() {
        key.push(0);
    } else {
        key.extend([1, extents.len() as u8]);
    }
    for &(start, length) in extents {
        for number in [start, length.unwrap_or(-1)] {
            assert!(
                (-64..64).contains(&number),
                "only short numbers are coded here"
            );
            key.push(number as i8 as u8 ^ 0x80);
        }
    }
    key
}

/// Cuts a tensor along its last axis, giving each part's extents and values.
pub fn cut(shape: &[usize], values: &[f32], parts: usize) -> Vec<(Extents, Vec<f32>)> {
    let whole: Extents = vec![(0, None); shape.len()];
    let last = shape.last().copied().unwrap_or(0);
    if parts < 2 || last < parts {
        return vec![(whole, values.to_vec())];
    }
    (0..parts)
        .map(|part| {
            let (start, end) = (last * part / parts, last * (part + 1) / parts);
            let mut extents = whole.clone();
            *extents.last_mut().unwrap() = (start as i64, Some((end - start) as i64));
            let part = values
                .chunks(last)
                .flat_map(|row| row[start..end].to_vec())
                .collect();
            (extents, part)
        })
        .collect()
}

/// Names for a table: raw weights and, with `averages`, their moving averages too; also what an
/// optimiser leaves behind.
pub fn named(raw: &Tensors, averages: Option<&Tensors>) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let mut all = Vec::new();
    for (name, tensor) in raw {
        let name = format!("model/{name}");
        all.push((
            format!("{name}/Adam"),
            tensor.shape.clone(),
            tensor.values.clone(),
        ));
        all.push((name, tensor.shape.clone(), tensor.values.clone()));
    }
    for (name, tensor) in averages.into_iter().flatten() {
        let name = format!("model/{name}/ExponentialMovingAverage");
        all.push((name, tensor.shape.clone(), tensor.values.clone()));
    }
    all.push(("beta1_power".into(), vec![], vec![0.5]));
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// The message with a slice's values.
pub fn saved_slice(name: &str, extents: &Extents, values: &[f32]) -> Message {
    let floats = Message::default().bytes(5, &super::le_bytes(values));
    let saved = Message::default()
        .bytes(1, name.as_bytes())
        .bytes(2, &slice(extents).0)
        .bytes(3, &floats.0);
    Message::default().bytes(2, &saved.0)
}

/// The entries of a V1 checkpoint whose tensors lie in this many slices each.
pub fn v1_entries(
    tensors: &[(String, Vec<usize>, Vec<f32>)],
    parts: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut meta = Message::default();
    let mut entries = Vec::new();
    for (name, sides, values) in tensors {
        let mut tensor = Message::default()
            .bytes(1, name.as_bytes())
            .bytes(2, &shape(sides).0)
            .number(3, 1);
        for (extents, values) in cut(sides, values, parts) {
            tensor = tensor.bytes(4, &slice(&extents).0);
            entries.push((
                slice_key(name, &extents),
                saved_slice(name, &extents, &values).0,
            ));
        }
        meta = meta.bytes(1, &tensor.0);
    }
    entries.push((Vec::new(), Message::default().bytes(1, &meta.0).0));
    entries.sort();
    entries
}

/// A V1 checkpoint in one file.
pub fn v1(tensors: &[(String, Vec<usize>, Vec<f32>)], parts: usize, snappy: bool) -> Vec<u8> {
    table(&v1_entries(tensors, parts), 4096, snappy)
}

/// A V2 bundle under the prefix `model`: index and data shards, tensors dealt out in turn and cut
/// into this many slices each.
pub fn v2(
    tensors: &[(String, Vec<usize>, Vec<f32>)],
    parts: usize,
    shards: usize,
    snappy: bool,
) -> Vec<(String, Vec<u8>)> {
    let mut data = vec![Vec::new(); shards];
    let header = Message::default()
        .number(1, shards as i64)
        .bytes(3, &Message::default().number(1, 1).0);
    let mut entries = vec![(Vec::new(), header.0)];
    let mut turn = 0;
    for (name, sides, values) in tensors {
        let slices = cut(sides, values, parts);
        let mut entry = Message::default().number(1, 1).bytes(2, &shape(sides).0);
        for (extents, values) in &slices {
            turn = (turn + 1) % shards;
            let bytes = super::le_bytes(values);
            let place = |message: Message, offset: usize| {
                message
                    .number(3, turn as i64)
                    .number(4, offset as i64)
                    .number(5, bytes.len() as i64)
                    .fixed32(6, masked(&bytes))
            };
            let offset = data[turn].len();
            if slices.len() == 1 {
                entry = place(entry, offset);
            } else {
                entry = entry.bytes(7, &slice(extents).0);
                let part = Message::default().number(1, 1);
                entries.push((slice_key(name, extents), place(part, offset).0));
            }
            data[turn].extend(&bytes);
        }
        entries.push((name.clone().into_bytes(), entry.0));
    }
    entries.sort();
    let mut files = vec![("model.index".to_owned(), table(&entries, 4096, snappy))];
    for (number, bytes) in data.into_iter().enumerate() {
        files.push((format!("model.data-{number:05}-of-{shards:05}"), bytes));
    }
    files
}

/// The name of the one variable in [`object_based`], and its full name in [`object_graph`].
pub const VARIABLE: (&str, &str) = ("layer/v/.ATTRIBUTES/VARIABLE_VALUE", "dense_1/kernel");

/// The graph of objects of a checkpoint with one variable.
pub fn object_graph() -> Vec<u8> {
    let (key, full_name) = VARIABLE;
    let attribute = Message::default()
        .bytes(1, b"VARIABLE_VALUE")
        .bytes(2, full_name.as_bytes())
        .bytes(3, key.as_bytes());
    let root = Message::default().bytes(1, &Message::default().number(1, 1).bytes(2, b"layer").0);
    let variable = Message::default().bytes(2, &attribute.0);
    Message::default().bytes(1, &root.0).bytes(1, &variable.0).0
}

/// An object-based V2 checkpoint under the prefix `model`: one variable with the numbers 1 and 2,
/// and this graph.
pub fn object_based(graph: &[u8]) -> Vec<(String, Vec<u8>)> {
    // Length, its checksum, text; the checksum of the whole is over the length as four bytes.
    let length = (graph.len() as u32).to_le_bytes();
    let sum = masked(&length).to_le_bytes();
    let mut text = Vec::new();
    varint(&mut text, graph.len() as u64);
    text.extend(sum);
    text.extend(graph);
    let whole = masked(&[&length[..], &sum, graph].concat());
    let values = super::le_bytes(&[1.0, 2.0]);
    let entry = |kind: i64, sides: &[usize], offset: usize, size: usize, sum: u32| {
        Message::default()
            .number(1, kind)
            .bytes(2, &shape(sides).0)
            .number(4, offset as i64)
            .number(5, size as i64)
            .fixed32(6, sum)
            .0
    };
    let graph_entry = entry(7, &[], values.len(), text.len(), whole);
    let entries = [
        (Vec::new(), Message::default().number(1, 1).0),
        (b"_CHECKPOINTABLE_OBJECT_GRAPH".to_vec(), graph_entry),
        (
            VARIABLE.0.as_bytes().to_vec(),
            entry(1, &[2], 0, values.len(), masked(&values)),
        ),
    ];
    vec![
        ("model.index".to_owned(), table(&entries, 4096, false)),
        (
            "model.data-00000-of-00001".to_owned(),
            [values, text].concat(),
        ),
    ]
}
