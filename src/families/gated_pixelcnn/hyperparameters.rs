//! The numbers that fix a Gated PixelCNN.

use std::fmt;

use crate::families::HyperparametersError;
use crate::network::{Condition, InputEncoding, LARGEST_SIDE, LayerId, OutputDistribution};

/// The largest value accepted for any size read from a file: far above every published model, low
/// enough that no product of a few of them overflows.
const LARGEST: usize = 1 << 16;
/// The most blocks.
const MOST_BLOCKS: usize = 1 << 12;
/// The largest kernel of a prior over codes.
const LARGEST_KERNEL: usize = 63;
/// The largest dilation: rows and columns around an image grow with it.
const LARGEST_DILATION: usize = 256;
/// The most channels of an image.
const MOST_CHANNELS: usize = 16;
/// Codes of 8-bit pixels.
pub(super) const PIXEL_CODES: usize = 256;

/// Hyperparameters of a Gated PixelCNN (van den Oord et al. 2016, arXiv 1606.05328).
///
/// Serialised to JSON with the names of the originals' own parameters; this is what model files
/// carry under the metadata key `fastpix`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(
    into = "super::metadata::Metadata",
    try_from = "super::metadata::Metadata"
)]
pub struct Hyperparameters {
    /// Which original, and the numbers that only it has.
    pub variant: Variant,
    /// Channels of either stack, 1 to 65,536; a gate has twice as many inputs.
    pub dim: usize,
    /// The image size (height, width) the model was trained on, where the file says so. Any size
    /// can be sampled.
    pub image_size: Option<(usize, usize)>,
}

/// The originals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Variant {
    /// `GatedPixelCNN` of ritheshkumar95/pytorch-vqvae.
    Codes(CodePrior),
    /// `PixelCNN` of tutorial 12 of the UvA deep learning course (phlippe/uvadlc_notebooks).
    Pixels(PixelModel),
}

/// A prior over the codes of a vector quantiser. Its first block is masked and has no residual.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CodePrior {
    /// Codes, 2 to 65,536; the original's `input_dim`.
    pub codes: usize,
    /// Blocks, 1 to 4,096; the original's `n_layers`.
    pub layers: usize,
    /// Classes, 1 to 65,536; the original's `n_classes`. None for descendants of it without class
    /// embeddings.
    pub classes: Option<usize>,
    /// Kernel of the first block, odd, 3 to 63; 7 in the original.
    pub first_kernel: usize,
    /// Kernel of the other blocks, odd, 3 to 63; 3 in the original.
    pub kernel: usize,
    /// Channels between the two layers of the head, 1 to 65,536; 512 in the original.
    pub hidden: usize,
}

/// A model of 8-bit pixels, one of 256 classes per channel. Two plain convolutions come before its
/// blocks, whose kernels are 3.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PixelModel {
    /// Channels of the image, 1 to 16; the original's `c_in`.
    pub channels: usize,
    /// Dilation of each block, 1 to 256; at most 4,096 blocks.
    pub dilations: Vec<usize>,
    /// Whether the channels of a pixel are drawn one after the other, each seeing those before it
    /// (red, then green, then blue): the features of the horizontal stack are as many groups of
    /// equal size, so that `dim` is a multiple of `channels`. The original has no such models; the
    /// paper's are.
    pub rgb_groups: bool,
}

impl Hyperparameters {
    /// Those of the prior that pytorch-vqvae trains by default: 512 codes on a 32x32 grid, dim 64,
    /// 15 layers, 10 classes.
    pub fn vqvae_prior() -> Self {
        Self {
            variant: Variant::Codes(CodePrior {
                codes: 512,
                layers: 15,
                classes: Some(10),
                first_kernel: 7,
                kernel: 3,
                hidden: 512,
            }),
            dim: 64,
            image_size: Some((32, 32)),
        }
    }

    /// Those of the tutorial's model of MNIST: 28x28 gray pixels, 64 hidden channels.
    pub fn uva_tutorial() -> Self {
        Self {
            variant: Variant::Pixels(PixelModel {
                channels: 1,
                dilations: PixelModel::DILATIONS.to_vec(),
                rgb_groups: false,
            }),
            dim: 64,
            image_size: Some((28, 28)),
        }
    }

    /// Checks every range stated on the fields.
    ///
    /// # Errors
    /// Names the first number out of range.
    pub fn validate(&self) -> Result<(), HyperparametersError> {
        let range = |name, expected: &str, found| {
            Err(HyperparametersError::Range {
                name,
                expected: expected.to_owned(),
                found,
            })
        };
        let dim = ("dim", 1, LARGEST, self.dim);
        let sizes = match &self.variant {
            Variant::Codes(prior) => vec![
                ("codes", 2, LARGEST, prior.codes),
                ("layers", 1, MOST_BLOCKS, prior.layers),
                ("classes", 1, LARGEST, prior.classes.unwrap_or(1)),
                ("hidden", 1, LARGEST, prior.hidden),
                ("first_kernel", 3, LARGEST_KERNEL, prior.first_kernel),
                ("kernel", 3, LARGEST_KERNEL, prior.kernel),
                dim,
            ],
            Variant::Pixels(model) => vec![
                ("channels", 1, MOST_CHANNELS, model.channels),
                ("blocks", 1, MOST_BLOCKS, model.dilations.len()),
                dim,
            ],
        };
        for (name, least, most, found) in sizes {
            if !(least..=most).contains(&found) {
                return range(name, &format!("{least} to {most}"), found);
            }
        }
        match &self.variant {
            Variant::Codes(prior) => {
                for (name, kernel) in [
                    ("first_kernel", prior.first_kernel),
                    ("kernel", prior.kernel),
                ] {
                    if kernel.is_multiple_of(2) {
                        return range(name, "an odd number", kernel);
                    }
                }
            }
            Variant::Pixels(model) => {
                let within = |dilation: &&usize| !(1..=LARGEST_DILATION).contains(*dilation);
                if let Some(&found) = model.dilations.iter().find(within) {
                    return range("dilations", &format!("1 to {LARGEST_DILATION} each"), found);
                }
                if model.rgb_groups && !self.dim.is_multiple_of(model.channels) {
                    let expected = format!("a multiple of {} channels", model.channels);
                    return range("dim", &expected, self.dim);
                }
            }
        }
        let (height, width) = self.image_size.unwrap_or((1, 1));
        for (name, side) in [("height", height), ("width", width)] {
            if !(1..=LARGEST_SIDE).contains(&side) {
                return range(name, &format!("1 to {LARGEST_SIDE}"), side);
            }
        }
        Ok(())
    }

