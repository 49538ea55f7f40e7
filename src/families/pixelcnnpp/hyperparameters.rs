//! The numbers that fix a PixelCNN++: read from a model file's metadata or inferred from its
//! tensors.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::families::HyperparametersError;
use crate::network::{LARGEST_SIDE, LogisticMixture, OutputDistribution};

/// Levels of the original program, and of model files that do not say.
const LEVELS: usize = 3;
/// The most levels.
const MOST_LEVELS: usize = 4;

/// The largest value accepted for any size read from a file: far above every published model, low
/// enough that no product of two of them overflows.
const LARGEST: usize = 1 << 16;

/// Hyperparameters of a PixelCNN++ (Salimans et al. 2017, arXiv 1701.05517).
///
/// Serialised to JSON with the key names of the original program (`nr_resnet`, `nr_filters`,
/// `nr_logistic_mix`); this is what model files carry under the metadata key `fastpix`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Metadata", try_from = "Metadata")]
pub struct Hyperparameters {
    /// Levels of resolution, each half of the one before: 1 to 4; 3 in the original.
    pub levels: usize,
    /// Gated resnet blocks per level on the way up (the way down has one more at every level but
    /// the coarsest), at least 1.
    pub nr_resnet: usize,
    /// Channels of the residual stream, at least 1.
    pub nr_filters: usize,
    /// Logistic mixture components, at least 1.
    pub nr_mix: usize,
    /// Image channels: 1 or 3.
    pub channels: usize,
    /// Number of classes of a class-conditional model.
    pub classes: Option<usize>,
    /// The image size (height, width) the model was trained on, where the file says so. Any size
    /// whose sides are multiples of `2^(levels - 1)` can be sampled.
    pub image_size: Option<(usize, usize)>,
}

impl Hyperparameters {
    /// Those of the published CIFAR-10 model (Salimans et al. 2017, arXiv 1701.05517): 5 blocks per
    /// level, 160 filters, 10 mixtures, 32x32.
    pub fn published_cifar() -> Self {
        Self {
            levels: LEVELS,
            nr_resnet: 5,
            nr_filters: 160,
            nr_mix: 10,
            channels: 3,
            classes: None,
            image_size: Some((32, 32)),
        }
    }

    /// Checks every range stated on the fields.
    pub fn validate(&self) -> Result<(), HyperparametersError> {
        let range = |name, expected: &str, found| {
            Err(HyperparametersError::Range {
                name,
                expected: expected.to_owned(),
                found,
            })
        };
        if !(1..=MOST_LEVELS).contains(&self.levels) {
            return range("levels", "1 to 4", self.levels);
        }
        for (name, found) in [
            ("nr_resnet", self.nr_resnet),
            ("nr_filters", self.nr_filters),
            ("nr_logistic_mix", self.nr_mix),
        ] {
            if !(1..=LARGEST).contains(&found) {
                return range(name, "1 to 65536", found);
            }
        }
        if self.channels != 1 && self.channels != 3 {
            return range("channels", "1 or 3", self.channels);
        }
        if let Some(classes) = self.classes
            && !(1..=LARGEST).contains(&classes)
        {
            return range("classes", "1 to 65536", classes);
        }
        if let Some((height, width)) = self.image_size {
            for (name, side) in [("height", height), ("width", width)] {
                self.check_side(name, side)?;
            }
        }
        Ok(())
    }

    /// What a pixel is drawn from.
    pub fn distribution(&self) -> OutputDistribution {
        let mixture = LogisticMixture::original(self.nr_mix, self.channels);
        OutputDistribution::LogisticMixture(mixture)
    }

    /// Numbers per pixel that the network puts out: `10 * nr_mix` for three channels (1 logit, 3
    /// means, 3 log-scales, 3 coefficients per mixture), `3 * nr_mix` for one.
    pub fn params_per_pixel(&self) -> usize {
        self.distribution().parameters()
    }

