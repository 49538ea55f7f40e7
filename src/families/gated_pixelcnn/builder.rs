//! From the layers to the ops of the network.
//!
//! The vertical features of a block are needed twice: under the gate they become the vertical
//! stack, and as they are they feed the horizontal one. So they are a tensor, and the gate is an op
//! of its own, whose product is with the identity: exact, and half of what a second convolution
//! would cost at the least.
//!
//! Kernels are listed farthest row first. What masks cover is not listed at all.

use super::Hyperparameters;
use super::layers::{Block, Conv, Layers, Stacks};
use crate::network::{
    Activation, BuildError, Epilogue, Gate, Graph, GraphBuilder, OpBuilder, TensorId,
};

/// All tensors of this family lie on the image's grid.
const GRID: [usize; 2] = [1, 1];

/// The structure of a model.
pub(super) fn graph(hyper: &Hyperparameters, layers: &Layers) -> Result<Graph, BuildError> {
    let mut builder = Builder {
        layers,
        dim: hyper.dim,
        groups: hyper.groups(),
        graph: GraphBuilder::new(
            hyper.input(layers.table),
            hyper.distribution(),
            hyper.condition(),
        ),
    };
    let inputs: Vec<TensorId> = (0..builder.groups)
        .map(|group| {
            let name = builder.name("input", group);
            builder.graph.stage(name)
        })
        .collect();
    let mut state = match &layers.first {
        Some(first) => builder.first(first, &inputs),
        None => State {
            v: inputs.clone(),
            h: inputs,
        },
    };
    for (index, block) in layers.blocks.iter().enumerate() {
        let is_last = index + 1 == layers.blocks.len();
        state = builder.block(index, block, state, is_last);
    }
    let outputs = hyper.distribution().parameters();
    builder.head(&state.h, outputs);
    builder.graph.build()
}

/// What a block starts from.
struct State {
    /// The vertical stack: one tensor, or the input's, whose channels follow each other.
    v: Vec<TensorId>,
    /// The horizontal stack, by group of features.
    h: Vec<TensorId>,
}

/// The network as far as it is built.
struct Builder<'a> {
    layers: &'a Layers,
    dim: usize,
    groups: usize,
    graph: GraphBuilder,
}

