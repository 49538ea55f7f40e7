//! How a tensor of the model is made from those of a PyTorch layer.

use std::path::Path;

use super::super::CheckpointError;
use super::super::error::shown;
use super::super::source::{Source, row_major};

/// PyTorch's default `eps` of batch normalisation, which state dicts do not store.
const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Indices of the four tensors of a batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchNorm {
    pub(crate) weight: usize,
    pub(crate) bias: usize,
    pub(crate) mean: usize,
    pub(crate) variance: usize,
}

/// How to make one tensor; numbers are indices of tensors in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// A layer's weight: output (deconvolutions: input) channels first, brought to canonical
    /// axes. With `g`, PyTorch's weight norm over the first axis is folded in.
    Weight {
        v: usize,
        g: Option<usize>,
        batch_norm: Option<BatchNorm>,
    },
    /// A layer's bias.
    Bias {
        bias: usize,
        batch_norm: Option<BatchNorm>,
    },
}

impl Recipe {
    /// The tensors that are used.
    pub(crate) fn entries(&self) -> Vec<usize> {
        let (first, second, batch_norm) = match *self {
            Self::Weight { v, g, batch_norm } => (v, g, batch_norm),
            Self::Bias { bias, batch_norm } => (bias, None, batch_norm),
        };
        let norm = batch_norm
            .map(|norm| [norm.weight, norm.bias, norm.mean, norm.variance])
            .into_iter()
            .flatten();
        [first].into_iter().chain(second).chain(norm).collect()
    }

    /// Reads and combines the tensors.
    pub(crate) fn read(
        &self,
        path: &Path,
        source: &mut dyn Source,
    ) -> Result<Vec<f32>, CheckpointError> {
        match *self {
            Self::Weight { v, g, batch_norm } => {
                let shape = source.entries()[v].shape.clone();
                let mut values = source.read(v)?;
                let channels = shape.first().copied().unwrap_or(1).max(1);
                let mut scales = vec![1.0; channels];
                if let Some(g) = g {
                    let g = read_vector(path, source, g, channels)?;
                    let rows = values.chunks(values.len().max(1) / channels);
                    for ((scale, g), row) in scales.iter_mut().zip(g).zip(rows) {
                        let square: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
                        *scale = f64::from(g) / square.sqrt();
                    }
                }
                if let Some(norm) = batch_norm {
                    let norm_scales = norm_scales(path, source, norm, channels)?;
                    for (scale, norm_scale) in scales.iter_mut().zip(norm_scales) {
                        *scale *= norm_scale;
                    }
                }
                if g.is_some() || batch_norm.is_some() {
                    let length = values.len().max(1) / channels;
                    for (row, scale) in values.chunks_mut(length.max(1)).zip(scales) {
                        for value in row {
                            *value = (f64::from(*value) * scale) as f32;
                        }
                    }
                }
                Ok(permuted(&shape, canonical_axes(shape.len()), &values))
            }
            Self::Bias { bias, batch_norm } => {
                let mut values = source.read(bias)?;
                if let Some(norm) = batch_norm {
                    let channels = values.len();
                    let scales = norm_scales(path, source, norm, channels)?;
                    let mean = read_vector(path, source, norm.mean, channels)?;
                    let shift = read_vector(path, source, norm.bias, channels)?;
                    for (index, value) in values.iter_mut().enumerate() {
                        let centred = f64::from(*value) - f64::from(mean[index]);
                        *value = (centred * scales[index] + f64::from(shift[index])) as f32;
                    }
                }
                Ok(values)
            }
        }
    }
}

/// The canonical axes of a weight, as axes of PyTorch's: convolutions `[out, in, kh, kw]` become
/// `[kh, kw, in, out]`, deconvolutions `[in, out, kh, kw]` become `[kh, kw, out, in]`, linear
/// layers `[out, in]` become `[in, out]`.
pub(crate) fn canonical_axes(rank: usize) -> &'static [usize] {
    match rank {
        4 => &[2, 3, 1, 0],
        2 => &[1, 0],
        _ => &[],
    }
}

/// Transposes; other ranks than those of weights are left alone (and refused by their shape).
fn permuted(shape: &[usize], axes: &[usize], values: &[f32]) -> Vec<f32> {
    if axes.is_empty() {
        return values.to_vec();
    }
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let of = |from: &[usize]| axes.iter().map(|&axis| from[axis]).collect::<Vec<_>>();
    row_major(&of(shape), &of(&strides), values, values.len())
}

/// `weight / sqrt(variance + eps)` per channel.
fn norm_scales(
    path: &Path,
    source: &mut dyn Source,
    norm: BatchNorm,
    channels: usize,
) -> Result<Vec<f64>, CheckpointError> {
    let weight = read_vector(path, source, norm.weight, channels)?;
    let variance = read_vector(path, source, norm.variance, channels)?;
    Ok(weight
        .iter()
        .zip(variance)
        .map(|(&weight, variance)| {
            f64::from(weight) / (f64::from(variance) + BATCH_NORM_EPSILON).sqrt()
        })
        .collect())
}

/// Reads one number per channel, whatever axes of length 1 are around them.
fn read_vector(
    path: &Path,
    source: &mut dyn Source,
    index: usize,
    channels: usize,
) -> Result<Vec<f32>, CheckpointError> {
    let entry = &source.entries()[index];
    if entry.count(path)? != channels {
        return Err(CheckpointError::malformed(
            path,
            format!("tensor {}", shown(&entry.name)),
            format!("{channels} numbers"),
            format!("shape {:?}", entry.shape),
        ));
    }
    source.read(index)
}
