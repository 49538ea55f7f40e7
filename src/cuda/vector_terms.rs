//! Images conditioned on vectors: what the sums of each start from is computed on the host, once per
//! batch, and takes the place of the rows of classes. The kernels know classes only.

use super::packed::Source;
use super::tiling::packed_width;
use crate::network::{Dtype, Graph, Network, OpId};

/// The ops that have a term of the image's vector, in order.
pub(super) fn ops(graph: &Graph) -> impl Iterator<Item = OpId> {
    let conditioned = graph.condition.vector().is_some();
    let ops = graph.ops.iter().enumerate();
    ops.filter(move |(_, op)| conditioned && op.condition.is_some())
        .map(|(id, _)| id)
}

/// What all images have in common, of each of these ops, in the order of its packed outputs.
#[derive(Debug)]
pub(super) struct VectorTerms(Vec<Term>);

#[derive(Debug)]
struct Term {
    bias: Vec<f32>,
    /// `[number of the vector][output]`.
    matrix: Vec<f32>,
}

impl VectorTerms {
    pub fn new(network: &Network, dtype: Dtype) -> Self {
        let length = network.graph.condition.rows();
        let term = |id: OpId| {
            let op = &network.graph.ops[id];
            let source = Source::new(network, op, dtype);
            let width = packed_width(op, dtype);
            let row = |number: usize| (0..width).map(move |j| (number, j));
            let matrix = (0..length).flat_map(row);
            Term {
                bias: (0..width).map(|j| source.bias(None, j)).collect(),
                matrix: matrix.map(|(number, j)| source.term(number, j)).collect(),
            }
        };
        Self(ops(&network.graph).map(term).collect())
    }

    /// `[op][image][output]` for the images with these vectors. Products are added in order, each in
    /// one rounding, as on the CPU.
    pub fn biases<'v>(&self, vectors: impl Iterator<Item = &'v [f32]> + Clone) -> Vec<f32> {
        let mut biases = Vec::new();
        for term in &self.0 {
            for vector in vectors.clone() {
                let first = biases.len();
                biases.extend_from_slice(&term.bias);
                let sums = &mut biases[first..];
                for (&number, row) in vector.iter().zip(term.matrix.chunks(sums.len())) {
                    for (sum, &weight) in sums.iter_mut().zip(row) {
                        *sum = number.mul_add(weight, *sum);
                    }
                }
            }
        }
        biases
    }
}
