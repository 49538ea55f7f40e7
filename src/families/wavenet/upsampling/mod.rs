//! The networks that make a row of the map for every sample out of frames: their numbers and their
//! tensors. [`FrameEncoder`] computes them.

mod encoder;

use serde::{Deserialize, Serialize};

use super::{LARGEST, check_range};
use crate::families::HyperparametersError;

pub use encoder::FrameEncoder;

/// The most samples that one frame makes.
const LONGEST_HOP: usize = 1 << 20;

/// The network between frames and samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upsampling {
    /// Which of them.
    pub network: UpsamplingNetwork,
    /// By how much each layer stretches time; their product is the hop size.
    pub upsample_scales: Vec<usize>,
    /// Mel channels that the filter of a layer sees; odd.
    pub freq_axis_kernel_size: usize,
    /// What follows each layer.
    pub activation: UpsamplingActivation,
    /// Frames of context on either side of the first and the last. The original repeats these two
    /// where it has no others.
    pub cin_pad: usize,
}

/// The upsampling networks of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum UpsamplingNetwork {
    /// A convolution over frames and their context, then `UpsampleNetwork`.
    #[serde(rename = "ConvInUpsampleNetwork")]
    ConvIn,
    /// Each layer repeats every frame and smooths with a filter of twice the scale and one.
    #[serde(rename = "UpsampleNetwork")]
    Stretch,
    /// Transposed convolutions without overlap, with biases: models of 2018.
    #[serde(rename = "upsample_conv")]
    Transposed,
    /// Frames are repeated, without any weights.
    #[serde(rename = "repeat")]
    Repeat,
}

/// What follows each upsampling layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum UpsamplingActivation {
    /// Nothing.
    #[serde(rename = "none")]
    None,
    /// `max(x, 0)`.
    #[serde(rename = "ReLU")]
    Relu,
    /// `x` if positive, else `x` times this.
    #[serde(rename = "LeakyReLU")]
    LeakyRelu(f32),
}

impl Upsampling {
    /// Checks every range stated on the fields.
    ///
    /// # Errors
    /// Names the first number out of range.
    pub fn validate(&self) -> Result<(), HyperparametersError> {
        let scales = &self.upsample_scales;
        check_range("upsample_scales", scales.len(), 1..=LARGEST)?;
        for &scale in scales {
            check_range("upsample_scales", scale, 1..=LARGEST)?;
        }
        check_range("hop_size", self.hop_size(), 1..=LONGEST_HOP)?;
        let freq = self.freq_axis_kernel_size;
        check_range("freq_axis_kernel_size", freq, 1..=LARGEST)?;
        if freq.is_multiple_of(2) {
            return Err(HyperparametersError::Range {
                name: "freq_axis_kernel_size",
                expected: "an odd number".into(),
                found: freq,
            });
        }
        if let UpsamplingActivation::LeakyRelu(slope) = self.activation
            && !slope.is_finite()
        {
            return Err(HyperparametersError::Stated {
                name: "negative_slope",
                expected: "a finite number".into(),
                found: slope.to_string(),
            });
        }
        let most_context = match self.network {
            UpsamplingNetwork::ConvIn | UpsamplingNetwork::Stretch => LARGEST / 2,
            UpsamplingNetwork::Transposed | UpsamplingNetwork::Repeat => 0,
        };
        check_range("cin_pad", self.cin_pad, 0..=most_context)
    }

    /// Samples of a frame.
    pub fn hop_size(&self) -> usize {
        let scales = self.upsample_scales.iter();
        scales.fold(1, |product, &scale| product.saturating_mul(scale))
    }

    /// The module of a layer.
    fn module(&self, layer: usize) -> String {
        // Between two filters there are a stretching and maybe an activation, which are numbered too.
        let step = match self.activation {
            UpsamplingActivation::None => 2,
            _ => 3,
        };
        match self.network {
            UpsamplingNetwork::ConvIn => {
                format!("upsample_net.upsample.up_layers.{}", step * layer + 1)
            }
            UpsamplingNetwork::Stretch => format!("upsample_net.up_layers.{}", step * layer + 1),
            _ => format!("upsample_conv.{}", 2 * layer),
        }
    }

    /// The filter of a layer: its shape with all axes.
    fn kernel_shape(&self, scale: usize) -> [usize; 4] {
        let width = match self.network {
            UpsamplingNetwork::Transposed => scale,
            _ => 2 * scale + 1,
        };
        [1, 1, self.freq_axis_kernel_size, width]
    }

    /// The shape of the convolution over frames.
    fn conv_in_shape(&self, channels: usize) -> [usize; 3] {
        [channels, channels, 2 * self.cin_pad + 1]
    }

    /// The tensors of the network, for this many channels of frames.
    pub(super) fn tensors(&self, channels: usize) -> Vec<(String, Vec<usize>)> {
        let mut tensors = Vec::new();
        if self.network == UpsamplingNetwork::Repeat {
            return tensors;
        }
        if self.network == UpsamplingNetwork::ConvIn {
            tensors.push((CONV_IN.to_owned(), self.conv_in_shape(channels).to_vec()));
        }
        for (layer, &scale) in self.upsample_scales.iter().enumerate() {
            let module = self.module(layer);
            let shape = self.kernel_shape(scale).to_vec();
            tensors.push((format!("{module}.weight"), shape));
            if self.network == UpsamplingNetwork::Transposed {
                tensors.push((format!("{module}.bias"), vec![1]));
            }
        }
        tensors
    }
}

/// The convolution over frames, the only one without weight norm.
pub(super) const CONV_IN: &str = "upsample_net.conv_in.weight";

/// Whether a tensor is part of an upsampling network.
pub(super) fn owns(name: &str) -> bool {
    name.starts_with("upsample")
}

/// Whether this is the filter of an upsampling layer.
pub(super) fn is_kernel(name: &str) -> bool {
    owns(name) && name != CONV_IN
}
