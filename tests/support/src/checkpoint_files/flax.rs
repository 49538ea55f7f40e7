//! MessagePack as flax writes it, value by value.

/// A number of bytes or items, big-endian as MessagePack has it.
fn count(marker: u8, count: usize) -> Vec<u8> {
    let mut bytes = vec![marker];
    bytes.extend((count as u32).to_be_bytes());
    bytes
}

/// A map with these keys and values.
pub fn map(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = match items.len() {
        few @ 0..16 => vec![0x80 | few as u8],
        many => count(0xdf, many),
    };
    for (key, value) in items {
        bytes.extend(text(key));
        bytes.extend(value);
    }
    bytes
}

/// A list of these values.
pub fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = match items.len() {
        few @ 0..16 => vec![0x90 | few as u8],
        many => count(0xdd, many),
    };
    bytes.extend(items.concat());
    bytes
}

/// A text.
pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = match text.len() {
        few @ 0..32 => vec![0xa0 | few as u8],
        many => count(0xdb, many),
    };
    bytes.extend(text.bytes());
    bytes
}

/// A number that is not negative.
pub fn number(value: u64) -> Vec<u8> {
    match value {
        few @ 0..128 => vec![few as u8],
        many => {
            let mut bytes = vec![0xcf];
            bytes.extend(many.to_be_bytes());
            bytes
        }
    }
}

/// Bytes.
pub fn bin(data: &[u8]) -> Vec<u8> {
    let mut bytes = count(0xc6, data.len());
    bytes.extend(data);
    bytes
}

/// An extension of this type.
pub fn extension(kind: i8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = count(0xc9, payload.len());
    bytes.push(kind as u8);
    bytes.extend(payload);
    bytes
}

/// The inside of an array: shape, NumPy's name of the element type, and the elements.
pub fn payload(shape: &[u64], element: &str, data: &[u8]) -> Vec<u8> {
    let sides: Vec<Vec<u8>> = shape.iter().map(|&side| number(side)).collect();
    list(&[list(&sides), text(element), bin(data)])
}

/// An array.
pub fn array(shape: &[u64], element: &str, data: &[u8]) -> Vec<u8> {
    extension(1, &payload(shape, element, data))
}

/// A small checkpoint in the layout of flax' example: raw weights with the optimizer's state, and
/// averaged weights.
pub fn checkpoint() -> Vec<u8> {
    let weights = |first: f32| {
        let values: Vec<u8> = (0..6)
            .flat_map(|index| (first + index as f32).to_le_bytes())
            .collect();
        let layer = map(&[
            ("direction", array(&[1, 2, 3], "float32", &values)),
            ("scale", array(&[2], "float16", &[0, 0x3c, 0, 0xc0])),
            ("bias", array(&[1], "bfloat16", &[0x80, 0x3f])),
        ]);
        map(&[("ConvDown_0", map(&[("weightnorm_params", layer)]))])
    };
    let step = extension(3, &payload(&[], "int32", &60i32.to_le_bytes()));
    let state = map(&[
        ("step", step),
        ("count", number(300)),
        ("note", text("none")),
    ]);
    map(&[
        ("0", map(&[("target", weights(1.0)), ("state", state)])),
        ("1", weights(-3.0)),
    ])
}
