//! What the network is: hyperparameters, layers under their checkpoint names, folded weights and
//! the layer plan. No arithmetic beyond weight-norm folding happens here; the backends walk the
//! plan.

mod cost;
mod hyperparameters;
mod layers;
mod plan;
mod weights;

pub use cost::MultiplyAdds;
pub(crate) use hyperparameters::check_side;
pub use hyperparameters::{Hyperparameters, HyperparametersError};
pub use layers::{Block, BlockPair, Layer, LayerId, LayerKind, Layers, Stack, StackPair};
pub use plan::{Activation, ActivationId, Epilogue, Form, LEVELS, Phase, Plan, Step, StepId, Term};
pub use weights::{FoldedLayer, Weights, WeightsError};
