//! Networks of random weights, put together op by op.

use fastpix::distribution::Philox;
use fastpix::network::{
    Activation, Condition, GraphBuilder, Info, InputEncoding, Layer, LayerId, Medium, Network,
    OpBuilder, OutputDistribution, TensorId, WeightView, Weights,
};

/// Layers of random numbers.
#[derive(Default)]
pub(super) struct Layers(Vec<Layer>);

impl Layers {
    pub fn add(&mut self, weights: usize, biases: usize, size: f32) -> LayerId {
        let id = self.0.len();
        let mut numbers = Philox::new(77, id as u64, 0)
            .uniforms()
            .map(|uniform| (2.0 * uniform - 1.0) * size);
        self.0.push(Layer {
            weight: numbers.by_ref().take(weights).collect(),
            bias: numbers.take(biases).collect(),
        });
        id
    }

    /// A matrix of `k` rows and `n` columns.
    pub fn matrix(&mut self, k: usize, n: usize) -> WeightView {
        let layer = self.add(k * n, 0, 1.5 / (k as f32).sqrt());
        WeightView {
            layer,
            first: [0, 0],
            half: k,
            row_stride: n,
            column_stride: 1,
        }
    }

    pub fn bias(&mut self, n: usize) -> LayerId {
        self.add(0, n, 0.3)
    }
}

/// A graph being built, with its layers.
pub(super) struct Building {
    pub graph: GraphBuilder,
    pub layers: Layers,
}

impl Building {
    pub fn new(input: InputEncoding, output: OutputDistribution, condition: Condition) -> Self {
        Self {
            graph: GraphBuilder::new(input, output, condition),
            layers: Layers::default(),
        }
    }

    /// An op with a tap at each of some offsets of each of some tensors, and a bias.
    pub fn op(
        &mut self,
        name: &str,
        outputs: usize,
        sources: &[(TensorId, Activation)],
        offsets: &[[isize; 2]],
    ) -> OpBuilder {
        self.strided(name, [1, 1], outputs, sources, offsets)
    }

    /// The same on a grid of this stride.
    pub fn strided(
        &mut self,
        name: &str,
        stride: [usize; 2],
        outputs: usize,
        sources: &[(TensorId, Activation)],
        offsets: &[[isize; 2]],
    ) -> OpBuilder {
        let op = OpBuilder::new(name, stride, outputs).bias(self.layers.bias(outputs));
        self.taps(op, outputs, sources, offsets)
    }

    /// A term of the network's condition, which has so many rows.
    pub fn term(&mut self, op: OpBuilder, rows: usize, outputs: usize) -> OpBuilder {
        let layer = self.layers.add(rows * outputs, 0, 0.5);
        op.condition(Some(layer))
    }

    /// More taps.
    pub fn taps(
        &mut self,
        mut op: OpBuilder,
        outputs: usize,
        sources: &[(TensorId, Activation)],
        offsets: &[[isize; 2]],
    ) -> OpBuilder {
        for &(source, activation) in sources {
            let k = activation.channels(self.graph.channels(source));
            for &offset in offsets {
                let weights = self.layers.matrix(k, outputs);
                op = op.tap(source, activation, offset, weights);
            }
        }
        op
    }

    pub fn finish(self, family: &'static str) -> Network {
        let info = Info {
            family,
            summary: family.to_owned(),
            hyperparameters: Default::default(),
            image_size: None,
            medium: Medium::Pixels,
        };
        let graph = self.graph.build().unwrap();
        let weights = Weights {
            layers: self.layers.0,
        };
        Network::new(graph, weights, info).unwrap()
    }
}
