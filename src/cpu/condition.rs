//! The conditions of the images of a batch, ready for the executor.

use super::packed::PackedNetwork;
use crate::network::{Given, Map, OpId};

/// What the sums of each image start from, and the maps.
pub(super) struct Conditions {
    /// The class of each image, 0 without classes.
    classes: Vec<usize>,
    /// By op, `[image][output in panel order]`: the bias with the term of the image's vector; empty
    /// where the packed bias serves.
    with_terms: Vec<Vec<f32>>,
    /// One per image, or none.
    pub maps: Vec<Map>,
    /// What comes before the first row of sequences, `[image][channel]`; empty for nothing.
    pub preceding: Vec<f32>,
}

impl Conditions {
    pub fn new<'a, E>(
        model: &PackedNetwork<E>,
        given: impl Iterator<Item = Given<'a>> + Clone,
        maps: Vec<Map>,
    ) -> Self {
        let class = |given| match given {
            Given::Class(class) => class,
            Given::None | Given::Vector(_) => 0,
        };
        let with_terms = model.ops.iter().map(|op| {
            let mut biases = Vec::new();
            if !op.term.is_empty() {
                for given in given.clone() {
                    let Given::Vector(vector) = given else {
                        continue;
                    };
                    let first = biases.len();
                    biases.extend_from_slice(op.bias(0));
                    let sums = &mut biases[first..];
                    for (&h, row) in vector.iter().zip(op.term.chunks(sums.len())) {
                        for (sum, &weight) in sums.iter_mut().zip(row) {
                            *sum = h.mul_add(weight, *sum);
                        }
                    }
                }
            }
            biases
        });
        Self {
            with_terms: with_terms.collect(),
            classes: given.map(class).collect(),
            maps,
            preceding: Vec::new(),
        }
    }

    /// With what comes before the first row.
    pub fn after(mut self, preceding: &[f32]) -> Self {
        self.preceding = preceding.to_vec();
        self
    }

    /// What the outputs of an op start from for an image, in panel order.
    pub fn bias<'s, E>(&'s self, model: &'s PackedNetwork<E>, id: OpId, image: usize) -> &'s [f32] {
        let packed = &model.ops[id];
        match self.with_terms[id].as_slice() {
            [] => packed.bias(self.classes[image]),
            biases => &biases[image * packed.width()..][..packed.width()],
        }
    }
}