    /// What an image is conditioned on.
    pub(super) fn condition(&self) -> Condition {
        match &self.variant {
            Variant::Codes(prior) => prior.classes.map_or(Condition::None, Condition::Class),
            Variant::Pixels(_) => Condition::None,
        }
    }

    /// How values become channels; `table` is the layer of the embedding.
    pub(super) fn input(&self, table: LayerId) -> InputEncoding {
        match &self.variant {
            Variant::Codes(prior) => InputEncoding::Embedding {
                classes: prior.codes,
                channels: self.dim,
                table,
            },
            Variant::Pixels(_) => InputEncoding::Scaled {
                codes: PIXEL_CODES,
                limit: 1.0,
                ones: false,
            },
        }
    }

    /// What a stage of a pixel is drawn from.
    pub(super) fn distribution(&self) -> OutputDistribution {
        match &self.variant {
            Variant::Codes(prior) => OutputDistribution::Categorical {
                classes: prior.codes,
                channels: 1,
            },
            Variant::Pixels(model) => OutputDistribution::Categorical {
                classes: PIXEL_CODES,
                channels: model.channels / model.groups(),
            },
        }
    }

    /// How many parts the features of the horizontal stack fall into, each for a stage of the pixel.
    pub(super) fn groups(&self) -> usize {
        match &self.variant {
            Variant::Codes(_) => 1,
            Variant::Pixels(model) => model.groups(),
        }
    }

    /// Parameters of the model as the original counts them: those under masks too.
    pub fn parameter_count(&self) -> usize {
        let modules = super::layers::Layers::new(self).modules;
        let tensors = modules.iter().flat_map(|module| module.tensors());
        tensors
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// What there is to say about the model.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let stacks = "vertical and horizontal, gates of tanh and sigmoid".to_owned();
        let mut facts = vec![("stacks", stacks)];
        match &self.variant {
            Variant::Codes(prior) => {
                let kernels = format!("{}, then {}", prior.first_kernel, prior.kernel);
                let classes = prior.classes;
                facts.extend([
                    ("codes", prior.codes.to_string()),
                    ("layers", prior.layers.to_string()),
                    ("dim", self.dim.to_string()),
                    ("kernels", kernels),
                    ("hidden", prior.hidden.to_string()),
                    (
                        "classes",
                        classes.map_or("none: not class-conditional".into(), |n| n.to_string()),
                    ),
                ]);
            }
            Variant::Pixels(model) => {
                let within = match (model.channels, model.rgb_groups) {
                    (1, _) => "",
                    (_, true) => ", one after the other",
                    (_, false) => ", independent of each other",
                };
                facts.extend([
                    ("hidden channels", self.dim.to_string()),
                    ("dilations", model.dilations_in_words()),
                    ("channels", format!("{}{within}", model.channels)),
                ]);
            }
        }
        let size = self.image_size;
        let size = size.map_or("not stated".into(), |(h, w)| format!("{h}x{w}"));
        facts.push(("image size", size));
        facts
    }
}

impl PixelModel {
    /// The dilations of the tutorial, which its files do not hold.
    pub const DILATIONS: [usize; 7] = [1, 2, 1, 4, 1, 2, 1];

    /// Groups of features of the horizontal stack.
    fn groups(&self) -> usize {
        match self.rgb_groups {
            true => self.channels,
            false => 1,
        }
    }

    pub(super) fn dilations_in_words(&self) -> String {
        let words: Vec<String> = self.dilations.iter().map(usize::to_string).collect();
        words.join(" ")
    }
}

impl fmt::Display for Hyperparameters {
    /// A short description, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variant {
            Variant::Codes(prior) => {
                match prior.classes {
                    Some(classes) => write!(f, "a class-conditional ({classes} classes)")?,
                    None => write!(f, "an unconditional")?,
                }
                write!(
                    f,
                    " Gated PixelCNN over {} codes, {} layers of dim {}",
                    prior.codes, prior.layers, self.dim
                )
            }
            Variant::Pixels(model) => {
                let channels = match (model.channels, model.rgb_groups) {
                    (1, _) => "gray".to_owned(),
                    (n, true) => format!("{n} channels drawn one after the other"),
                    (n, false) => format!("{n} independent channels"),
                };
                write!(
                    f,
                    "a Gated PixelCNN of 8-bit pixels, {channels}, dim {}, dilations {}",
                    self.dim,
                    model.dilations_in_words(),
                )
            }
        }
    }
}