impl Builder<'_> {
    /// A name, with its group where there are several.
    fn name(&self, name: &str, group: usize) -> String {
        match self.groups {
            1 => name.to_owned(),
            _ => format!("{name} {group}"),
        }
    }

    /// Adds a tap at a place of a kernel for each of some tensors, whose channels follow each other
    /// among the inputs.
    fn tap(
        &self,
        mut op: OpBuilder,
        conv: &Conv,
        sources: &[TensorId],
        activation: Activation,
        place: [usize; 2],
        offset: [isize; 2],
    ) -> OpBuilder {
        let mut first = 0;
        for &source in sources {
            let inputs = self.graph.channels(source);
            op = op.tap(source, activation, offset, conv.view(place, first, inputs));
            first += inputs;
        }
        op
    }

    /// Adds the taps of a 1x1 convolution.
    fn one(
        &self,
        op: OpBuilder,
        conv: &Conv,
        sources: &[TensorId],
        activation: Activation,
    ) -> OpBuilder {
        self.tap(op, conv, sources, activation, [0, 0], [0, 0])
            .bias(conv.layer)
    }

    /// Adds the taps of a vertical convolution: rows above and, but for the first, the current one,
    /// of which the vertical stack knows only what rows above told it.
    fn vertical(&self, mut op: OpBuilder, stacks: &Stacks, v: &[TensorId]) -> OpBuilder {
        let place = |at: usize| (at as isize - stacks.radius as isize) * stacks.dilation as isize;
        let rows = stacks.radius + usize::from(!stacks.first);
        for row in 0..rows {
            for column in 0..2 * stacks.radius + 1 {
                let offset = [place(row), place(column)];
                let conv = &stacks.vert;
                op = self.tap(op, conv, v, Activation::Identity, [row, column], offset);
            }
        }
        op.bias(stacks.vert.layer)
    }

    /// Adds the taps of a group of a horizontal convolution: all of the pixels to the left, and of
    /// the current one the groups before its own (the first convolution) or up to it.
    fn horizontal(
        &self,
        mut op: OpBuilder,
        stacks: &Stacks,
        h: &[TensorId],
        group: usize,
    ) -> OpBuilder {
        let conv = &stacks.horiz[group];
        let identity = Activation::Identity;
        for column in 0..stacks.radius {
            let left = (column as isize - stacks.radius as isize) * stacks.dilation as isize;
            op = self.tap(op, conv, h, identity, [0, column], [0, left]);
        }
        let known = &h[..group + usize::from(!stacks.first)];
        let current = [0, stacks.radius];
        self.tap(op, conv, known, identity, current, [0, 0])
            .bias(conv.layer)
    }

    /// The plain convolutions that models of pixels begin with.
    fn first(&mut self, stacks: &Stacks, inputs: &[TensorId]) -> State {
        let v = self.graph.tensor("vertical first", GRID, self.dim);
        let op = OpBuilder::new("vertical first", GRID, self.dim);
        let op = self.vertical(op, stacks, inputs);
        self.graph.op(op, v, [0, 0]);
        let channels = self.dim / self.groups;
        let h = (0..self.groups)
            .map(|group| {
                let name = self.name("horizontal first", group);
                let h = self.graph.tensor(&name, GRID, channels);
                let op = OpBuilder::new(name, GRID, channels);
                let op = self.horizontal(op, stacks, inputs, group);
                self.graph.op(op, h, [0, 0]);
                h
            })
            .collect();
        State { v: vec![v], h }
    }

    /// A block; nothing reads the vertical stack after the last one.
    fn block(&mut self, index: usize, block: &Block, from: State, is_last: bool) -> State {
        let gate = Epilogue {
            gate: Some(Gate::TanhSigmoid),
            ..Epilogue::default()
        };
        let identity = Activation::Identity;
        let features = format!("vertical features {index}");
        let f = self.graph.tensor(&features, GRID, 2 * self.dim);
        let op = OpBuilder::new(features, GRID, 2 * self.dim);
        let op = self.vertical(op, &block.stacks, &from.v);
        self.graph.op(op, f, [0, 0]);
        let mut v = vec![];
        if !is_last {
            let name = format!("vertical {index}");
            let gated = self.graph.tensor(&name, GRID, self.dim);
            let same = self.layers.same();
            let op = OpBuilder::new(name, GRID, 2 * self.dim);
            let op = self.tap(op, &same, &[f], identity, [0, 0], [0, 0]);
            let op = op.condition(block.class).epilogue(gate);
            self.graph.op(op, gated, [0, 0]);
            v.push(gated);
        }
        let channels = self.dim / self.groups;
        let mut gated = Vec::with_capacity(self.groups);
        let mut h = Vec::with_capacity(self.groups);
        for group in 0..self.groups {
            let name = self.name(&format!("horizontal gate {index}"), group);
            gated.push(self.graph.tensor(&name, GRID, channels));
            let op = OpBuilder::new(name, GRID, 2 * channels);
            let op = self.one(op, &block.to_horiz[group], &[f], identity);
            let op = self.horizontal(op, &block.stacks, &from.h, group);
            let op = op.condition(block.class).epilogue(gate);
            self.graph.op(op, gated[group], [0, 0]);
            let name = self.name(&format!("horizontal {index}"), group);
            h.push(self.graph.tensor(&name, GRID, channels));
            let op = OpBuilder::new(name, GRID, channels);
            let op = self.one(op, &block.resid[group], &gated, identity);
            let op = op.epilogue(Epilogue {
                residual: block.residual.then_some(from.h[group]),
                ..Epilogue::default()
            });
            self.graph.op(op, h[group], [0, 0]);
        }
        State { v, h }
    }

    /// The head: parameters of each stage.
    fn head(&mut self, h: &[TensorId], outputs: usize) {
        let (mut h, mut activation) = (h.to_vec(), Activation::Elu);
        if let Some((hidden, channels)) = self.layers.hidden {
            let tensor = self.graph.tensor("hidden", GRID, channels);
            let op = OpBuilder::new("hidden", GRID, channels);
            let op = self.one(op, &hidden, &h, Activation::Identity);
            self.graph.op(op, tensor, [0, 0]);
            (h, activation) = (vec![tensor], Activation::Relu);
        }
        for (group, conv) in self.layers.output.iter().enumerate() {
            let op = OpBuilder::new(self.name("output", group), GRID, outputs);
            let op = self.one(op, conv, &h[..group + 1], activation);
            self.graph.parameters(op, group);
        }
    }
}
