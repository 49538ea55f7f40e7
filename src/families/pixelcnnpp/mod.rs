//! PixelCNN++ (Salimans et al. 2017, arXiv 1701.05517).
//!
//! Two stacks of gated resnets keep the order of pixels: the vertical one `u` sees the rows above
//! through 2x3 filters, the horizontal one `ul` the row above and the pixels to the left through
//! 2x2 filters, and is fed by the vertical one. Both go up through some **levels** of resolution,
//! each half of the one before, and down again, with skip connections between.
//!
//! Those who wrote it again made other choices: [`Dialect`] lists them.

mod builder;
mod dialect;
pub(crate) mod files;
mod flax;
mod hyperparameters;
mod keras;
mod layers;
mod metadata;
mod names;
mod port;
mod port_names;
mod stated;
#[cfg(test)]
mod tests;
mod weights;

pub use dialect::{AuxGoingUp, Dialect, InnerActivation, Layout};
pub use hyperparameters::Hyperparameters;
pub use layers::{Block, BlockPair, Layer, LayerKind, Layers, Stack, StackPair};

use super::{Tensors, WeightsError, tensors};
use crate::network::{Graph, Info, Medium, Network, Weights};

/// What people call the family.
pub(crate) const FAMILY: &str = "PixelCNN++";
/// The family in metadata.
pub(crate) const MODEL: &str = "pixelcnn++";

/// The structure of the model with these hyperparameters.
///
/// # Errors
/// When a hyperparameter is out of range.
pub fn graph(hyper: &Hyperparameters) -> Result<Graph, WeightsError> {
    hyper.validate()?;
    Ok(builder::graph(hyper, &Layers::new(hyper))?)
}

/// Makes the network of a model from its tensors, giving each one back to the system once it is
/// used: the weights are in memory only once.
///
/// # Errors
/// Names the first missing, misshapen, superfluous or non-finite tensor.
pub fn network(hyper: &Hyperparameters, tensors: Tensors) -> Result<Network, WeightsError> {
    weights::check(hyper, &tensors::shapes(&tensors))?;
    let layers = Layers::new(hyper);
    let mut weights = weights::fold(&layers, tensors)?;
    if hyper.dialect.ones {
        builder::fold_shifted_biases(&layers, &mut weights);
    }
    finish(hyper, &layers, weights)
}

/// Checks that tensors of these shapes are exactly those of the model.
///
/// # Errors
/// Names the first missing, misshapen or superfluous tensor.
pub use weights::check;

/// A model with random weights of about the size that training starts from: `V` uniform, `g`
/// around 1, `b` around 0. For benchmarks and tests, where only the shape matters.
///
/// # Errors
/// When a hyperparameter is out of range.
pub fn random(hyper: &Hyperparameters, seed: u64) -> Result<Network, WeightsError> {
    hyper.validate()?;
    network(hyper, weights::random(&Layers::new(hyper), seed))
}

fn finish(
    hyper: &Hyperparameters,
    layers: &Layers,
    weights: Weights,
) -> Result<Network, WeightsError> {
    let info = Info {
        family: FAMILY,
        summary: hyper.to_string(),
        hyperparameters: serde_json::to_value(hyper).unwrap_or_default(),
        image_size: hyper.image_size,
        medium: Medium::Pixels,
    };
    Ok(Network::new(builder::graph(hyper, layers)?, weights, info)?)
}
