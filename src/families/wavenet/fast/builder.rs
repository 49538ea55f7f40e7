//! From the layers to the ops of the network.
//!
//! The original's first layer has the taps t - 1 and t of its input, which in generation is the
//! sample before: rows t - 2 and t - 1 here. Without biases, everything before the first sample is
//! zero in every layer, as are the rows above the first.

use super::FastWaveNet;
use super::files::layer_name;
use crate::families::{Tensors, WeightsError, tensors};
use crate::network::{
    Activation, BuildError, Condition, Graph, GraphBuilder, InputEncoding, Layer, LayerId,
    OpBuilder, OutputDistribution, WeightView, Weights,
};

/// The structure of a model.
pub(in super::super) fn graph(hyper: &FastWaveNet) -> Result<Graph, BuildError> {
    let (hidden, classes) = (hyper.num_hidden, hyper.num_classes);
    let input = InputEncoding::Scaled {
        codes: classes,
        limit: 1.0,
        ones: false,
    };
    let output = OutputDistribution::Categorical {
        classes,
        channels: 1,
    };
    let mut graph = GraphBuilder::new(input, output, Condition::None);
    let mut x = graph.stage("samples");
    let mut activation = Activation::Identity;
    let mut now = -1;
    let mut output_layer = 0;
    for (id, (block, layer, inputs)) in hyper.layers().enumerate() {
        let name = format!("b{block}-l{layer}");
        let y = graph.tensor(&name, [1, 1], hidden);
        let dilation = 1isize << layer;
        let op = OpBuilder::new(name, [1, 1], hidden)
            .tap(
                x,
                activation,
                [now - dilation, 0],
                view(id, 0, inputs, hidden),
            )
            .tap(x, activation, [now, 0], view(id, 1, inputs, hidden));
        graph.op(op, y, [0, 0]);
        (x, activation, now) = (y, Activation::Relu, 0);
        output_layer = id + 1;
    }
    let op = OpBuilder::new("output", [1, 1], classes)
        .tap(
            x,
            activation,
            [0, 0],
            view(output_layer, 0, hidden, classes),
        )
        .bias(output_layer);
    graph.parameters(op, 0);
    graph.build()
}

/// A tap of a filter `[tap][input][output]`.
fn view(layer: LayerId, tap: usize, inputs: usize, outputs: usize) -> WeightView {
    WeightView {
        layer,
        first: [tap * inputs * outputs; 2],
        half: inputs,
        row_stride: outputs,
        column_stride: 1,
    }
}

/// The weights of the network, from tensors whose shapes have been checked.
pub(in super::super) fn fold(
    hyper: &FastWaveNet,
    tensors: &mut Tensors,
) -> Result<Weights, WeightsError> {
    let (hidden, classes) = (hyper.num_hidden, hyper.num_classes);
    let mut take = |name: &str, shape: &[usize]| tensors::need(tensors, name, shape);
    let mut layers = Vec::new();
    for (block, layer, inputs) in hyper.layers() {
        layers.push(Layer {
            weight: take(&layer_name(block, layer), &[2, inputs, hidden])?,
            bias: Vec::new(),
        });
    }
    layers.push(Layer {
        weight: take("w", &[1, hidden, classes])?,
        bias: take("b", &[classes])?,
    });
    Ok(Weights { layers })
}
