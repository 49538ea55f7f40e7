//! From the layers to the ops of the network.
//!
//! Two identities keep the list uniform. The shifted convolutions of the first layer are exactly 0
//! in their first row or column, bias included, where there is a channel of ones: so their bias is
//! folded into the weight of that channel, at the tap that is inside the image exactly where the
//! shifted convolution is not zero, and a shift is an offset and nothing else. A deconvolution of stride 2 is four ops, one per
//! output parity, each an ordinary convolution of the coarse grid.

use super::{AuxGoingUp, Block, Hyperparameters, LayerKind, Layers, Stack, StackPair};
use crate::network::{
    Activation, BuildError, Epilogue, Gate, Graph, GraphBuilder, LayerId, OpBuilder,
    OutputDistribution, TensorId, WeightView, Weights,
};

/// The structure of a model.
pub(super) fn graph(hyper: &Hyperparameters, layers: &Layers) -> Result<Graph, BuildError> {
    let (input, output) = (hyper.dialect.input(), hyper.distribution());
    let mut builder = Builder {
        layers,
        hyper,
        map: None,
        graph: GraphBuilder::new(input, output, hyper.condition),
    };
    let image = builder.graph.stage("image");
    let map = hyper.map_channels;
    builder.map = map.map(|channels| builder.graph.map("map", channels));
    let ul = builder.up_and_down(image);
    builder.output(ul, output);
    builder.graph.build()
}

/// The filter taps of the shifted convolutions whose ones channel takes their bias.
fn taps_with_bias(layers: &Layers) -> [(LayerId, usize); 3] {
    // The tap of the last row, in the middle or next to the pixel.
    let tap = |layer: LayerId, column: fn(usize) -> usize| {
        let (rows, columns) = layers.all[layer].filter;
        (layer, (rows - 1) * columns + column(columns))
    };
    [
        tap(layers.u_init, |columns| columns / 2),
        tap(layers.ul_init_above, |columns| columns / 2),
        tap(layers.ul_init_left, |columns| columns - 1),
    ]
}

/// Adds the biases of the shifted convolutions to the weights of the ones channel, which there is.
pub(super) fn fold_shifted_biases(layers: &Layers, weights: &mut Weights) {
    for (layer, tap) in taps_with_bias(layers) {
        let (cin, cout) = (layers.all[layer].cin, layers.all[layer].cout);
        let folded = &mut weights.layers[layer];
        let ones = &mut folded.weight[(tap * cin + cin - 1) * cout..][..cout];
        for (weight, bias) in ones.iter_mut().zip(&folded.bias) {
            *weight += bias;
        }
    }
}

/// The network as far as it is built.
struct Builder<'a> {
    layers: &'a Layers,
    hyper: &'a Hyperparameters,
    map: Option<TensorId>,
    graph: GraphBuilder,
}

/// A tensor of a stack.
#[derive(Clone, Copy)]
struct Node {
    tensor: TensorId,
    stack: Stack,
}

