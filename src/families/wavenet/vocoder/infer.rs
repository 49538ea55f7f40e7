//! The hyperparameters of a model: its tensors show the sizes, the original's JSON the rest.

use serde_json::Value;

use super::presets::{OLDER_LOG_SCALE_MIN, PREEMPHASIS};
use super::{EMBEDDING, Hparams, Output, Skips, Sound, Speakers, Vocoder, layer_module};
use crate::checkpoint::shown;
use crate::families::HyperparametersError;
use crate::families::tensors::Shapes;
use crate::families::wavenet::upsampling::CONV_IN;
use crate::families::wavenet::{FAMILY, Upsampling, UpsamplingActivation, UpsamplingNetwork};

/// Values of raw samples where nothing is stated.
const QUANTIZE_CHANNELS: usize = 65536;
/// The newer generation's floor of log-scales where nothing is stated.
const LOG_SCALE_MIN: f32 = -16.0;

fn stated<T>(
    name: &'static str,
    expected: impl Into<String>,
    found: impl AsRef<str>,
) -> Result<T, HyperparametersError> {
    Err(HyperparametersError::Stated {
        name,
        expected: expected.into(),
        found: shown(found.as_ref()),
    })
}

/// What a file and the JSON beside it show.
struct Shown<'a> {
    shapes: &'a Shapes,
    hparams: Hparams<'a>,
    /// Whether it is of the older generation.
    older: bool,
}

/// Infers the hyperparameters from the shapes of the folded tensors and the original's JSON.
///
/// # Errors
/// When a tensor that decides a number is missing or misshapen; when the JSON does not state what no
/// tensor shows, or contradicts the tensors.
pub(super) fn infer(
    shapes: &Shapes,
    hparams: Option<&Value>,
) -> Result<Vocoder, HyperparametersError> {
    let hparams = Hparams::new(hparams);
    Shown {
        older: is_older(shapes, hparams),
        shapes,
        hparams,
    }
    .model()
}

/// The older generation has biases in the layers of the conditions, and transposed convolutions. Of
/// a model without conditions only the JSON can tell.
fn is_older(shapes: &Shapes, hparams: Hparams) -> bool {
    let part = |part: &str, tensor| {
        let module = layer_module(0, part);
        shapes.contains_key(&format!("{module}.{tensor}"))
    };
    if part("conv1x1c", "weight") || part("conv1x1g", "weight") {
        return part("conv1x1c", "bias") || part("conv1x1g", "bias");
    }
    hparams.has("legacy") || hparams.has("builder")
}

