//! The input of a network: one implementation per [`InputEncoding`].

use super::epilogue::Epilogue;
use super::gemm::{Gemm, PANEL};
use super::packed::PackedNetwork;
use super::rows::Rows;
use crate::network::{Activation, InputEncoding};

/// Encodes the values of a stage of a pixel as channels, and pushes these into the row rings at
/// `to`, whose first rows are those of the image. `encoded` has room for the channels, padded to
/// whole panels.
///
/// # Safety
/// The first row of each of `to` must be valid for writes of the input's channels under that
/// activation, and the machine must have the network's instruction set.
pub(super) unsafe fn push<E: Gemm>(
    model: &PackedNetwork<E>,
    values: &[f32],
    encoded: &mut [f32],
    to: [Option<Rows<E>>; Activation::COUNT],
) {
    let graph = &model.graph;
    let channels = encode(&graph.input, &model.embedding, values, encoded);
    // SAFETY: the caller's promise.
    unsafe { push_channels(model, channels, encoded, to) }
}

/// Pushes the first `channels` of `encoded` into the row rings at `to`.
///
/// # Safety
/// As for [`push`].
pub(super) unsafe fn push_channels<E: Gemm>(
    model: &PackedNetwork<E>,
    channels: usize,
    encoded: &mut [f32],
    to: [Option<Rows<E>>; Activation::COUNT],
) {
    let epilogue = Epilogue {
        to_operands: to,
        ..Epilogue::default()
    };
    let one = Rows {
        base: encoded.as_mut_ptr(),
        row_stride: encoded.len(),
        group: 1,
        group_stride: encoded.len(),
    };
    // SAFETY: `encoded` has whole panels; the caller vouches for the rest.
    unsafe { epilogue.apply(model.isa, channels, 0..channels.div_ceil(PANEL), 0..1, one) }
}

/// Fills in the channels of the values; returns how many there are.
fn encode(encoding: &InputEncoding, embedding: &[f32], values: &[f32], to: &mut [f32]) -> usize {
    match *encoding {
        InputEncoding::Scaled { ones, .. } => {
            to[..values.len()].copy_from_slice(values);
            if ones {
                to[values.len()] = 1.0;
            }
        }
        InputEncoding::OneHot { classes } => {
            for (channels, &value) in to.chunks_mut(classes).zip(values) {
                channels.fill(0.0);
                channels[value as usize] = 1.0;
            }
        }
        InputEncoding::Embedding { channels, .. } => {
            for (to, &value) in to.chunks_mut(channels).zip(values) {
                let row = &embedding[value as usize * channels..][..channels];
                to.copy_from_slice(row);
            }
        }
    }
    encoding.channels(values.len())
}
