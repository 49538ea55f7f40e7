//! The numbers that fix a PixelCNN++: read from a model file's metadata or inferred from its
//! tensors.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::dialect::{Dialect, Layout};
use super::metadata::Metadata;
use crate::families::HyperparametersError;
use crate::network::{Condition, LARGEST_SIDE, OutputDistribution};

/// Levels of the original program, and of model files that do not say.
pub(super) const LEVELS: usize = 3;
/// The most levels: beyond, the schedule would repeat after too many pixels.
const MOST_LEVELS: usize = 7;

/// The most channels of an image: far above every known model, and few enough that the coefficients
/// between them can be counted.
const MOST_CHANNELS: usize = 256;

/// The largest value accepted for any other size read from a file: far above every published model, low
/// enough that no product of two of them overflows.
const LARGEST: usize = 1 << 16;

/// Hyperparameters of a PixelCNN++ (Salimans et al. 2017, arXiv 1701.05517).
///
/// Serialised to JSON with the key names of the original program (`nr_resnet`, `nr_filters`,
/// `nr_logistic_mix`); this is what model files carry under the metadata key `fastpix`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Metadata", try_from = "Metadata")]
pub struct Hyperparameters {
    /// Levels of resolution, each half of the one before: 1 to 7; 3 in the original.
    pub levels: usize,
    /// Gated resnet blocks per level on the way up (the way down has one more at every level but
    /// the coarsest), at least 1.
    pub nr_resnet: usize,
    /// Channels of the residual stream, at least 1.
    pub nr_filters: usize,
    /// Logistic mixture components, at least 1.
    pub nr_mix: usize,
    /// Image channels, 1 to 256: the mean of each depends on those before.
    pub channels: usize,
    /// What an image is conditioned on as a whole, 1 to 65536 classes or numbers: a term of it is
    /// added within every block.
    pub condition: Condition,
    /// Channels of the map that an image is conditioned on, 1 to 65536. A 1x1 convolution of it is
    /// added where the term of the condition is; coarser levels look at its first row and column of
    /// those that belong to one of theirs.
    pub map_channels: Option<usize>,
    /// The image size (height, width) the model was trained on, where the file says so. Any size
    /// whose sides are multiples of `2^(levels - 1)` can be sampled.
    pub image_size: Option<(usize, usize)>,
    /// In what the implementation differs from the original.
    pub dialect: Dialect,
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
            condition: Condition::None,
            map_channels: None,
            image_size: Some((32, 32)),
            dialect: Dialect::original(),
        }
    }

    /// The defaults of TensorFlow Probability's `tfp.distributions.PixelCNN`, for 32x32 pixels of
    /// three channels: 5 blocks per level, 160 filters, 10 mixtures.
    pub fn tensorflow_probability() -> Self {
        Self {
            dialect: Dialect::tensorflow_probability(),
            ..Self::published_cifar()
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
            return range("levels", "1 to 7", self.levels);
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
        if !(1..=MOST_CHANNELS).contains(&self.channels) {
            return range("channels", "1 to 256", self.channels);
        }
        let condition = match self.condition {
            Condition::None => None,
            Condition::Class(classes) => Some(("classes", classes)),
            Condition::Vector(length) => Some(("vector", length)),
        };
        let map = self.map_channels.map(|channels| ("map_channels", channels));
        for (name, found) in condition.into_iter().chain(map) {
            if !(1..=LARGEST).contains(&found) {
                return range(name, "1 to 65536", found);
            }
        }
        self.dialect.validate(self.levels)?;
        if let Some((height, width)) = self.image_size {
            for (name, side) in [("height", height), ("width", width)] {
                self.check_side(name, side)?;
            }
        }
        Ok(())
    }

    /// What a pixel is drawn from.
    pub fn distribution(&self) -> OutputDistribution {
        self.dialect.distribution(self.nr_mix, self.channels)
    }

    /// Numbers per pixel that the network puts out: `10 * nr_mix` for three channels (1 logit, 3
    /// means, 3 log-scales, 3 coefficients per mixture), `3 * nr_mix` for one. Other numbers of
    /// channels have a few parameters that nothing uses in the original.
    pub fn params_per_pixel(&self) -> usize {
        self.distribution().parameters()
    }

    /// What there is to say about the model.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let levels = match self.levels {
            1 => "1 level".to_owned(),
            levels => format!("{levels} levels"),
        };
        let classes = self.condition.classes();
        let size = self.image_size;
        let mut facts = vec![
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
        ];
        if let Some(length) = self.condition.vector() {
            facts.push(("condition", format!("a vector of {length}")));
        }
        if let Some(channels) = self.map_channels {
            facts.push(("map", format!("{channels} channels per pixel")));
        }
        let differences = self.dialect.differences();
        if !differences.is_empty() {
            facts.push(("unlike original", differences.join("; ")));
        }
        facts
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
        let &[2, 3, cin @ (2..), nr_filters] = shape.as_slice() else {
            return Err(HyperparametersError::Shape {
                name,
                expected: "shape [2, 3, channels + 1, filters]".into(),
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
        let outputs = shape.get(1).filter(|_| shape.len() == 2);
        let Some(nr_mix) = outputs.and_then(|&outputs| mixtures(channels, outputs)) else {
            let per_mix = parameters_per_component(channels);
            return Err(HyperparametersError::Shape {
                name,
                expected: format!("shape [filters, a multiple of {per_mix}]"),
                found: shape.clone(),
            });
        };
        let term = |name: &str, expected: &str| match shapes.get(name).map(Vec::as_slice) {
            None => Ok(None),
            Some(&[rows, _]) => Ok(Some(rows)),
            Some(found) => Err(HyperparametersError::Shape {
                name: name.into(),
                expected: expected.into(),
                found: found.to_vec(),
            }),
        };
        let rows = term("conditional_weights_0/hw", "shape [classes, 2 * filters]")?;
        let map_channels = term("conditional_maps_0/hw", "shape [channels, 2 * filters]")?;
        let mut dialect = Dialect::original();
        dialect.condition_bias = shapes.contains_key("conditional_weights_0/b");
        let inferred = Self {
            levels,
            nr_resnet,
            nr_filters,
            nr_mix,
            channels,
            condition: rows.map_or(Condition::None, condition),
            map_channels,
            image_size: None,
            dialect,
        };
        inferred.validate()?;
        Ok(inferred)
    }
}

/// What a matrix of so many rows is multiplied by: tensors do not tell one of so many classes from as
/// many numbers. A class of one would be none.
pub(super) fn condition(rows: usize) -> Condition {
    match rows {
        1 => Condition::Vector(1),
        _ => Condition::Class(rows),
    }
}

/// Parameters per component in the original's order.
pub(super) fn parameters_per_component(channels: usize) -> usize {
    match channels {
        1..=MOST_CHANNELS => Layout::Original.of(1, channels).parameters,
        // Refused with the other ranges.
        _ => 1,
    }
}

/// How many components put out so many numbers in the original's order.
pub(super) fn mixtures(channels: usize, outputs: usize) -> Option<usize> {
    let per_mix = parameters_per_component(channels);
    (outputs > 0 && outputs.is_multiple_of(per_mix)).then(|| outputs / per_mix)
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
        match (self.condition, self.map_channels) {
            (Condition::Class(classes), _) => {
                write!(f, "a class-conditional ({classes} classes)")?;
            }
            (Condition::Vector(length), _) => write!(f, "a conditional (vector of {length})")?,
            (Condition::None, Some(_)) => write!(f, "a conditional (map)")?,
            (Condition::None, None) => write!(f, "an unconditional")?,
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
