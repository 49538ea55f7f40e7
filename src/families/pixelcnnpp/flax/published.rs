//! ermongroup/fast_feedforward_computation, which published weights for CIFAR-10 and MNIST: the
//! original's mathematics, with modules named as flax names them and weights as PyTorch has them.

use super::Paths;
use crate::checkpoint::{CheckpointError, Recipe};
use crate::families::HyperparametersError;
use crate::families::pixelcnnpp::hyperparameters::{mixtures, parameters_per_component};
use crate::families::pixelcnnpp::port_names::canonical_axes;
use crate::families::pixelcnnpp::{Block, Hyperparameters, Layers};
use crate::network::LayerId;

/// A convolution of the vertical and of the horizontal stack.
const CONV: [&str; 2] = ["down_shifted_conv2d", "down_right_shifted_conv2d"];
/// A deconvolution of the vertical and of the horizontal stack.
const DECONV: [&str; 2] = ["down_shifted_deconv2d", "down_right_shifted_deconv2d"];

/// Infers the hyperparameters from the shapes of a few layers.
pub(super) fn infer(paths: &Paths<'_>) -> Result<Hyperparameters, HyperparametersError> {
    let misshapen = |name: String, expected: &str, found: &[usize]| {
        Err(HyperparametersError::Shape {
            name,
            expected: expected.to_owned(),
            found: found.to_vec(),
        })
    };
    let (name, shape) = paths.shape(&format!("{}_0/WNConv_0/weight_v", CONV[0]))?;
    let &[nr_filters, cin @ (2..), 2, 3] = shape else {
        return misshapen(name, "shape [filters, channels + 1, 2, 3]", shape);
    };
    let channels = cin - 1;
    let first = |number: usize| format!("gated_resnet_{number}/{}_0", CONV[0]);
    let levels =
        paths.count(|level| format!("PixelCNNLayer_up_{level}/{}/WNConv_0/weight_v", first(0)));
    let nr_resnet =
        paths.count(|block| format!("PixelCNNLayer_up_0/{}/WNConv_0/weight_v", first(2 * block)));
    // Without any block the first name that is missing says so.
    paths.shape(&format!(
        "PixelCNNLayer_up_0/{}/WNConv_0/weight_v",
        first(0)
    ))?;
    let (name, shape) = paths.shape("nin_0/WNDense_0/weight_v")?;
    let outputs = shape.first().filter(|_| shape.len() == 2);
    let Some(nr_mix) = outputs.and_then(|&outputs| mixtures(channels, outputs)) else {
        let per_mix = parameters_per_component(channels);
        return misshapen(
            name,
            &format!("shape [a multiple of {per_mix}, filters]"),
            shape,
        );
    };
    let hyper = Hyperparameters {
        levels,
        nr_resnet,
        nr_filters,
        nr_mix,
        channels,
        image_size: None,
        ..Hyperparameters::published_cifar()
    };
    hyper.validate()?;
    Ok(hyper)
}

/// The path of every layer: modules are counted by class within their parent, in order of use.
pub(super) fn modules(layers: &Layers) -> Vec<(LayerId, String)> {
    let conv = |stack: usize, number: usize| format!("{}_{number}/WNConv_0", CONV[stack]);
    let mut modules = vec![
        (layers.u_init, conv(0, 0)),
        (layers.ul_init_above, conv(0, 1)),
        (layers.ul_init_left, conv(1, 0)),
        (layers.output, "nin_0/WNDense_0".to_owned()),
    ];
    let mut block = |layer: &str, number: usize, stack: usize, block: &Block| {
        let place = format!("{layer}/gated_resnet_{}", 2 * number + stack);
        modules.push((block.conv_in, format!("{place}/{}", conv(stack, 0))));
        modules.push((block.conv_out, format!("{place}/{}", conv(stack, 1))));
        if let Some(nin) = block.nin {
            modules.push((nin, format!("{place}/nin_0/WNDense_0")));
        }
    };
    let up = layers.up.iter().enumerate();
    let up = up.map(|(level, blocks)| (format!("PixelCNNLayer_up_{level}"), blocks));
    // Those of the way down are counted from the coarsest level on.
    let down = layers.down.iter().rev().enumerate();
    let down = down.map(|(number, blocks)| (format!("PixelCNNLayer_down_{number}"), blocks));
    for (layer, blocks) in up.chain(down) {
        for (number, pair) in blocks.iter().enumerate() {
            block(&layer, number, 0, &pair.u);
            block(&layer, number, 1, &pair.ul);
        }
    }
    for (number, pair) in layers.downsample.iter().enumerate() {
        modules.push((pair.u, conv(0, 2 + number)));
        modules.push((pair.ul, conv(1, 1 + number)));
    }
    for (number, pair) in layers.upsample.iter().rev().enumerate() {
        for (stack, layer) in [pair.u, pair.ul].into_iter().enumerate() {
            let module = format!("{}_{number}/WNConvTranspose_0", DECONV[stack]);
            modules.push((layer, module));
        }
    }
    modules
}

/// PyTorch's layouts, normalised over all but the first axis: for deconvolutions that of the inputs.
pub(super) fn recipes(
    paths: &Paths<'_>,
    path: &str,
) -> Result<[Option<Recipe>; 2], CheckpointError> {
    let index = |name: &str| paths.index(&format!("{path}/{name}"));
    let weight = match (index("weight_v"), index("weight_g")) {
        (Some(v), Some(g)) => {
            let rank = paths.file.entries[v].shape.len();
            let recipe = Recipe::of(v).weight_norm(&paths.file, g, 0)?;
            Some(recipe.axes(canonical_axes(rank)))
        }
        _ => None,
    };
    Ok([weight, index("bias").map(Recipe::of)])
}
