//! A network ready for the CPU: its graph with the weights packed for the inner loops.

use std::ops::Range;

use super::element::Element;
use super::gemm::{Columns, PANEL, Packed};
use super::isa::Isa;
use crate::network::layout::Storage;
use crate::network::{
    Activation, Condition, Given, Graph, InputEncoding, Network, Op, OpId, Tap, Weights,
};

/// The weights of one op.
#[derive(Debug)]
pub(super) struct PackedOp<E> {
    /// Weights of the row-phase taps, by how many rows they are multiplied for at once where rows
    /// are.
    pub row: Vec<RowGroup<E>>,
    /// Weights of the pixel-phase taps.
    pub pixel: Option<Packed<E>>,
    /// What the outputs start from, in panel order: one row per class (one if unconditional).
    bias: Vec<f32>,
    /// The matrix that a vector is multiplied by, `[number of the vector][output in panel order]`;
    /// empty unless the op has a term of one.
    pub term: Vec<f32>,
    /// Panels of 16 outputs.
    pub panels: usize,
    /// Panels that must stay together on one worker: both halves of a gate.
    pub granule: usize,
    /// Channels of the result.
    pub channels: usize,
}

/// Neighbouring taps of the row phase that are multiplied together.
#[derive(Debug)]
pub(super) struct RowGroup<E> {
    /// Indices among the op's taps.
    pub taps: Range<usize>,
    /// Rows for which they are: see [`Tap::block`].
    pub block: usize,
    pub weights: Packed<E>,
}

impl<E> PackedOp<E> {
    /// f32 outputs per row.
    pub fn width(&self) -> usize {
        self.panels * PANEL
    }

    /// The outputs' starting values for an image of class `class`.
    pub fn bias(&self, class: usize) -> &[f32] {
        &self.bias[class * self.width()..(class + 1) * self.width()]
    }
}

/// A graph with packed weights.
#[derive(Debug)]
pub(super) struct PackedNetwork<E> {
    pub graph: Graph,
    pub ops: Vec<PackedOp<E>>,
    pub isa: Isa,
    /// The table of an embedding, `[class][channel]`; else empty.
    pub embedding: Vec<f32>,
    /// Ops of the row phase, by row class.
    pub row_phase: Vec<Vec<Scheduled>>,
    /// Ops of the pixel phase, by pixel class and stage.
    pub pixel_phase: Vec<Vec<Vec<Scheduled>>>,
    /// All ops.
    pub whole_image: Vec<Scheduled>,
    /// The most taps that an op has in one phase.
    pub most_taps: usize,
}

/// An op in a list that all workers walk together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scheduled {
    pub op: OpId,
    /// The workers must meet before it.
    pub barrier: bool,
}

impl<E: Element> PackedNetwork<E> {
    pub fn new(network: &Network, isa: Isa) -> Self {
        let graph = network.graph.clone();
        let ops = graph.ops.iter();
        let packed = ops.map(|op| pack(&network.weights, op, graph.condition, isa));
        let all: Vec<OpId> = (0..graph.ops.len()).collect();
        let schedule = &graph.schedule;
        let of_pixel_class = |class: usize| {
            let stages = 0..graph.stages.len();
            let ops = stages.map(|stage| schedule.pixel_ops(class, stage));
            ops.map(|ops| scheduled(&graph, ops, true)).collect()
        };
        Self {
            ops: packed.collect(),
            isa,
            embedding: match graph.input {
                InputEncoding::Embedding { table, .. } => {
                    network.weights.layers[table].weight.clone()
                }
                _ => Vec::new(),
            },
            row_phase: (0..schedule.row_classes())
                .map(|class| scheduled(&graph, schedule.row_ops(class), false))
                .collect(),
            pixel_phase: (0..schedule.pixel_classes()).map(of_pixel_class).collect(),
            whole_image: scheduled(&graph, &all, true),
            most_taps: graph
                .ops
                .iter()
                .map(|op| op.row_taps().len().max(op.pixel_taps().len()))
                .max()
                .unwrap_or(0),
            graph,
        }
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        let packed = |op: &PackedOp<E>| {
            let row = op.row.iter().map(|group| group.weights.bytes());
            row.sum::<usize>() + op.pixel.as_ref().map_or(0, Packed::bytes)
        };
        self.ops.iter().map(packed).sum()
    }
}

