//! From frames to rows of the map, computed as they are asked for.
//!
//! A layer that repeats every frame `s` times and then filters with `2 s + 1` taps sees three
//! neighbouring frames at most, each with the sum of the taps that fall on its repetitions. So a layer
//! is, for each of the `s` rows that a frame makes, a filter over three frames; a transposed
//! convolution without overlap is one over a single frame. The sums are folded in f64.

use std::ops::Range;
use std::sync::Arc;

use super::{CONV_IN, Upsampling, UpsamplingActivation, UpsamplingNetwork};
use crate::families::{Tensors, WeightsError, tensors};
use crate::network::{BuildError, ConditionMap, LONGEST_SEQUENCE, Map, MapEncoder};

/// Makes maps out of frames: the upsampling network of a vocoder.
///
/// A map holds its frames and computes rows when they are asked for, so that memory does not depend
/// on how many samples a frame makes. Each number is a sum in f64 in a fixed order, rounded to f32
/// after every layer: rows are the same however they are asked for.
#[derive(Clone, Debug)]
pub struct FrameEncoder(Arc<Layers>);

#[derive(Debug)]
struct Layers {
    channels: usize,
    /// Frames of context on either side.
    context: usize,
    /// The convolution over frames, `[output][input][frame]`; none if there is none.
    conv_in: Option<Vec<f32>>,
    stages: Vec<Stage>,
    /// Rows at either end that belong to the context.
    indent: usize,
    hop: usize,
}

/// A layer.
#[derive(Debug)]
struct Stage {
    scale: usize,
    /// Channels that the filter sees.
    freq: usize,
    /// For each row that a frame makes and each channel seen, the weights of the frame before, of the
    /// frame itself and of the one after it.
    kernel: Vec<[f64; 3]>,
    /// Whether it sees neighbours at all.
    neighbours: bool,
    bias: f64,
    activation: UpsamplingActivation,
}

impl FrameEncoder {
    /// The network of these numbers for frames of so many channels, from its tensors, which it takes
    /// out.
    ///
    /// # Errors
    /// Names the first missing, misshapen or non-finite tensor.
    pub(in super::super) fn new(
        hyper: &Upsampling,
        channels: usize,
        tensors: &mut Tensors,
    ) -> Result<Self, WeightsError> {
        hyper.validate()?;
        let conv_in = match hyper.network {
            UpsamplingNetwork::ConvIn => {
                let shape = hyper.conv_in_shape(channels);
                Some(tensors::need(tensors, CONV_IN, &shape)?)
            }
            _ => None,
        };
        let mut stages = Vec::with_capacity(hyper.upsample_scales.len());
        for (layer, &scale) in hyper.upsample_scales.iter().enumerate() {
            stages.push(Stage::new(hyper, layer, scale, tensors)?);
        }
        let hop = hyper.hop_size();
        Ok(Self(Arc::new(Layers {
            channels,
            context: hyper.cin_pad,
            indent: match conv_in {
                Some(_) => 0,
                None => hyper.cin_pad * hop,
            },
            conv_in,
            stages,
            hop,
        })))
    }

    /// As [`MapEncoder::encode`], from frames that begin and end with their context: `cin_pad` frames
    /// more on either side than the map is made for.
    ///
    /// # Errors
    /// When there are too few frames, or not whole ones, or a number is not finite, or the map would
    /// be longer than a sequence can be.
    pub fn encode_padded(&self, frames: Vec<f32>) -> Result<Map, BuildError> {
        let layers = &self.0;
        let least = 2 * layers.context + 1;
        let count = self.count(&frames, least)?;
        let made = count - 2 * layers.context;
        let rows = made.checked_mul(layers.hop);
        let Some(rows) = rows.filter(|&rows| rows <= LONGEST_SEQUENCE) else {
            let most = LONGEST_SEQUENCE / layers.hop;
            return error(format!("at most {most} frames"), made.to_string());
        };
        let (frames, count) = match &layers.conv_in {
            Some(weights) => (layers.conv_in(weights, &frames, made), made),
            None => (frames, count),
        };
        Ok(Map::new(Upsampled {
            layers: Arc::clone(layers),
            frames,
            count,
            rows,
        }))
    }

