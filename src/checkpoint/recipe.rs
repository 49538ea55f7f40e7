//! How a tensor of a model is made from those in a file.

use std::ops::Range;
use std::path::Path;

use super::CheckpointError;
use super::error::shown;
use super::mapping::FileView;
use super::source::{Entry, Source, row_major};

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

/// `g v / ||v||`, the norm over all axes but one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct WeightNorm {
    g: usize,
    axis: usize,
    /// The squared norm is at least this.
    floor: f64,
}

/// How to make one tensor; numbers are indices of tensors in the file. What is asked for happens in
/// this order: normalisations are folded in, the tensor is cut, turned round, its axes are permuted,
/// and it is given another shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recipe {
    source: usize,
    weight_norm: Option<WeightNorm>,
    batch_norm: Option<BatchNorm>,
    /// What is kept of each axis; all if empty.
    crop: Vec<Range<usize>>,
    /// What is cut off must be zero.
    zero_outside: bool,
    /// Axes that run backwards.
    flipped: Vec<usize>,
    /// The axes of the result as axes of the file's tensor; as they are if empty.
    axes: Vec<usize>,
    /// The shape at last, of as many numbers.
    reshaped: Option<Vec<usize>>,
}

impl Recipe {
    /// The tensor with this index, as it is.
    pub(crate) fn of(source: usize) -> Self {
        Self {
            source,
            weight_norm: None,
            batch_norm: None,
            crop: Vec::new(),
            zero_outside: false,
            flipped: Vec::new(),
            axes: Vec::new(),
            reshaped: None,
        }
    }

    /// Folds in a weight norm: `g` has a number for each index along `axis`.
    ///
    /// # Errors
    /// When it has not.
    pub(crate) fn weight_norm(
        mut self,
        file: &FileView<'_>,
        g: usize,
        axis: usize,
    ) -> Result<Self, CheckpointError> {
        let shape = &file.entries[self.source].shape;
        let channels = shape.get(axis).copied().unwrap_or(0);
        let entry = &file.entries[g];
        if entry.count(file.path)? != channels {
            return Err(CheckpointError::malformed(
                file.path,
                format!("tensor {}", shown(&entry.name)),
                format!("{channels} numbers, one for each along axis {axis} of its weight"),
                format!("shape {:?}", entry.shape),
            ));
        }
        self.weight_norm = Some(WeightNorm {
            g,
            axis,
            floor: 0.0,
        });
        Ok(self)
    }

    /// The least squared norm of the weight norm.
    pub(crate) fn norm_floor(mut self, floor: f64) -> Self {
        if let Some(norm) = &mut self.weight_norm {
            norm.floor = floor;
        }
        self
    }

    /// Folds in a batch normalisation along the first axis: the scale into a weight, scale and shift
    /// into a bias (a tensor of one axis).
    pub(crate) fn batch_norm(mut self, norm: Option<BatchNorm>) -> Self {
        self.batch_norm = norm;
        self
    }

    /// Keeps these parts of the file's axes.
    pub(crate) fn crop(mut self, crop: Vec<Range<usize>>) -> Self {
        self.crop = crop;
        self
    }

    /// Keeps these parts of the file's axes, and refuses the tensor if what is cut off is not zero.
    pub(crate) fn crop_zeros(mut self, crop: Vec<Range<usize>>) -> Self {
        self.zero_outside = true;
        self.crop(crop)
    }

    /// Lets an axis of the file's run backwards.
    pub(crate) fn flip(mut self, axis: usize) -> Self {
        self.flipped.push(axis);
        self
    }

    /// Permutes the axes: those of the result as axes of the file's.
    pub(crate) fn axes(mut self, axes: &[usize]) -> Self {
        self.axes = axes.to_vec();
        self
    }

    /// Gives the result another shape of as many numbers.
    pub(crate) fn reshape(mut self, shape: Vec<usize>) -> Self {
        self.reshaped = Some(shape);
        self
    }

    /// The tensor that it is made from first of all.
    pub(crate) fn source(&self) -> usize {
        self.source
    }

    /// All tensors that are used.
    pub(crate) fn entries(&self) -> Vec<usize> {
        let batch_norm = self.batch_norm.into_iter();
        let batch_norm =
            batch_norm.flat_map(|norm| [norm.weight, norm.bias, norm.mean, norm.variance]);
        let g = self.weight_norm.map(|norm| norm.g);
        [self.source]
            .into_iter()
            .chain(g)
            .chain(batch_norm)
            .collect()
    }

    /// What is kept of each axis; all of it where the recipe does not fit the tensor, which its shape
    /// then shows.
    fn kept(&self, shape: &[usize]) -> Vec<Range<usize>> {
        let fits = self.crop.len() == shape.len()
            && self
                .crop
                .iter()
                .zip(shape)
                .all(|(kept, &side)| kept.start <= kept.end && kept.end <= side);
        match fits {
            true => self.crop.clone(),
            false => shape.iter().map(|&side| 0..side).collect(),
        }
    }

    /// The axes of the result as axes of the file's.
    fn order(&self, rank: usize) -> Vec<usize> {
        let mut sorted = self.axes.clone();
        sorted.sort_unstable();
        match sorted.iter().copied().eq(0..rank) {
            true => self.axes.clone(),
            false => (0..rank).collect(),
        }
    }

