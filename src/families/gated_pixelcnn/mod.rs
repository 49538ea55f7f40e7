//! Gated PixelCNN (van den Oord et al. 2016, "Conditional Image Generation with PixelCNN
//! Decoders", arXiv 1606.05328).
//!
//! Two stacks of blocks keep the order of pixels: the **vertical** one sees the rows above, the
//! **horizontal** one the pixels to the left and, in every block, what the vertical convolution
//! found before its gate. Both gates are `tanh(a) * sigmoid(b)` over two halves of the channels;
//! only the horizontal stack has residuals.
//!
//! There are two [originals](Variant): priors over the codes of a VQ-VAE, and models of 8-bit
//! pixels, whose channels are drawn independently or, with
//! [`rgb_groups`](PixelModel::rgb_groups), one after the other.

mod builder;
pub(crate) mod files;
mod hyperparameters;
mod layers;
mod metadata;
mod names;
#[cfg(test)]
mod tests;
mod weights;

use super::{Tensors, WeightsError, tensors};
use crate::network::{Graph, Info, Medium, Network};
use layers::Layers;

pub use hyperparameters::{CodePrior, Hyperparameters, PixelModel, Variant};
pub(crate) use metadata::MODEL;
pub use weights::check;

/// What people call the family.
pub(crate) const FAMILY: &str = "Gated PixelCNN";

/// The structure of the model with these hyperparameters.
///
/// # Errors
/// When a hyperparameter is out of range.
pub fn graph(hyper: &Hyperparameters) -> Result<Graph, WeightsError> {
    hyper.validate()?;
    Ok(builder::graph(hyper, &Layers::new(hyper))?)
}

/// Names and shapes of the model's tensors: those of the original's state dict, without buffers.
///
/// # Errors
/// When a hyperparameter is out of range.
pub fn tensor_shapes(hyper: &Hyperparameters) -> Result<Vec<(String, Vec<usize>)>, WeightsError> {
    hyper.validate()?;
    let modules = Layers::new(hyper).modules;
    Ok(modules.iter().flat_map(|module| module.tensors()).collect())
}

/// Makes the network of a model from its tensors, giving each one back to the system once it is
/// used. What lies under a mask is never read.
///
/// # Errors
/// Names the first missing, misshapen, superfluous or non-finite tensor.
pub fn network(hyper: &Hyperparameters, tensors: Tensors) -> Result<Network, WeightsError> {
    weights::check(hyper, &tensors::shapes(&tensors))?;
    let layers = Layers::new(hyper);
    let info = Info {
        family: FAMILY,
        summary: hyper.to_string(),
        hyperparameters: serde_json::to_value(hyper).unwrap_or_default(),
        image_size: hyper.image_size,
        medium: match hyper.variant {
            Variant::Codes(_) => Medium::Codes,
            Variant::Pixels(_) => Medium::Pixels,
        },
    };
    let graph = builder::graph(hyper, &layers)?;
    Ok(Network::new(graph, weights::fold(&layers, tensors)?, info)?)
}

/// A model with random weights under which activations keep about their size. For benchmarks and
/// tests, where only the shape matters.
///
/// # Errors
/// When a hyperparameter is out of range.
pub fn random(hyper: &Hyperparameters, seed: u64) -> Result<Network, WeightsError> {
    network(hyper, random_tensors(hyper, seed)?)
}

/// The tensors of [`random`].
///
/// # Errors
/// When a hyperparameter is out of range.
pub fn random_tensors(hyper: &Hyperparameters, seed: u64) -> Result<Tensors, WeightsError> {
    hyper.validate()?;
    Ok(weights::random(&Layers::new(hyper), seed))
}