    /// What there is to say about the model.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let levels = match self.levels {
            1 => "1 level".to_owned(),
            levels => format!("{levels} levels"),
        };
        let classes = self.classes;
        let size = self.image_size;
        vec![
            ("stacks", format!("vertical and horizontal, {levels} each")),
            ("nr_resnet", self.nr_resnet.to_string()),
            ("filters", self.nr_filters.to_string()),
            ("mixtures", self.nr_mix.to_string()),
            ("channels", self.channels.to_string()),
            (
                "classes",
                classes.map_or("none: not class-conditional".into(), |n| n.to_string()),
            ),
            (
                "image size",
                size.map_or("not stated".into(), |(h, w)| format!("{h}x{w}")),
            ),
        ]
    }

    /// Checks one side of an image.
    fn check_side(&self, name: &'static str, side: usize) -> Result<(), HyperparametersError> {
        let multiple = 1 << (self.levels - 1);
        if side == 0 || !side.is_multiple_of(multiple) || side > LARGEST_SIDE {
            return Err(HyperparametersError::Range {
                name,
                expected: format!("a multiple of {multiple} from {multiple} to {LARGEST_SIDE}"),
                found: side,
            });
        }
        Ok(())
    }

    /// Infers the hyperparameters from the shapes of a model's tensors under their canonical
    /// names (`conv2d_0/V`, ...). The image size cannot be inferred and is `None`.
    ///
    /// # Errors
    /// When a tensor that decides a number is missing or misshapen. Whether *all* tensors are
    /// there and fit is checked when the weights are folded.
    pub fn infer(shapes: &BTreeMap<String, Vec<usize>>) -> Result<Self, HyperparametersError> {
        let weight = |layer: &str| {
            ["V", "W"]
                .iter()
                .find_map(|kind| {
                    let name = format!("{layer}/{kind}");
                    shapes.get(&name).map(|shape| (name, shape))
                })
                .ok_or_else(|| missing(format!("{layer}/V")))
        };
        let (name, shape) = weight("conv2d_0")?;
        let &[2, 3, cin @ (2 | 4), nr_filters] = shape.as_slice() else {
            return Err(HyperparametersError::Shape {
                name,
                expected: "shape [2, 3, channels + 1 (2 or 4), filters]".into(),
                found: shape.clone(),
            });
        };
        let channels = cin - 1;
        // Two deconvolutions per level but the coarsest.
        let count = |kind: &str| {
            let layers = (0..).take_while(|i| weight(&format!("{kind}_{i}")).is_ok());
            layers.count()
        };
        let (convs, deconvs) = (count("conv2d"), count("deconv2d"));
        if deconvs % 2 != 0 {
            return Err(missing(format!("deconv2d_{deconvs}/V")));
        }
        let levels = deconvs / 2 + 1;
        // 3 of the input; per level 8 per block, and 6 between two levels.
        let (fixed, per_block) = (3 + 6 * (levels - 1), 8 * levels);
        if convs < fixed + per_block || (convs - fixed) % per_block != 0 {
            // The first name that a model of the next whole size would need.
            return Err(missing(format!("conv2d_{convs}/V")));
        }
        let nr_resnet = (convs - fixed) / per_block;
        let output = (3 * nr_resnet + 2) * levels - 2;
        let (name, shape) = weight(&format!("dense_{output}"))?;
        let per_mix = if channels == 3 { 10 } else { 3 };
        let nr_mix = match shape.as_slice() {
            &[_, cout] if cout > 0 && cout % per_mix == 0 => cout / per_mix,
            _ => {
                return Err(HyperparametersError::Shape {
                    name,
                    expected: format!("shape [filters, a multiple of {per_mix}]"),
                    found: shape.clone(),
                });
            }
        };
        let name = "conditional_weights_0/hw";
        let classes = match shapes.get(name).map(Vec::as_slice) {
            None => None,
            Some(&[classes, _]) => Some(classes),
            Some(found) => {
                return Err(HyperparametersError::Shape {
                    name: name.into(),
                    expected: "shape [classes, 2 * filters]".into(),
                    found: found.to_vec(),
                });
            }
        };
        let inferred = Self {
            levels,
            nr_resnet,
            nr_filters,
            nr_mix,
            channels,
            classes,
            image_size: None,
        };
        inferred.validate()?;
        Ok(inferred)
    }
}

fn missing(name: String) -> HyperparametersError {
    HyperparametersError::Missing {
        name,
        family: super::FAMILY,
    }
}

impl fmt::Display for Hyperparameters {
    /// A short description, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.classes {
            Some(classes) => write!(f, "a class-conditional ({classes} classes)")?,
            None => write!(f, "an unconditional")?,
        }
        write!(
            f,
            " PixelCNN++ of nr_resnet {}, {} filters, {} mixtures, {} channels",
            self.nr_resnet, self.nr_filters, self.nr_mix, self.channels
        )?;
        match self.levels {
            LEVELS => Ok(()),
            1 => write!(f, ", 1 level"),
            levels => write!(f, ", {levels} levels"),
        }
    }
}

/// The JSON form: the original program's names, 0 where a number does not apply.
#[derive(Serialize, Deserialize)]
struct Metadata {
    model: String,
    #[serde(default = "original_levels", skip_serializing_if = "is_original")]
    levels: usize,
    nr_resnet: usize,
    nr_filters: usize,
    nr_logistic_mix: usize,
    channels: usize,
    #[serde(default)]
    classes: usize,
    #[serde(default)]
    height: usize,
    #[serde(default)]
    width: usize,
}

/// The family in metadata.
pub(crate) const MODEL: &str = "pixelcnn++";

fn original_levels() -> usize {
    LEVELS
}

fn is_original(levels: &usize) -> bool {
    *levels == LEVELS
}

impl From<Hyperparameters> for Metadata {
    fn from(hyper: Hyperparameters) -> Self {
        let (height, width) = hyper.image_size.unwrap_or((0, 0));
        Self {
            model: MODEL.into(),
            levels: hyper.levels,
            nr_resnet: hyper.nr_resnet,
            nr_filters: hyper.nr_filters,
            nr_logistic_mix: hyper.nr_mix,
            channels: hyper.channels,
            classes: hyper.classes.unwrap_or(0),
            height,
            width,
        }
    }
}

impl TryFrom<Metadata> for Hyperparameters {
    type Error = String;

    fn try_from(metadata: Metadata) -> Result<Self, String> {
        if metadata.model != MODEL {
            return Err(format!(
                "model: expected {MODEL:?}, found {:?}",
                metadata.model
            ));
        }
        let hyper = Self {
            levels: metadata.levels,
            nr_resnet: metadata.nr_resnet,
            nr_filters: metadata.nr_filters,
            nr_mix: metadata.nr_logistic_mix,
            channels: metadata.channels,
            classes: (metadata.classes > 0).then_some(metadata.classes),
            image_size: (metadata.height > 0 || metadata.width > 0)
                .then_some((metadata.height, metadata.width)),
        };
        hyper.validate().map_err(|error| error.to_string())?;
        Ok(hyper)
    }
}
