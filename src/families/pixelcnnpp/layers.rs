//! Every layer with its name and shape, in the creation order of the original program.
//!
//! The original counts layers per kind as it creates them (`conv2d_0`, `conv2d_1`, ...,
//! `dense_0`, ...), so a name says nothing about the place of a layer; this table does.

use super::Hyperparameters;
use crate::network::LayerId;

/// One of the two stacks of a PixelCNN++.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stack {
    /// The vertical stack `u`: sees the rows above.
    Vertical,
    /// The horizontal stack `ul`: sees the row above and the pixels to the left.
    Horizontal,
}

/// What a layer computes with its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerKind {
    /// A convolution; `V` is `[fh, fw, cin, cout]`.
    Conv,
    /// A transposed convolution of stride 2; `V` is `[fh, fw, cout, cin]`.
    Deconv,
    /// A 1x1 convolution ("nin"); `V` is `[cin, cout]`.
    Dense,
    /// The class term of a gated resnet; `hw` is `[classes, cout]`.
    Class,
}

/// One layer: where its tensors are found and how they are shaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name in a checkpoint without the tensor suffix, for example `conv2d_7`.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// Filter height and width; (1, 1) for [`LayerKind::Dense`] and [`LayerKind::Class`].
    pub filter: (usize, usize),
    /// Input channels (classes for [`LayerKind::Class`]).
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
}

impl Layer {
    /// Shape of the weight tensor (`V`, or an already folded `W`; `hw` for class terms).
    pub fn weight_shape(&self) -> Vec<usize> {
        let (fh, fw) = self.filter;
        match self.kind {
            LayerKind::Conv => vec![fh, fw, self.cin, self.cout],
            LayerKind::Deconv => vec![fh, fw, self.cout, self.cin],
            LayerKind::Dense | LayerKind::Class => vec![self.cin, self.cout],
        }
    }

    /// Names and shapes of the tensors as the original stores them.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let name = |suffix| format!("{}/{suffix}", self.name);
        match self.kind {
            LayerKind::Class => vec![(name("hw"), self.weight_shape())],
            _ => vec![
                (name("V"), self.weight_shape()),
                (name("g"), vec![self.cout]),
                (name("b"), vec![self.cout]),
            ],
        }
    }
}

/// A gated resnet block of one stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// First convolution, `2F -> F`.
    pub conv_in: LayerId,
    /// The nin of the aux input, `2A -> F`; `None` in the up pass of the vertical stack.
    pub nin: Option<LayerId>,
    /// Second convolution, `2F -> 2F`.
    pub conv_out: LayerId,
    /// The class term, in class-conditional models.
    pub class: Option<LayerId>,
}

/// A layer of each stack, created one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackPair {
    /// Of the vertical stack.
    pub u: LayerId,
    /// Of the horizontal stack.
    pub ul: LayerId,
}

/// A gated resnet block of each stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPair {
    /// Of the vertical stack.
    pub u: Block,
    /// Of the horizontal stack.
    pub ul: Block,
}

/// All layers of a model by place.
#[derive(Clone, Debug)]
pub struct Layers {
    /// Every layer in creation order.
    pub all: Vec<Layer>,
    /// `u` init, 2x3.
    pub u_init: LayerId,
    /// `ul` init on the row above, 1x3.
    pub ul_init_above: LayerId,
    /// `ul` init on the column to the left, 2x1.
    pub ul_init_left: LayerId,
    /// Blocks of the up pass by level, full resolution first.
    pub up: Vec<Vec<BlockPair>>,
    /// Stride-2 convolutions from each level to the next coarser one.
    pub downsample: Vec<StackPair>,
    /// Blocks of the down pass **by level**: the last one's run first.
    pub down: Vec<Vec<BlockPair>>,
    /// Deconvolutions **by the level they lead to**: the last one is used first.
    pub upsample: Vec<StackPair>,
    /// The last nin, `F -> params_per_pixel`.
    pub output: LayerId,
}

