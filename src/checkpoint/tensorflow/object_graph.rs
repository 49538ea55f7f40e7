//! The graph of objects in an object-based checkpoint (`tf.train.Checkpoint`, Keras'
//! `save_weights`): it gives the names that the program's variables have, where the tensors
//! themselves are named by the way from the root object to them.

use std::collections::BTreeMap;

use prost::{DecodeError, Message};

use super::proto::{ObjectGraph, SerializedTensor, TrackableObject};
use super::table::mask;

/// The tensor that holds the graph.
pub(super) const KEY: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";

/// Longest graph read: a few hundred bytes for each variable.
pub(super) const LARGEST: usize = 64 << 20;

/// The bytes of a string tensor without axes, and the checksum of its entry: the length as a
/// base-128 number, a masked checksum of the length (as 4 bytes, or 8 where it needs them), and
/// the text. `None` if the bytes are no such tensor.
pub(super) fn scalar_text(data: &[u8]) -> Option<(&[u8], u32)> {
    let mut rest = data;
    let length = prost::encoding::decode_varint(&mut rest).ok()?;
    let crc = match u32::try_from(length) {
        Ok(length) => crc32c::crc32c(&length.to_le_bytes()),
        Err(_) => crc32c::crc32c(&length.to_le_bytes()),
    };
    let (stored, text) = rest.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*stored) != mask(crc) || u64::try_from(text.len()).ok()? != length {
        return None;
    }
    let crc = crc32c::crc32c_append(crc, stored);
    Some((text, mask(crc32c::crc32c_append(crc, text))))
}

/// The full name of each tensor that has one, by its name in the checkpoint.
pub(super) fn full_names(graph: &[u8]) -> Result<BTreeMap<String, String>, DecodeError> {
    let mut names = BTreeMap::new();
    for node in ObjectGraph::decode(graph)?.nodes {
        for attribute in TrackableObject::decode(node.as_slice())?.attributes {
            let tensor = SerializedTensor::decode(attribute.as_slice())?;
            if !tensor.full_name.is_empty() {
                names.insert(tensor.checkpoint_key, tensor.full_name);
            }
        }
    }
    Ok(names)
}
