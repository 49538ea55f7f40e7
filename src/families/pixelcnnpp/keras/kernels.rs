//! Kernels as Keras stores them: full size, with zeros where their masks are. Theirs are centred, as
//! padding is the same on all sides; ours are what is not masked.

use std::ops::Range;

use crate::families::pixelcnnpp::{Block, Hyperparameters, Layer, LayerKind, Layers};
use crate::network::LayerId;

/// A stored kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// Its shape in the file.
    pub shape: Vec<usize>,
    /// What is not masked, of each axis.
    pub kept: Vec<Range<usize>>,
}

impl Kernel {
    /// Of a layer, with these rows and columns and the part of them that is not masked.
    fn new(layer: &Layer, sides: [usize; 2], first: [usize; 2]) -> Self {
        let weight = layer.weight_shape();
        let (rows, columns) = layer.filter;
        let kept = [
            first[0]..first[0] + rows,
            first[1]..first[1] + columns,
            0..weight[2],
            0..weight[3],
        ];
        Self {
            shape: vec![sides[0], sides[1], weight[2], weight[3]],
            kept: kept.to_vec(),
        }
    }
}

/// The stored kernel of every convolution and deconvolution; none for other layers.
pub(super) fn kernels(hyper: &Hyperparameters, layers: &Layers) -> Vec<Option<Kernel>> {
    let [rows, columns] = hyper.dialect.receptive_field;
    let half = columns / 2;
    let mut kernels = vec![None; layers.all.len()];
    let mut set = |id: LayerId, sides: [usize; 2], first: [usize; 2]| {
        let layer = &layers.all[id];
        if matches!(layer.kind, LayerKind::Conv | LayerKind::Deconv) {
            kernels[id] = Some(Kernel::new(layer, sides, first));
        }
    };
    set(layers.u_init, [2 * rows - 1, columns], [0, 0]);
    set(layers.ul_init_above, [3, columns], [0, 0]);
    set(layers.ul_init_left, [3, columns], [0, 0]);
    let pairs = layers.up.iter().chain(&layers.down).flatten();
    for pair in pairs {
        let of = |block: &Block| [block.conv_in, block.conv_out];
        for id in of(&pair.u) {
            set(id, [2 * rows - 3, columns], [0, 0]);
        }
        for id in of(&pair.ul) {
            set(id, [3, columns], [0, 0]);
        }
    }
    // With even sides: of stride 2.
    for pair in &layers.downsample {
        set(pair.u, [2 * (rows - 1), columns + 1], [0, 0]);
        set(pair.ul, [4, 2 * (half + 1)], [0, 0]);
    }
    for pair in &layers.upsample {
        // At least three rows where there are several levels.
        set(pair.u, [2 * rows - 4, columns + 1], [rows - 3, 0]);
        set(pair.ul, [2, 2 * half], [0, half - 1]);
    }
    kernels
}
