//! google/flax `examples/pixelcnn`, removed in January 2022: names, and weights that are normalised
//! over all but the output channels, also those of deconvolutions, which are used turned round.

use super::Paths;
use crate::checkpoint::{CheckpointError, Recipe};
use crate::families::HyperparametersError;
use crate::families::pixelcnnpp::hyperparameters::{mixtures, parameters_per_component};
use crate::families::pixelcnnpp::{
    Block, BlockPair, Dialect, Hyperparameters, Layer, LayerKind, Layers,
};
use crate::network::LayerId;

/// The module that holds the weights of a layer.
const NORM: &str = "ConvWeightNorm_0";
/// Convolutions of the vertical and of the horizontal stack.
const CONV: [&str; 2] = ["ConvDown", "ConvDownRight"];
/// Deconvolutions of the vertical and of the horizontal stack.
const DECONV: [&str; 2] = ["ConvTransposeDown", "ConvTransposeDownRight"];
/// The example models three channels: its likelihood knows no others.
const CHANNELS: usize = 3;

fn direction(path: &str) -> String {
    format!("{path}/weightnorm_params/direction")
}

/// Infers the hyperparameters from the shapes of a few layers.
pub(super) fn infer(paths: &Paths<'_>) -> Result<Hyperparameters, HyperparametersError> {
    let misshapen = |name: String, expected: String, found: &[usize]| {
        Err(HyperparametersError::Shape {
            name,
            expected,
            found: found.to_vec(),
        })
    };
    let inputs = CHANNELS + 1;
    let (name, shape) = paths.shape(&direction(&format!("{}_0/{NORM}", CONV[0])))?;
    let &[2, 3, cin, nr_filters] = shape else {
        return misshapen(name, format!("shape [2, 3, {inputs}, filters]"), shape);
    };
    if cin != inputs {
        return misshapen(name, format!("shape [2, 3, {inputs}, filters]"), shape);
    }
    let levels = 1 + paths.count(|number| direction(&format!("{}_{number}/{NORM}", DECONV[0])));
    let block = |number: usize| {
        let conv = CONV[number % 2];
        direction(&format!("GatedResnet_{number}/{conv}_0/{NORM}"))
    };
    let blocks = paths.count(block);
    // Two stacks up and down, with one block more at every level but the coarsest.
    let more = 2 * (levels - 1);
    if blocks <= more || !(blocks - more).is_multiple_of(4 * levels) {
        return Err(HyperparametersError::Missing {
            name: block(blocks),
            family: crate::families::pixelcnnpp::FAMILY,
        });
    }
    let (name, shape) = paths.shape(&direction(NORM))?;
    let outputs = shape.get(3).filter(|_| shape.len() == 4);
    let Some(nr_mix) = outputs.and_then(|&outputs| mixtures(CHANNELS, outputs)) else {
        let per_mix = parameters_per_component(CHANNELS);
        return misshapen(
            name,
            format!("shape [1, 1, filters, a multiple of {per_mix}]"),
            shape,
        );
    };
    let hyper = Hyperparameters {
        levels,
        nr_resnet: (blocks - more) / (4 * levels),
        nr_filters,
        nr_mix,
        channels: CHANNELS,
        image_size: None,
        dialect: Dialect::flax_example(),
        ..Hyperparameters::published_cifar()
    };
    hyper.validate()?;
    Ok(hyper)
}

/// The path of every layer: modules are counted by class within their parent, in order of use.
pub(super) fn modules(layers: &Layers) -> Vec<(LayerId, String)> {
    let module = |class: &str, number: usize| format!("{class}_{number}/{NORM}");
    let mut modules = vec![
        (layers.u_init, module(CONV[0], 0)),
        (layers.ul_init_above, module(CONV[0], 1)),
        (layers.ul_init_left, module(CONV[1], 0)),
        (layers.output, NORM.to_owned()),
    ];
    for (number, pair) in layers.downsample.iter().enumerate() {
        modules.push((pair.u, module(CONV[0], 2 + number)));
        modules.push((pair.ul, module(CONV[1], 1 + number)));
    }
    for (number, pair) in layers.upsample.iter().rev().enumerate() {
        modules.push((pair.u, module(DECONV[0], number)));
        modules.push((pair.ul, module(DECONV[1], number)));
    }
    let down = layers.down.iter().rev();
    let pairs = layers.up.iter().chain(down).flatten();
    let of_pair = |BlockPair { u, ul }| [u, ul];
    let blocks = pairs.cloned().flat_map(of_pair);
    for (number, block) in blocks.enumerate() {
        let Block {
            conv_in,
            nin,
            conv_out,
            ..
        } = block;
        let place = format!("GatedResnet_{number}");
        let conv = CONV[number % 2];
        modules.push((conv_in, format!("{place}/{}", module(conv, 0))));
        modules.push((conv_out, format!("{place}/{}", module(conv, 1))));
        modules.extend(nin.map(|nin| (nin, format!("{place}/{NORM}"))));
    }
    modules
}

/// All weights are `[height, width, in, out]`.
pub(super) fn recipes(
    paths: &Paths<'_>,
    layer: &Layer,
    path: &str,
) -> Result<[Option<Recipe>; 2], CheckpointError> {
    let index = |name: &str| paths.index(&format!("{path}/weightnorm_params/{name}"));
    let weight = match (index("direction"), index("scale")) {
        (Some(direction), Some(scale)) => {
            let shape = &paths.file.entries[direction].shape;
            let recipe = Recipe::of(direction).weight_norm(&paths.file, scale, 3)?;
            Some(match (layer.kind, shape.as_slice()) {
                (LayerKind::Deconv, _) => recipe.flip(0).flip(1).axes(&[0, 1, 3, 2]),
                (LayerKind::Dense, &[1, 1, cin, cout]) => recipe.reshape(vec![cin, cout]),
                _ => recipe,
            })
        }
        _ => None,
    };
    Ok([weight, index("bias").map(Recipe::of)])
}