impl Layers {
    /// Lists the layers of the model with these hyperparameters.
    pub fn new(hyper: &Hyperparameters) -> Self {
        let mut builder = Builder {
            filters: hyper.nr_filters,
            classes: hyper.classes,
            all: Vec::new(),
            counts: [0; 4],
        };
        let filters = hyper.nr_filters;
        let pixel = hyper.channels + 1;
        let u_init = builder.add(LayerKind::Conv, (2, 3), pixel, filters);
        let ul_init_above = builder.add(LayerKind::Conv, (1, 3), pixel, filters);
        let ul_init_left = builder.add(LayerKind::Conv, (2, 1), pixel, filters);
        let blocks = |builder: &mut Builder, count: usize, u_aux: usize, ul_aux: usize| {
            (0..count)
                .map(|_| BlockPair {
                    u: builder.block((2, 3), u_aux),
                    ul: builder.block((2, 2), ul_aux),
                })
                .collect::<Vec<_>>()
        };
        let coarsest = hyper.levels - 1;
        let (mut up, mut downsample) = (Vec::new(), Vec::new());
        for level in 0..hyper.levels {
            up.push(blocks(&mut builder, hyper.nr_resnet, 0, 1));
            if level < coarsest {
                downsample.push(builder.pair(LayerKind::Conv));
            }
        }
        // Created from the coarsest level on, listed by level.
        let (mut down, mut upsample) = (Vec::new(), Vec::new());
        for level in (0..hyper.levels).rev() {
            let more = usize::from(level < coarsest);
            down.push(blocks(&mut builder, hyper.nr_resnet + more, 1, 2));
            if level > 0 {
                upsample.push(builder.pair(LayerKind::Deconv));
            }
        }
        down.reverse();
        upsample.reverse();
        let output = builder.add(LayerKind::Dense, (1, 1), filters, hyper.params_per_pixel());
        Self {
            all: builder.all,
            u_init,
            ul_init_above,
            ul_init_left,
            up,
            downsample,
            down,
            upsample,
            output,
        }
    }

    /// Number of parameters as the original counts them (`V`, `g`, `b` and `hw`).
    pub fn parameter_count(&self) -> usize {
        self.all
            .iter()
            .flat_map(Layer::tensors)
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }
}

/// Creates layers in order, counting names per kind.
struct Builder {
    filters: usize,
    classes: Option<usize>,
    all: Vec<Layer>,
    counts: [usize; 4],
}

impl Builder {
    fn add(&mut self, kind: LayerKind, filter: (usize, usize), cin: usize, cout: usize) -> LayerId {
        let (index, prefix) = match kind {
            LayerKind::Conv => (0, "conv2d"),
            LayerKind::Deconv => (1, "deconv2d"),
            LayerKind::Dense => (2, "dense"),
            LayerKind::Class => (3, "conditional_weights"),
        };
        let count = &mut self.counts[index];
        self.all.push(Layer {
            name: format!("{prefix}_{count}"),
            kind,
            filter,
            cin,
            cout,
        });
        *count += 1;
        self.all.len() - 1
    }

    /// A gated resnet whose aux input has `aux` times F channels.
    fn block(&mut self, filter: (usize, usize), aux: usize) -> Block {
        let filters = self.filters;
        let conv_in = self.add(LayerKind::Conv, filter, 2 * filters, filters);
        let nin = (aux > 0).then(|| self.add(LayerKind::Dense, (1, 1), 2 * aux * filters, filters));
        let conv_out = self.add(LayerKind::Conv, filter, 2 * filters, 2 * filters);
        let class = self
            .classes
            .map(|classes| self.add(LayerKind::Class, (1, 1), classes, 2 * filters));
        Block {
            conv_in,
            nin,
            conv_out,
            class,
        }
    }

    /// A layer that changes the resolution, for each stack.
    fn pair(&mut self, kind: LayerKind) -> StackPair {
        let filters = self.filters;
        StackPair {
            u: self.add(kind, (2, 3), filters, filters),
            ul: self.add(kind, (2, 2), filters, filters),
        }
    }
}
