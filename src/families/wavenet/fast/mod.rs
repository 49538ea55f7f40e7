//! The model of tomlepaine/fast-wavenet: dilated causal convolutions of two taps and ReLUs on the
//! value of the sample, classes of equal width at the end. No gate, residual, skip or bias but the
//! last.

mod builder;
pub(super) mod files;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{LARGEST, check_range};
use crate::families::HyperparametersError;
use crate::network::{Companding, Medium};

pub(super) use builder::{fold, graph};

/// The program in metadata.
pub(super) const ORIGINAL: &str = "fast-wavenet";

/// The most layers of a block: the dilation of the last is `2^(layers - 1)`.
const MOST_LAYERS: usize = 17;

/// Hyperparameters of the original, by its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FastWaveNet {
    /// Blocks, in each of which dilations start from 1 again; at least 1.
    pub num_blocks: usize,
    /// Layers of a block, 1 to 17.
    pub num_layers: usize,
    /// Channels of each layer, at least 1.
    pub num_hidden: usize,
    /// Classes of equal width, 2 to 65536.
    pub num_classes: usize,
    /// Samples per second, where it is known: checkpoints do not tell.
    #[serde(default)]
    pub sample_rate: Option<u32>,
}

impl FastWaveNet {
    /// The size that the original's notebook trains.
    pub fn published() -> Self {
        Self {
            num_blocks: 2,
            num_layers: 14,
            num_hidden: 128,
            num_classes: 256,
            sample_rate: None,
        }
    }

    /// Checks every range stated on the fields.
    ///
    /// # Errors
    /// Names the first number out of range.
    pub fn validate(&self) -> Result<(), HyperparametersError> {
        check_range("num_blocks", self.num_blocks, 1..=LARGEST)?;
        check_range("num_layers", self.num_layers, 1..=MOST_LAYERS)?;
        check_range("num_hidden", self.num_hidden, 1..=LARGEST)?;
        check_range("num_classes", self.num_classes, 2..=LARGEST)
    }

    /// Parameters of the model.
    pub fn parameter_count(&self) -> usize {
        let tensors = self.tensors(LARGEST).into_iter();
        tensors
            .map(|(_, shape)| shape.into_iter().product::<usize>())
            .sum()
    }

    /// How many samples before it decide one.
    pub fn receptive_field(&self) -> usize {
        self.num_blocks * ((1 << self.num_layers) - 1) + 1
    }

    /// Block, layer and input channels of each layer, from the input on.
    fn layers(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (layers, hidden) = (self.num_layers, self.num_hidden);
        let all = (0..self.num_blocks)
            .flat_map(move |block| (0..layers).map(move |layer| (block, layer)));
        all.map(move |(block, layer)| match (block, layer) {
            (0, 0) => (block, layer, 1),
            _ => (block, layer, hidden),
        })
    }

    /// The tensors of the model, no more than so many layers.
    pub(super) fn tensors(&self, most_layers: usize) -> Vec<(String, Vec<usize>)> {
        let hidden = self.num_hidden;
        let layers = self.layers().take(most_layers);
        let layers = layers.map(|(block, layer, inputs)| {
            let name = files::layer_name(block, layer);
            (name, vec![2, inputs, hidden])
        });
        let classes = self.num_classes;
        let output = [
            ("w".to_owned(), vec![1, hidden, classes]),
            ("b".to_owned(), vec![classes]),
        ];
        layers.chain(output).collect()
    }

    pub(super) fn medium(&self) -> Medium {
        Medium::Audio {
            sample_rate: self.sample_rate,
            companding: Companding::Linear,
            emphasis: 0.0,
            gain: 1.0,
        }
    }

    /// What there is to say about the model.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let rate = self.sample_rate;
        vec![
            ("original", "tomlepaine/fast-wavenet".to_owned()),
            (
                "layers",
                format!("{} blocks of {}", self.num_blocks, self.num_layers),
            ),
            ("hidden", self.num_hidden.to_string()),
            ("output", format!("{} linear classes", self.num_classes)),
            (
                "receptive field",
                format!("{} samples", self.receptive_field()),
            ),
            (
                "sample rate",
                rate.map_or("not stated".into(), |rate| format!("{rate} Hz")),
            ),
        ]
    }
}

impl fmt::Display for FastWaveNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a fast-wavenet of {} x {} layers, {} hidden, {} classes",
            self.num_blocks, self.num_layers, self.num_hidden, self.num_classes
        )
    }
}
