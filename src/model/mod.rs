//! What the network is: hyperparameters, layers under their checkpoint names, folded weights and
//! the layer plan. No arithmetic beyond weight-norm folding happens here; the backends walk the
//! plan.

mod hyperparameters;
mod layers;
mod weights;

pub use hyperparameters::{Hyperparameters, HyperparametersError};
pub use layers::{Block, BlockPair, Layer, LayerId, LayerKind, Layers, Stack, StackPair};
pub use weights::{FoldedLayer, Weights, WeightsError};
