//! Sizes that the original was trained in.

use super::{Output, Skips, Sound, Speakers, Vocoder};
use crate::families::wavenet::{Upsampling, UpsamplingActivation, UpsamplingNetwork};

/// The coefficient of the original's pre-emphasis.
pub(super) const PREEMPHASIS: f32 = 0.85;

impl Vocoder {
    /// `egs/mol`: 24 layers, a mixture of 10 logistics, frames of 80 mels, 256 samples each.
    pub fn mol() -> Self {
        Self {
            layers: 24,
            stacks: 4,
            residual_channels: 128,
            gate_channels: 256,
            skip_out_channels: 128,
            kernel_size: 3,
            output: Output::Raw {
                mixtures: 10,
                quantize_channels: 65536,
                log_scale_min: -16.0,
                sampling_log_scale_min: None,
                mu: None,
                initial: 0.0,
            },
            cin_channels: 80,
            upsampling: Some(Upsampling {
                network: UpsamplingNetwork::ConvIn,
                upsample_scales: vec![4; 4],
                freq_axis_kernel_size: 1,
                activation: UpsamplingActivation::None,
                cin_pad: 2,
            }),
            speakers: Speakers::One,
            conditioning_bias: false,
            skips: Skips::Scaled,
            sound: Sound {
                sample_rate: Some(22050),
                preemphasis: PREEMPHASIS,
                global_gain_scale: 0.55,
            },
        }
    }

    /// `egs/mulaw256`: 30 layers, 256 classes, otherwise as [`Vocoder::mol`].
    pub fn mulaw256() -> Self {
        Self {
            layers: 30,
            stacks: 3,
            output: Output::MulawQuantize {
                quantize_channels: 256,
                mu: 255,
                initial: 127,
            },
            ..Self::mol()
        }
    }

    /// `presets/ljspeech_mixture.json` of v0.1.1, the older generation: 24 layers of 512 channels.
    pub fn ljspeech_2018() -> Self {
        Self {
            residual_channels: 512,
            gate_channels: 512,
            skip_out_channels: 256,
            output: Output::Raw {
                mixtures: 10,
                quantize_channels: 65536,
                log_scale_min: OLDER_LOG_SCALE_MIN,
                sampling_log_scale_min: Some(OLDER_LOG_SCALE_MIN),
                mu: None,
                initial: 0.0,
            },
            upsampling: Some(Upsampling {
                network: UpsamplingNetwork::Transposed,
                upsample_scales: vec![4; 4],
                freq_axis_kernel_size: 3,
                activation: UpsamplingActivation::Relu,
                cin_pad: 0,
            }),
            conditioning_bias: true,
            skips: Skips::Halved,
            sound: Sound {
                sample_rate: Some(22050),
                ..Sound::default()
            },
            ..Self::mol()
        }
    }
}

/// `log(1e-14)`, where the older generation's hyperparameters have the floor of log-scales.
pub(super) const OLDER_LOG_SCALE_MIN: f32 = -32.236_19;