/// How operands of `E` are stored.
pub(super) struct Stored<E>(pub std::marker::PhantomData<E>);

impl<E: Element> Storage for Stored<E> {
    fn operand_bytes(&self) -> usize {
        size_of::<E>()
    }

    fn operand_channels(&self, channels: usize, activation: Activation) -> usize {
        activation.channels(channels).next_multiple_of(E::PAD)
    }

    fn residual_channels(&self, channels: usize) -> usize {
        channels
    }

    fn outputs(&self, op: &Op) -> usize {
        panels(op) * PANEL
    }

    fn buffer_bytes(&self, bytes: usize) -> usize {
        bytes.next_multiple_of(super::cache_line::CacheLine::BYTES)
    }

    fn row_blocks(&self) -> bool {
        true
    }
}

/// Halves of an op's outputs.
fn halves(op: &Op) -> usize {
    match op.epilogue.gate {
        Some(_) => 2,
        None => 1,
    }
}

/// Panels of an op's outputs.
fn panels(op: &Op) -> usize {
    op.channels().div_ceil(PANEL) * halves(op)
}

fn pack<E: Element>(weights: &Weights, op: &Op, condition: Condition, isa: Isa) -> PackedOp<E> {
    let channels = op.channels();
    let halves = halves(op);
    let columns = match op.epilogue.gate {
        Some(_) => Columns::Gated,
        None => Columns::Plain,
    };
    let pack_taps = |taps: &[Tap]| {
        let segments: Vec<usize> = taps.iter().map(|tap| tap.k).collect();
        (!taps.is_empty()).then(|| {
            Packed::new(isa, &segments, channels, columns, |segment, k, n| {
                weights.weight(&taps[segment], k, n)
            })
        })
    };
    let mut row_groups: Vec<RowGroup<E>> = Vec::new();
    let mut first = 0;
    for taps in op.row_taps().chunk_by(|a, b| a.block() == b.block()) {
        row_groups.extend(pack_taps(taps).map(|weights| RowGroup {
            taps: first..first + taps.len(),
            block: taps[0].block(),
            weights,
        }));
        first += taps.len();
    }
    // One number per output in panel order, 0 in the padding.
    let groups = channels.div_ceil(PANEL);
    let in_panels = |to: &mut Vec<f32>, of: &dyn Fn(usize) -> f32| {
        for group in 0..groups {
            for half in 0..halves {
                for channel in group * PANEL..(group + 1) * PANEL {
                    let output = (channel < channels).then_some(half * channels + channel);
                    to.push(output.map_or(0.0, of));
                }
            }
        }
    };
    let (mut bias, mut term) = (Vec::new(), Vec::new());
    match condition {
        Condition::Class(classes) => {
            for class in 0..classes {
                in_panels(&mut bias, &|n| weights.bias(op, Given::Class(class), n));
            }
        }
        Condition::None | Condition::Vector(_) => {
            in_panels(&mut bias, &|n| weights.bias(op, Given::None, n));
        }
    }
    if let (Condition::Vector(_), Some(layer)) = (condition, op.condition) {
        for row in weights.layers[layer].weight.chunks(op.outputs) {
            in_panels(&mut term, &|n| row[n]);
        }
    }
    PackedOp {
        row: row_groups,
        pixel: pack_taps(op.pixel_taps()),
        bias,
        term,
        panels: panels(op),
        granule: halves,
        channels,
    }
}

/// Marks the ops before which the workers must meet: those that read what an earlier one wrote,
/// or overwrite what an earlier one read. `writes` says that every listed op writes its tensor; in
/// the row phase, those that leave partial sums do not.
fn scheduled(graph: &Graph, ops: &[OpId], writes: bool) -> Vec<Scheduled> {
    let mut written = Vec::new();
    let mut read = Vec::new();
    ops.iter()
        .map(|&id| {
            let op = &graph.ops[id];
            let reads: Vec<_> = op.reads().collect();
            let target = op.tensor().filter(|_| writes || op.complete_in_row_phase);
            let barrier = reads.iter().any(|source| written.contains(source))
                || target.is_some_and(|target| read.contains(&target));
            if barrier {
                written.clear();
                read.clear();
            }
            written.extend(target);
            read.extend(reads);
            Scheduled { op: id, barrier }
        })
        .collect()
}