    /// How many frames these are.
    fn count(&self, frames: &[f32], least: usize) -> Result<usize, BuildError> {
        let channels = self.0.channels;
        if !frames.len().is_multiple_of(channels) || frames.len() < least * channels {
            return error(
                format!("whole frames of {channels} numbers, at least {least}"),
                format!("{} numbers", frames.len()),
            );
        }
        if let Some(number) = frames.iter().find(|number| !number.is_finite()) {
            return error("finite numbers", number.to_string());
        }
        Ok(frames.len() / channels)
    }
}

fn error<T>(expected: impl Into<String>, found: String) -> Result<T, BuildError> {
    Err(BuildError {
        place: "frames".into(),
        expected: expected.into(),
        found,
    })
}

impl MapEncoder for FrameEncoder {
    fn channels(&self) -> usize {
        self.0.channels
    }

    fn rows(&self, frames: usize) -> usize {
        frames.saturating_mul(self.0.hop)
    }

    /// The frames are those that sound is made for; as context the first and the last one are
    /// repeated, as the original's `evaluate.py` does.
    fn encode(&self, mut frames: Vec<f32>) -> Result<Map, BuildError> {
        let (channels, context) = (self.0.channels, self.0.context);
        let count = self.count(&frames, 1)?;
        if context > 0 {
            let first = frames[..channels].repeat(context);
            let last = frames[(count - 1) * channels..].repeat(context);
            frames.splice(..0, first);
            frames.extend(last);
        }
        self.encode_padded(frames)
    }

    fn context(&self) -> usize {
        self.0.context
    }

    fn encode_with_context(&self, frames: Vec<f32>) -> Result<Map, BuildError> {
        self.encode_padded(frames)
    }
}

impl Layers {
    /// The convolution over frames and their context.
    fn conv_in(&self, weights: &[f32], frames: &[f32], made: usize) -> Vec<f32> {
        let (channels, width) = (self.channels, 2 * self.context + 1);
        let mut to = Vec::with_capacity(made * channels);
        for frame in 0..made {
            let seen = &frames[frame * channels..][..width * channels];
            for filter in weights.chunks(channels * width) {
                let taps = filter.chunks(width).enumerate();
                let sum = taps.fold(0.0, |sum, (input, taps)| {
                    let values = seen[input..].iter().step_by(channels);
                    let products = values.zip(taps);
                    products.fold(sum, |sum, (&value, &weight)| {
                        sum + f64::from(value) * f64::from(weight)
                    })
                });
                to.push(sum as f32);
            }
        }
        to
    }
}

impl Stage {
    fn new(
        hyper: &Upsampling,
        layer: usize,
        scale: usize,
        tensors: &mut Tensors,
    ) -> Result<Self, WeightsError> {
        let freq = hyper.freq_axis_kernel_size;
        let mut stage = Self {
            scale,
            freq,
            kernel: vec![[0.0; 3]; scale * freq],
            neighbours: false,
            bias: 0.0,
            activation: hyper.activation,
        };
        if hyper.network == UpsamplingNetwork::Repeat {
            for frames in stage.kernel.iter_mut().skip(freq / 2).step_by(freq) {
                frames[1] = 1.0;
            }
            return Ok(stage);
        }
        let module = hyper.module(layer);
        let shape = hyper.kernel_shape(scale);
        let weights = tensors::need(tensors, &format!("{module}.weight"), &shape)?;
        let width = shape[3];
        for (seen, taps) in weights.chunks(width).enumerate() {
            for (tap, &weight) in taps.iter().enumerate() {
                if hyper.network == UpsamplingNetwork::Transposed {
                    // Row `tap` of those that a frame makes. Transposed, the filter's channels are
                    // those it writes to.
                    stage.kernel[tap * freq + freq - 1 - seen][1] = f64::from(weight);
                    continue;
                }
                // The tap lies on repetition `row + tap` from that of the frame before on.
                for row in 0..scale {
                    let frame = (row + tap) / scale;
                    stage.kernel[row * freq + seen][frame] += f64::from(weight);
                }
            }
        }
        if hyper.network == UpsamplingNetwork::Transposed {
            let bias = tensors::need(tensors, &format!("{module}.bias"), &[1])?;
            stage.bias = f64::from(bias[0]);
        } else {
            stage.neighbours = true;
        }
        Ok(stage)
    }

