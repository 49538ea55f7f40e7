//! The JSON form of the hyperparameters: the names of the originals' own parameters, 0 where a
//! number does not apply.

use serde::{Deserialize, Serialize};

use super::{CodePrior, Hyperparameters, PixelModel, Variant};

/// The family in metadata.
pub(crate) const MODEL: &str = "gated_pixelcnn";

/// What files carry.
#[derive(Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "lowercase")]
pub(super) enum Metadata {
    Codes {
        model: String,
        input_dim: usize,
        dim: usize,
        n_layers: usize,
        #[serde(default)]
        n_classes: usize,
        first_kernel: usize,
        kernel: usize,
        hidden: usize,
        #[serde(default)]
        height: usize,
        #[serde(default)]
        width: usize,
    },
    Pixels {
        model: String,
        c_in: usize,
        c_hidden: usize,
        dilations: Vec<usize>,
        #[serde(default)]
        rgb_groups: bool,
        #[serde(default)]
        height: usize,
        #[serde(default)]
        width: usize,
    },
}

impl From<Hyperparameters> for Metadata {
    fn from(hyper: Hyperparameters) -> Self {
        let (height, width) = hyper.image_size.unwrap_or((0, 0));
        let model = MODEL.to_owned();
        match hyper.variant {
            Variant::Codes(prior) => Self::Codes {
                model,
                input_dim: prior.codes,
                dim: hyper.dim,
                n_layers: prior.layers,
                n_classes: prior.classes.unwrap_or(0),
                first_kernel: prior.first_kernel,
                kernel: prior.kernel,
                hidden: prior.hidden,
                height,
                width,
            },
            Variant::Pixels(pixels) => Self::Pixels {
                model,
                c_in: pixels.channels,
                c_hidden: hyper.dim,
                dilations: pixels.dilations,
                rgb_groups: pixels.rgb_groups,
                height,
                width,
            },
        }
    }
}

impl TryFrom<Metadata> for Hyperparameters {
    type Error = String;

    fn try_from(metadata: Metadata) -> Result<Self, String> {
        let (model, height, width, dim, variant) = match metadata {
            Metadata::Codes {
                model,
                input_dim,
                dim,
                n_layers,
                n_classes,
                first_kernel,
                kernel,
                hidden,
                height,
                width,
            } => {
                let prior = CodePrior {
                    codes: input_dim,
                    layers: n_layers,
                    classes: (n_classes > 0).then_some(n_classes),
                    first_kernel,
                    kernel,
                    hidden,
                };
                (model, height, width, dim, Variant::Codes(prior))
            }
            Metadata::Pixels {
                model,
                c_in,
                c_hidden,
                dilations,
                rgb_groups,
                height,
                width,
            } => {
                let pixels = PixelModel {
                    channels: c_in,
                    dilations,
                    rgb_groups,
                };
                (model, height, width, c_hidden, Variant::Pixels(pixels))
            }
        };
        if model != MODEL {
            return Err(format!("model: expected {MODEL:?}, found {model:?}"));
        }
        let hyper = Self {
            variant,
            dim,
            image_size: (height > 0 || width > 0).then_some((height, width)),
        };
        hyper.validate().map_err(|error| error.to_string())?;
        Ok(hyper)
    }
}
