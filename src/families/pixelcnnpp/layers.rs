//! Every layer with its name and shape, in the creation order of the original program, which is
//! also that of others.
//!
//! The original counts layers per kind as it creates them (`conv2d_0`, `conv2d_1`, ...,
//! `dense_0`, ...), so a name says nothing about the place of a layer; this table does.

use super::{Hyperparameters, InnerActivation};
use crate::network::{Activation, LayerId};

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
    /// The term of the condition in a gated resnet; `hw` is `[classes, cout]`, or `[numbers of the
    /// vector, cout]`.
    Class,
    /// The 1x1 convolution of the map in a gated resnet; `hw` is `[channels of the map, cout]`.
    Map,
}

/// One layer: where its tensors are found and how they are shaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name in a checkpoint without the tensor suffix, for example `conv2d_7`.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// Filter height and width; (1, 1) for all but [`LayerKind::Conv`] and [`LayerKind::Deconv`].
    pub filter: (usize, usize),
    /// Input channels (classes or numbers for [`LayerKind::Class`]).
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Whether it has a bias: all do but [`LayerKind::Map`] and, in most dialects,
    /// [`LayerKind::Class`].
    pub bias: bool,
}

impl Layer {
    /// Shape of the weight tensor (`V`, or an already folded `W`; `hw` for terms of conditions).
    pub fn weight_shape(&self) -> Vec<usize> {
        let (fh, fw) = self.filter;
        match self.kind {
            LayerKind::Conv => vec![fh, fw, self.cin, self.cout],
            LayerKind::Deconv => vec![fh, fw, self.cout, self.cin],
            LayerKind::Dense | LayerKind::Class | LayerKind::Map => vec![self.cin, self.cout],
        }
    }

    /// Whether its weight is one `hw`, without a norm.
    pub fn is_term(&self) -> bool {
        matches!(self.kind, LayerKind::Class | LayerKind::Map)
    }

    /// Names and shapes of the tensors as the original stores them.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let name = |suffix| format!("{}/{suffix}", self.name);
        let weights = match self.is_term() {
            true => vec![(name("hw"), self.weight_shape())],
            false => vec![
                (name("V"), self.weight_shape()),
                (name("g"), vec![self.cout]),
            ],
        };
        let bias = self.bias.then(|| (name("b"), vec![self.cout]));
        weights.into_iter().chain(bias).collect()
    }
}

/// A gated resnet block of one stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// First convolution, `2F -> F`; half of the inputs where the activation does not double them.
    pub conv_in: LayerId,
    /// The nin of the aux input, `2A -> F`; `None` in the up pass of the vertical stack.
    pub nin: Option<LayerId>,
    /// Second convolution, `2F -> 2F`.
    pub conv_out: LayerId,
    /// What is applied to the inputs of the second convolution.
    pub inner: Activation,
    /// The term of the condition, in models conditioned on a class or a vector.
    pub class: Option<LayerId>,
    /// The convolution of the map, in models conditioned on one.
    pub map: Option<LayerId>,
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
    /// `u` init, 2x3 with the original's receptive field.
    pub u_init: LayerId,
    /// `ul` init on the row above, 1x3.
    pub ul_init_above: LayerId,
    /// `ul` init on the columns to the left, 2x1.
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
            hyper,
            all: Vec::new(),
            counts: [0; 5],
        };
        let filters = hyper.nr_filters;
        let pixel = hyper.dialect.input_channels(hyper.channels);
        let [u_filter, ul_filter] = hyper.dialect.filters();
        let (above, left) = ((1, u_filter.1), (ul_filter.0, u_filter.1 / 2));
        let u_init = builder.add(LayerKind::Conv, u_filter, pixel, filters);
        let ul_init_above = builder.add(LayerKind::Conv, above, pixel, filters);
        let ul_init_left = builder.add(LayerKind::Conv, left, pixel, filters);
        let blocks = |builder: &mut Builder<'_>, count: usize, u_aux: usize, ul_aux: usize| {
            (0..count)
                .map(|_| BlockPair {
                    u: builder.block(u_filter, u_aux),
                    ul: builder.block(ul_filter, ul_aux),
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
struct Builder<'a> {
    hyper: &'a Hyperparameters,
    all: Vec<Layer>,
    counts: [usize; 5],
}

impl Builder<'_> {
    fn add(&mut self, kind: LayerKind, filter: (usize, usize), cin: usize, cout: usize) -> LayerId {
        let (index, prefix) = match kind {
            LayerKind::Conv => (0, "conv2d"),
            LayerKind::Deconv => (1, "deconv2d"),
            LayerKind::Dense => (2, "dense"),
            LayerKind::Class => (3, "conditional_weights"),
            LayerKind::Map => (4, "conditional_maps"),
        };
        let bias = match kind {
            LayerKind::Conv | LayerKind::Deconv | LayerKind::Dense => true,
            LayerKind::Class => self.hyper.dialect.condition_bias,
            LayerKind::Map => false,
        };
        let count = &mut self.counts[index];
        self.all.push(Layer {
            name: format!("{prefix}_{count}"),
            kind,
            filter,
            cin,
            cout,
            bias,
        });
        *count += 1;
        self.all.len() - 1
    }

    /// A gated resnet whose aux input has `aux` times F channels.
    fn block(&mut self, filter: (usize, usize), aux: usize) -> Block {
        let Hyperparameters {
            nr_filters: filters,
            condition,
            map_channels,
            ..
        } = *self.hyper;
        let dialect = &self.hyper.dialect;
        let outer = dialect.activation;
        let inner = match dialect.inner_activation {
            InnerActivation::WithAux if aux == 0 => Activation::Identity,
            InnerActivation::WithAux | InnerActivation::Always => outer,
        };
        let conv_in = self.add(LayerKind::Conv, filter, outer.channels(filters), filters);
        let nin = (aux > 0).then(|| {
            let inputs = outer.channels(aux * filters);
            self.add(LayerKind::Dense, (1, 1), inputs, filters)
        });
        let inputs = inner.channels(filters);
        let conv_out = self.add(LayerKind::Conv, filter, inputs, 2 * filters);
        let mut term = |kind, rows| self.add(kind, (1, 1), rows, 2 * filters);
        let rows = Some(condition.rows()).filter(|&rows| rows > 0);
        Block {
            conv_in,
            nin,
            conv_out,
            inner,
            class: rows.map(|rows| term(LayerKind::Class, rows)),
            map: map_channels.map(|channels| term(LayerKind::Map, channels)),
        }
    }

    /// A layer that changes the resolution, for each stack.
    fn pair(&mut self, kind: LayerKind) -> StackPair {
        let filters = self.hyper.nr_filters;
        let [u, ul] = self.hyper.dialect.filters();
        StackPair {
            u: self.add(kind, u, filters, filters),
            ul: self.add(kind, ul, filters, filters),
        }
    }
}