    /// The frames that decide some rows, of so many frames.
    fn seen(&self, rows: &Range<usize>, count: usize) -> Range<usize> {
        let reach = usize::from(self.neighbours);
        let first = (rows.start / self.scale).saturating_sub(reach);
        let end = (rows.end.div_ceil(self.scale) + reach).min(count);
        first..end
    }

    /// Computes some rows from the frames that decide them; `frames` are those of `seen`.
    fn rows(&self, rows: Range<usize>, seen: &Range<usize>, frames: &[f32], to: &mut [f32]) {
        let channels = to.len() / rows.len().max(1);
        let before = self.freq / 2;
        let mut sums = vec![0.0f64; channels];
        for (row, to) in rows.zip(to.chunks_mut(channels.max(1))) {
            sums.fill(self.bias);
            let (frame, within) = (row / self.scale, row % self.scale);
            let kernel = &self.kernel[within * self.freq..][..self.freq];
            for (place, weights) in kernel.iter().enumerate() {
                // Channel c sees channel `c + place - before`; beyond the ends there are zeros.
                let (skipped, first) = match place.checked_sub(before) {
                    Some(first) => (0, first),
                    None => (before - place, 0),
                };
                for (which, &weight) in weights.iter().enumerate() {
                    let neighbour = (frame + which).checked_sub(1);
                    let neighbour = neighbour.filter(|frame| seen.contains(frame));
                    let Some(neighbour) = neighbour.filter(|_| which == 1 || self.neighbours)
                    else {
                        continue;
                    };
                    let values = &frames[(neighbour - seen.start) * channels..][..channels];
                    let values = values.iter().skip(first);
                    for (sum, &value) in sums.iter_mut().skip(skipped).zip(values) {
                        *sum += f64::from(value) * weight;
                    }
                }
            }
            for (to, &sum) in to.iter_mut().zip(&sums) {
                *to = match self.activation {
                    UpsamplingActivation::None => sum,
                    UpsamplingActivation::Relu => sum.max(0.0),
                    UpsamplingActivation::LeakyRelu(_) if sum > 0.0 => sum,
                    UpsamplingActivation::LeakyRelu(slope) => sum * f64::from(slope),
                } as f32;
            }
        }
    }
}

/// Frames, and what makes rows of them.
#[derive(Debug)]
struct Upsampled {
    layers: Arc<Layers>,
    /// `[frame][channel]`, what enters the first layer.
    frames: Vec<f32>,
    count: usize,
    rows: usize,
}

impl ConditionMap for Upsampled {
    fn shape(&self) -> [usize; 3] {
        [self.rows, 1, self.layers.channels]
    }

    fn rows(&self, rows: Range<usize>, to: &mut [f32]) {
        let (channels, stages) = (self.layers.channels, &self.layers.stages);
        let indent = self.layers.indent;
        // From the last layer back: which rows of each are needed.
        let mut count = stages
            .iter()
            .fold(self.count, |count, stage| count * stage.scale);
        let mut needed = rows.start + indent..rows.end + indent;
        let mut steps = Vec::with_capacity(stages.len());
        for stage in stages.iter().rev() {
            count /= stage.scale;
            let seen = stage.seen(&needed, count);
            steps.push((stage, needed, seen.clone()));
            needed = seen;
        }
        let mut values = self.frames[needed.start * channels..needed.end * channels].to_vec();
        while let Some((stage, rows, seen)) = steps.pop() {
            if steps.is_empty() {
                stage.rows(rows, &seen, &values, to);
            } else {
                let mut next = vec![0.0; rows.len() * channels];
                stage.rows(rows, &seen, &values, &mut next);
                values = next;
            }
        }
    }
}