impl Builder<'_> {
    /// The up and the down pass; returns the last tensor of the horizontal stack.
    fn up_and_down(&mut self, image: TensorId) -> Node {
        let layers = self.layers;
        let mut u = self.init_u(image);
        let mut ul = self.init_ul(image);
        let mut skips = vec![(u, ul)];
        for (level, blocks) in layers.up.iter().enumerate() {
            for (index, pair) in blocks.iter().enumerate() {
                let before = u;
                u = self.block(&format!("u up {level}.{index}"), &pair.u, u, &[]);
                let aux = match self.hyper.dialect.aux_going_up {
                    AuxGoingUp::After => u,
                    AuxGoingUp::Before => before,
                };
                ul = self.block(&format!("ul up {level}.{index}"), &pair.ul, ul, &[aux]);
                skips.push((u, ul));
            }
            if let Some(&StackPair { u: to_u, ul: to_ul }) = layers.downsample.get(level) {
                u = self.downsample(&format!("u downsample {level}"), to_u, u);
                ul = self.downsample(&format!("ul downsample {level}"), to_ul, ul);
                skips.push((u, ul));
            }
        }
        // The last output of the up pass is what the down pass starts from.
        skips.pop();
        // As many blocks on the way down as skips: `Layers` lists one block more at every level but
        // the coarsest.
        let mut skips = skips.into_iter().rev();
        for (level, blocks) in layers.down.iter().enumerate().rev() {
            for ((index, pair), (u_skip, ul_skip)) in blocks.iter().enumerate().zip(&mut skips) {
                u = self.block(&format!("u down {level}.{index}"), &pair.u, u, &[u_skip]);
                let name = format!("ul down {level}.{index}");
                ul = self.block(&name, &pair.ul, ul, &[u, ul_skip]);
            }
            if let Some(finer) = level.checked_sub(1) {
                let pair = layers.upsample[finer];
                u = self.upsample(&format!("u upsample {level}"), pair.u, u);
                ul = self.upsample(&format!("ul upsample {level}"), pair.ul, ul);
            }
        }
        ul
    }

    /// The output nin.
    fn output(&mut self, ul: Node, distribution: OutputDistribution) {
        let layer = self.layers.output;
        let op = OpBuilder::new("output", [1, 1], distribution.parameters());
        let op = self.nin_tap(op, layer, ul, Activation::Elu, (0, 1));
        self.graph.parameters(op.bias(layer), 0);
    }

    fn tensor(&mut self, name: &str, stack: Stack, stride: [usize; 2]) -> Node {
        Node {
            tensor: self.graph.tensor(name, stride, self.hyper.nr_filters),
            stack,
        }
    }

    /// One tap per tap of a convolution's filter. Offsets follow from the padding of the shifted
    /// convolutions: all rows above, half of the receptive field's columns to the left; `down`
    /// shifts by another row.
    fn conv_taps(
        &self,
        mut op: OpBuilder,
        layer: LayerId,
        source: TensorId,
        activation: Activation,
        down: isize,
    ) -> OpBuilder {
        let (fh, fw) = self.layers.all[layer].filter;
        let left = self.hyper.dialect.receptive_field[1] / 2;
        for i in 0..fh {
            for j in 0..fw {
                let row = i as isize - (fh as isize - 1) - down;
                let column = j as isize - left as isize;
                let weights = self.view(layer, i * fw + j, activation, (0, 1));
                op = op.tap(source, activation, [row, column], weights);
            }
        }
        op
    }

    /// The tap of a 1x1 layer whose input is a concatenation of which `source` is number `part.0`
    /// of `part.1`.
    fn nin_tap(
        &self,
        op: OpBuilder,
        layer: LayerId,
        source: Node,
        activation: Activation,
        part: (usize, usize),
    ) -> OpBuilder {
        let weights = self.view(layer, 0, activation, part);
        op.tap(source.tensor, activation, [0, 0], weights)
    }

    /// A filter tap's weights for one part of the input. `concat_elu` of a concatenation puts all
    /// positive halves before all negative ones.
    fn view(
        &self,
        layer: LayerId,
        tap: usize,
        activation: Activation,
        (part, parts): (usize, usize),
    ) -> WeightView {
        let described = &self.layers.all[layer];
        let (cin, cout) = (described.cin, described.cout);
        let half = match activation {
            Activation::ConcatElu => cin / 2 / parts,
            _ => cin / parts,
        };
        let inputs = [part * half, (parts + part) * half];
        match described.kind {
            LayerKind::Deconv => WeightView {
                layer,
                first: inputs.map(|input| tap * cout * cin + input),
                half,
                row_stride: 1,
                column_stride: cin,
            },
            _ => WeightView {
                layer,
                first: inputs.map(|input| (tap * cin + input) * cout),
                half,
                row_stride: cout,
                column_stride: 1,
            },
        }
    }

    /// A gated resnet block: `x + gate(conv(a(conv(a(x)) + nin(a(aux)))) + terms)`, with the
    /// activation `a`, `concat_elu` in the original.
    fn block(&mut self, place: &str, block: &Block, x: Node, aux: &[Node]) -> Node {
        let stride = self.graph.stride(x.tensor);
        let t = self.tensor(&format!("{place} t"), x.stack, stride);
        let y = self.tensor(place, x.stack, stride);
        let activation = self.hyper.dialect.activation;
        let filters = self.hyper.nr_filters;
        let op = OpBuilder::new(format!("{place} in"), stride, filters);
        let mut op = self
            .conv_taps(op, block.conv_in, x.tensor, activation, 0)
            .bias(block.conv_in);
        if let Some(nin) = block.nin {
            for (part, &source) in aux.iter().enumerate() {
                op = self.nin_tap(op, nin, source, activation, (part, aux.len()));
            }
            op = op.bias(nin);
        }
        self.graph.op(op, t.tensor, [0, 0]);
        let op = OpBuilder::new(format!("{place} out"), stride, 2 * filters);
        let mut op = self
            .conv_taps(op, block.conv_out, t.tensor, block.inner, 0)
            .bias(block.conv_out)
            .condition(block.class)
            .epilogue(Epilogue {
                gate: Some(Gate::Sigmoid),
                residual: Some(x.tensor),
                ..Epilogue::default()
            });
        if let Some(class) = block.class
            && self.layers.all[class].bias
        {
            op = op.bias(class);
        }
        if let (Some(layer), Some(map)) = (block.map, self.map) {
            let weights = self.view(layer, 0, Activation::Identity, (0, 1));
            op = op.tap(map, Activation::Identity, [0, 0], weights);
        }
        self.graph.op(op, y.tensor, [0, 0]);
        y
    }

    /// `u0 = down_shift(conv2x3(x))`.
    fn init_u(&mut self, image: TensorId) -> Node {
        let u = self.tensor("u init", Stack::Vertical, [1, 1]);
        let op = OpBuilder::new("u init", [1, 1], self.hyper.nr_filters);
        let layer = self.layers.u_init;
        let op = self.conv_taps(op, layer, image, Activation::Identity, 1);
        self.graph.op(self.init_bias(op, layer), u.tensor, [0, 0]);
        u
    }

    /// `ul0 = down_shift(conv1x3(x)) + right_shift(conv2x1(x))`.
    fn init_ul(&mut self, image: TensorId) -> Node {
        let ul = self.tensor("ul init", Stack::Horizontal, [1, 1]);
        let mut op = OpBuilder::new("ul init", [1, 1], self.hyper.nr_filters);
        let (above, left) = (self.layers.ul_init_above, self.layers.ul_init_left);
        for (layer, down) in [(above, 1), (left, 0)] {
            op = self.conv_taps(op, layer, image, Activation::Identity, down);
            op = self.init_bias(op, layer);
        }
        self.graph.op(op, ul.tensor, [0, 0]);
        ul
    }

    /// The bias of a first convolution, unless the channel of ones has it.
    fn init_bias(&self, op: OpBuilder, layer: LayerId) -> OpBuilder {
        match self.hyper.dialect.ones {
            true => op,
            false => op.bias(layer),
        }
    }

    /// A stride-2 convolution to the next coarser level.
    fn downsample(&mut self, place: &str, layer: LayerId, x: Node) -> Node {
        let coarser = self.graph.stride(x.tensor).map(|stride| 2 * stride);
        let y = self.tensor(place, x.stack, coarser);
        let op = OpBuilder::new(place, coarser, self.hyper.nr_filters);
        let op = self.conv_taps(op, layer, x.tensor, Activation::Identity, 0);
        self.graph.op(op.bias(layer), y.tensor, [0, 0]);
        y
    }

    /// A stride-2 deconvolution to the next finer level, one op per output parity.
    fn upsample(&mut self, place: &str, layer: LayerId, x: Node) -> Node {
        let coarse = self.graph.stride(x.tensor);
        let y = self.tensor(place, x.stack, coarse.map(|stride| stride / 2));
        let (fh, fw) = self.layers.all[layer].filter;
        // Columns of the result that the vertical stack drops on the left, as its filter is
        // centred: an odd column lies between two coarse ones.
        let dropped = match x.stack {
            Stack::Vertical => fw / 2,
            Stack::Horizontal => 0,
        };
        for i in 0..2 {
            for j in 0..2 {
                let name = format!("{place} {i}{j}");
                let mut op = OpBuilder::new(name, coarse, self.hyper.nr_filters);
                let rows = (0..fh).filter(|row| row % 2 == i);
                for row in rows {
                    let columns = (0..fw).filter(|column| (column + dropped) % 2 == j);
                    for column in columns.rev() {
                        let offset = [
                            -((row / 2) as isize),
                            (j as isize + dropped as isize - column as isize) / 2,
                        ];
                        let tap = row * fw + column;
                        let weights = self.view(layer, tap, Activation::Identity, (0, 1));
                        op = op.tap(x.tensor, Activation::Identity, offset, weights);
                    }
                }
                self.graph.op(op.bias(layer), y.tensor, [i, j]);
            }
        }
        y
    }
}