    /// The shape of the result.
    pub(crate) fn shape(&self, entries: &[Entry]) -> Vec<usize> {
        let stored = &entries[self.source].shape;
        let kept = self.kept(stored);
        let order = self.order(stored.len()).into_iter();
        let shape: Vec<usize> = order.map(|axis| kept[axis].len()).collect();
        match &self.reshaped {
            Some(reshaped) if count(reshaped) == count(&shape) => reshaped.clone(),
            _ => shape,
        }
    }

    /// Reads and combines the tensors.
    pub(crate) fn read(
        &self,
        path: &Path,
        source: &mut dyn Source,
    ) -> Result<Vec<f32>, CheckpointError> {
        let shape = source.entries()[self.source].shape.clone();
        let mut values = source.read(self.source)?;
        if let Some(norm) = self.weight_norm {
            let scales = weight_norm_scales(path, source, norm, &shape, &values)?;
            scale(&mut values, &shape, norm.axis, &scales);
        }
        if let Some(norm) = self.batch_norm {
            let channels = shape.first().copied().unwrap_or(1);
            let scales = batch_norm_scales(path, source, norm, channels)?;
            if shape.len() == 1 {
                let mean = read_vector(path, source, norm.mean, channels)?;
                let shift = read_vector(path, source, norm.bias, channels)?;
                for (index, value) in values.iter_mut().enumerate() {
                    let centred = f64::from(*value) - f64::from(mean[index]);
                    *value = (centred * scales[index] + f64::from(shift[index])) as f32;
                }
            } else {
                scale(&mut values, &shape, 0, &scales);
            }
        }
        let kept = self.kept(&shape);
        if self.zero_outside {
            self.check_zeros(path, source, &values, &shape, &kept)?;
        }
        Ok(self.rearranged(&values, &shape, &kept))
    }

    /// Refuses numbers other than zero outside of what is kept.
    fn check_zeros(
        &self,
        path: &Path,
        source: &dyn Source,
        values: &[f32],
        shape: &[usize],
        kept: &[Range<usize>],
    ) -> Result<(), CheckpointError> {
        let strides = strides(shape);
        let outside = |index: usize| {
            let axes = strides.iter().zip(shape).zip(kept);
            axes.into_iter()
                .any(|((stride, side), kept)| !kept.contains(&(index / stride % side)))
        };
        let wrong = values.iter().enumerate();
        match wrong
            .into_iter()
            .find(|&(index, &value)| value != 0.0 && outside(index))
        {
            None => Ok(()),
            Some((index, value)) => Err(CheckpointError::malformed(
                path,
                format!("tensor {}", shown(&source.entries()[self.source].name)),
                "zeros under its mask (masks are applied by the first step of training)",
                format!("{value} at index {index}"),
            )),
        }
    }

    /// Cuts, turns round and permutes.
    fn rearranged(&self, values: &[f32], shape: &[usize], kept: &[Range<usize>]) -> Vec<f32> {
        let strides = strides(shape);
        let order = self.order(shape.len());
        let plain = order.iter().copied().eq(0..shape.len());
        if plain && self.crop.is_empty() && self.flipped.is_empty() {
            return values.to_vec();
        }
        let sides: Vec<usize> = kept.iter().map(Range::len).collect();
        // The part that is kept, turned round.
        let mut part = Vec::with_capacity(count(&sides));
        let mut position = vec![0; shape.len()];
        while part.len() < count(&sides) {
            let at = position.iter().enumerate().map(|(axis, &at)| {
                let at = match self.flipped.contains(&axis) {
                    true => kept[axis].end - 1 - at,
                    false => kept[axis].start + at,
                };
                at * strides[axis]
            });
            part.push(values[at.sum::<usize>()]);
            for axis in (0..shape.len()).rev() {
                position[axis] += 1;
                if position[axis] < sides[axis] {
                    break;
                }
                position[axis] = 0;
            }
        }
        let of = |from: &[usize]| order.iter().map(|&axis| from[axis]).collect::<Vec<_>>();
        let part_strides = self::strides(&sides);
        row_major(&of(&sides), &of(&part_strides), &part, part.len())
    }
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Row-major strides.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1);
    }
    strides
}

/// Multiplies by a number for each index along an axis.
fn scale(values: &mut [f32], shape: &[usize], axis: usize, scales: &[f64]) {
    let inner = strides(shape).get(axis).copied().unwrap_or(1);
    for (index, value) in values.iter_mut().enumerate() {
        *value = (f64::from(*value) * scales[index / inner % scales.len()]) as f32;
    }
}

/// `g / ||v||` for each index along the axis.
fn weight_norm_scales(
    path: &Path,
    source: &mut dyn Source,
    norm: WeightNorm,
    shape: &[usize],
    values: &[f32],
) -> Result<Vec<f64>, CheckpointError> {
    let channels = shape.get(norm.axis).copied().unwrap_or(1);
    let g = read_vector(path, source, norm.g, channels)?;
    let inner = strides(shape).get(norm.axis).copied().unwrap_or(1);
    let mut squares = vec![0.0f64; channels];
    for (index, &value) in values.iter().enumerate() {
        squares[index / inner % channels] += f64::from(value) * f64::from(value);
    }
    let scales = squares.into_iter().zip(g);
    Ok(scales
        .map(|(square, g)| f64::from(g) / square.max(norm.floor).sqrt())
        .collect())
}

/// `weight / sqrt(variance + eps)` per channel.
fn batch_norm_scales(
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