impl Shown<'_> {
    fn model(&self) -> Result<Vocoder, HyperparametersError> {
        let [residual_channels, inputs, _] = self.three("first_conv.weight")?;
        let of = |part: &str| format!("{}.weight", layer_module(0, part));
        let [gate_channels, _, kernel_size] = self.three(&of("conv"))?;
        let [skip_out_channels, _, _] = self.three(&of("conv1x1_skip"))?;
        let [outputs, _, _] = self.three("last_conv_layers.3.weight")?;
        let has = |layer| {
            let name = format!("{}.weight", layer_module(layer, "conv"));
            self.shapes.contains_key(&name)
        };
        let layers = (0..).take_while(|&layer| has(layer)).count();
        let cin_channels = match self.shapes.contains_key(&of("conv1x1c")) {
            true => self.three(&of("conv1x1c"))?[1],
            false => 0,
        };
        for (name, found) in [
            ("layers", layers),
            ("residual_channels", residual_channels),
            ("gate_channels", gate_channels),
            ("skip_out_channels", skip_out_channels),
            ("kernel_size", kernel_size),
            ("out_channels", outputs),
            ("cin_channels", cin_channels),
        ] {
            self.check(name, found)?;
        }
        let Some(stacks) = self.hparams.count("stacks")? else {
            return stated(
                "stacks",
                "a number in the original's JSON of hyperparameters (hparams.json beside the \
                 model): no tensor shows after how many layers dilations start again",
                "none",
            );
        };
        let hyper = Vocoder {
            layers,
            stacks,
            residual_channels,
            gate_channels,
            skip_out_channels,
            kernel_size,
            output: self.output(inputs, outputs)?,
            cin_channels,
            upsampling: match cin_channels {
                0 => None,
                _ => self.upsampling()?,
            },
            speakers: self.speakers()?,
            conditioning_bias: self.older
                && (cin_channels > 0 || self.speakers()? != Speakers::One),
            skips: match (self.older, self.hparams.flag("legacy")?) {
                (false, _) => Skips::Scaled,
                (true, None | Some(true)) => Skips::Halved,
                (true, Some(false)) => Skips::Sum,
            },
            sound: self.sound()?,
        };
        hyper.validate()?;
        Ok(hyper)
    }

    fn shape(&self, name: &str) -> Result<&[usize], HyperparametersError> {
        let shape = self.shapes.get(name).map(Vec::as_slice);
        shape.ok_or_else(|| HyperparametersError::Missing {
            name: name.to_owned(),
            family: FAMILY,
        })
    }

    /// The shape of a convolution.
    fn three(&self, name: &str) -> Result<[usize; 3], HyperparametersError> {
        let shape = self.shape(name)?;
        shape.try_into().map_err(|_| HyperparametersError::Shape {
            name: name.to_owned(),
            expected: "shape [outputs, inputs, taps]".into(),
            found: shape.to_vec(),
        })
    }

    /// Checks that the JSON does not state another number than the tensors show.
    fn check(&self, name: &'static str, shown: usize) -> Result<(), HyperparametersError> {
        match self.hparams.count(name)? {
            Some(found) if found != shown => stated(
                name,
                format!("{shown} in the JSON of hyperparameters, as the tensors show"),
                found.to_string(),
            ),
            _ => Ok(()),
        }
    }

    fn output(&self, inputs: usize, outputs: usize) -> Result<Output, HyperparametersError> {
        let hparams = self.hparams;
        let scalar = inputs == 1;
        let kind = hparams.text("input_type")?;
        let kinds = if scalar {
            &["raw", "mulaw"][..]
        } else {
            &["mulaw-quantize"]
        };
        if let Some(kind) = kind.filter(|kind| !kinds.contains(kind)) {
            let expected = format!("{} as the tensors show", kinds.join(" or "));
            return stated("input_type", expected, kind);
        }
        if !scalar {
            if inputs != outputs {
                return Err(HyperparametersError::Shape {
                    name: "last_conv_layers.3.weight".into(),
                    expected: format!("shape [{inputs} as there are classes, channels, 1]"),
                    found: self.shape("last_conv_layers.3.weight")?.to_vec(),
                });
            }
            self.check("quantize_channels", outputs)?;
            let mu = self.mu(outputs);
            return Ok(Output::MulawQuantize {
                quantize_channels: outputs,
                mu,
                initial: mu as usize / 2,
            });
        }
        let distribution = hparams.text("output_distribution")?.unwrap_or("Logistic");
        if distribution != "Logistic" {
            let expected = "Logistic, a mixture of which is drawn from";
            return stated("output_distribution", expected, distribution);
        }
        if outputs == 0 || !outputs.is_multiple_of(3) {
            return Err(HyperparametersError::Shape {
                name: "last_conv_layers.3.weight".into(),
                expected: "shape [3 numbers for each logistic of the mixture, channels, 1]".into(),
                found: self.shape("last_conv_layers.3.weight")?.to_vec(),
            });
        }
        let quantize_channels = hparams.count("quantize_channels")?;
        let quantize_channels = quantize_channels.unwrap_or(QUANTIZE_CHANNELS);
        let usual = match self.older {
            true => OLDER_LOG_SCALE_MIN,
            false => LOG_SCALE_MIN,
        };
        let log_scale_min = hparams.number("log_scale_min")?.unwrap_or(usual);
        Ok(Output::Raw {
            mixtures: outputs / 3,
            quantize_channels,
            log_scale_min,
            sampling_log_scale_min: self.older.then_some(log_scale_min),
            mu: (kind == Some("mulaw")).then(|| self.mu(quantize_channels)),
            initial: 0.0,
        })
    }

    /// The older generation passes the number of classes as mu.
    fn mu(&self, classes: usize) -> u32 {
        let mu = if self.older {
            classes
        } else {
            classes.saturating_sub(1)
        };
        u32::try_from(mu).unwrap_or(u32::MAX)
    }

    fn speakers(&self) -> Result<Speakers, HyperparametersError> {
        let name = format!("{}.weight", layer_module(0, "conv1x1g"));
        if !self.shapes.contains_key(&name) {
            return Ok(Speakers::One);
        }
        let gin_channels = self.three(&name)?[1];
        self.check("gin_channels", gin_channels)?;
        let Some(shape) = self.shapes.get(EMBEDDING) else {
            return Ok(Speakers::Features { gin_channels });
        };
        match shape.as_slice() {
            &[n_speakers, _] => Ok(Speakers::Embedded {
                n_speakers,
                gin_channels,
            }),
            found => Err(HyperparametersError::Shape {
                name: EMBEDDING.into(),
                expected: format!("shape [speakers, {gin_channels}]"),
                found: found.to_vec(),
            }),
        }
    }

    fn sound(&self) -> Result<Sound, HyperparametersError> {
        let hparams = self.hparams;
        let preemphasis = match hparams.text("preprocess")? {
            None | Some("" | "none") => 0.0,
            Some("preemphasis") => PREEMPHASIS,
            Some(other) => return stated("preprocess", "preemphasis or nothing", other),
        };
        let gain = hparams.number("global_gain_scale")?;
        Ok(Sound {
            sample_rate: hparams.sample_rate()?,
            preemphasis,
            // Numbers that are not positive leave sound alone.
            global_gain_scale: gain.filter(|&gain| gain > 0.0).unwrap_or(1.0),
        })
    }

    fn upsampling(&self) -> Result<Option<Upsampling>, HyperparametersError> {
        let hop_size = self.hparams.count("hop_size")?;
        let has = |start: &str| self.shapes.keys().any(|name| name.starts_with(start));
        let upsampling = if has("upsample_conv.") {
            self.transposed()?
        } else if has("upsample_net.") {
            self.stretched()?
        } else {
            let Some(hop) = hop_size.filter(|&hop| hop > 0) else {
                return Ok(None);
            };
            return Ok(Some(Upsampling {
                network: UpsamplingNetwork::Repeat,
                upsample_scales: vec![hop],
                freq_axis_kernel_size: 1,
                activation: UpsamplingActivation::None,
                cin_pad: 0,
            }));
        };
        self.check("hop_size", upsampling.hop_size())?;
        Ok(Some(upsampling))
    }

    /// The filters of the layers: mel channels and frames seen.
    fn kernels(
        &self,
        name: impl Fn(usize) -> String,
    ) -> Result<Vec<[usize; 2]>, HyperparametersError> {
        let mut kernels = Vec::new();
        while let Some(shape) = self.shapes.get(&name(kernels.len())) {
            let &[1, 1, freq, width] = shape.as_slice() else {
                return Err(HyperparametersError::Shape {
                    name: name(kernels.len()),
                    expected: "shape [1, 1, channels seen, frames seen]".into(),
                    found: shape.clone(),
                });
            };
            kernels.push([freq, width]);
        }
        match kernels.is_empty() {
            true => Err(HyperparametersError::Missing {
                name: name(0),
                family: FAMILY,
            }),
            false => Ok(kernels),
        }
    }

    fn transposed(&self) -> Result<Upsampling, HyperparametersError> {
        let kernels = self.kernels(|layer| format!("upsample_conv.{}.weight", 2 * layer))?;
        let scales: Vec<usize> = kernels.iter().map(|[_, width]| *width).collect();
        self.check_scales(self.hparams, &scales)?;
        Ok(Upsampling {
            network: UpsamplingNetwork::Transposed,
            upsample_scales: scales,
            freq_axis_kernel_size: kernels[0][0],
            activation: UpsamplingActivation::Relu,
            cin_pad: 0,
        })
    }

    fn stretched(&self) -> Result<Upsampling, HyperparametersError> {
        let params = self.hparams.within("upsample_params");
        let (network, layers) = match self.shapes.contains_key(CONV_IN) {
            true => (UpsamplingNetwork::ConvIn, "upsample_net.upsample.up_layers"),
            false => (UpsamplingNetwork::Stretch, "upsample_net.up_layers"),
        };
        // Activations are numbered among the layers: with them the second filter is number 4.
        let activated = self.shapes.contains_key(&format!("{layers}.4.weight"));
        let plain = self.shapes.contains_key(&format!("{layers}.3.weight"));
        let activation = self.activation(params, activated)?;
        if plain && activation != UpsamplingActivation::None {
            let expected = "none, as the numbers of the layers show";
            return stated("upsample_activation", expected, "another");
        }
        let step = if activated { 3 } else { 2 };
        let kernels = self.kernels(|layer| format!("{layers}.{}.weight", step * layer + 1))?;
        let scales: Vec<usize> = kernels.iter().map(|[_, width]| width / 2).collect();
        self.check_scales(params, &scales)?;
        let mode = params.text("mode")?.unwrap_or("nearest");
        if mode != "nearest" {
            return stated("mode", "nearest", mode);
        }
        let cin_pad = match network {
            UpsamplingNetwork::ConvIn => self.three(CONV_IN)?[2] / 2,
            _ => self.hparams.count("cin_pad")?.unwrap_or(0),
        };
        self.check("cin_pad", cin_pad)?;
        Ok(Upsampling {
            network,
            upsample_scales: scales,
            freq_axis_kernel_size: kernels[0][0],
            activation,
            cin_pad,
        })
    }

    /// What follows each upsampling layer; `activated` where the tensors show that something does.
    fn activation(
        &self,
        params: Hparams,
        activated: bool,
    ) -> Result<UpsamplingActivation, HyperparametersError> {
        let name = "upsample_activation";
        let which = match (params.text(name)?, activated) {
            (None, false) => return Ok(UpsamplingActivation::None),
            (Some("none") | None, true) => {
                return stated(
                    name,
                    "one in the original's JSON of hyperparameters (hparams.json beside the \
                     model): the tensors show that there is one, not which",
                    "none",
                );
            }
            (Some(which), _) => which,
        };
        match which {
            "none" => Ok(UpsamplingActivation::None),
            "ReLU" => Ok(UpsamplingActivation::Relu),
            "LeakyReLU" => {
                let params = params.within("upsample_activation_params");
                // PyTorch's default.
                let slope = params.number("negative_slope")?.unwrap_or(0.01);
                Ok(UpsamplingActivation::LeakyRelu(slope))
            }
            other => stated(name, "none, ReLU or LeakyReLU", other),
        }
    }

    /// Checks that the JSON does not state other scales than the filters show.
    fn check_scales(
        &self,
        stated_by: Hparams,
        shown: &[usize],
    ) -> Result<(), HyperparametersError> {
        match stated_by.counts("upsample_scales")? {
            Some(found) if found != shown => stated(
                "upsample_scales",
                format!("{shown:?} in the JSON of hyperparameters, as the tensors show"),
                format!("{found:?}"),
            ),
            _ => Ok(()),
        }
    }
}
