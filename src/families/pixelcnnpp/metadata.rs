//! The JSON of the numbers that fix a PixelCNN++: what model files carry under the metadata key
//! `fastpix`.

use serde::{Deserialize, Serialize};

use super::dialect::Dialect;
use super::hyperparameters::LEVELS;
use super::{Hyperparameters, MODEL};
use crate::network::Condition;

/// The JSON form: the original program's names, 0 where a number does not apply. What is as in the
/// original is left out, and files from before it could be otherwise do not have it.
#[derive(Serialize, Deserialize)]
pub(super) struct Metadata {
    model: String,
    #[serde(default = "original_levels", skip_serializing_if = "is_original")]
    levels: usize,
    nr_resnet: usize,
    nr_filters: usize,
    nr_logistic_mix: usize,
    channels: usize,
    #[serde(default)]
    classes: usize,
    /// Length of the vector of the condition.
    #[serde(default, skip_serializing_if = "is_zero")]
    vector: usize,
    #[serde(default, skip_serializing_if = "is_zero")]
    map_channels: usize,
    #[serde(default)]
    height: usize,
    #[serde(default)]
    width: usize,
    #[serde(default, skip_serializing_if = "is_originals")]
    dialect: Dialect,
}

fn original_levels() -> usize {
    LEVELS
}

fn is_original(levels: &usize) -> bool {
    *levels == LEVELS
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn is_originals(dialect: &Dialect) -> bool {
    *dialect == Dialect::original()
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
            classes: hyper.condition.classes().unwrap_or(0),
            vector: hyper.condition.vector().unwrap_or(0),
            map_channels: hyper.map_channels.unwrap_or(0),
            height,
            width,
            dialect: hyper.dialect,
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
        let condition = match (metadata.classes, metadata.vector) {
            (0, 0) => Condition::None,
            (classes, 0) => Condition::Class(classes),
            (0, length) => Condition::Vector(length),
            (classes, _) => {
                return Err(format!(
                    "classes: expected 0 beside a vector, found {classes}"
                ));
            }
        };
        let hyper = Self {
            levels: metadata.levels,
            nr_resnet: metadata.nr_resnet,
            nr_filters: metadata.nr_filters,
            nr_mix: metadata.nr_logistic_mix,
            channels: metadata.channels,
            condition,
            map_channels: (metadata.map_channels > 0).then_some(metadata.map_channels),
            image_size: (metadata.height > 0 || metadata.width > 0)
                .then_some((metadata.height, metadata.width)),
            dialect: metadata.dialect,
        };
        hyper.validate().map_err(|error| error.to_string())?;
        Ok(hyper)
    }
}
