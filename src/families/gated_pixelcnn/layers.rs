//! The modules of the originals, and how they are shared out between the ops of the network.
//!
//! Weights stay as PyTorch has them, `[out, in, kh, kw]`; ops look at the taps that no mask covers.
//! Only outputs are put in order: those of one group of features form a layer by themselves.

use super::hyperparameters::PIXEL_CODES;
use super::{CodePrior, Hyperparameters, PixelModel, Variant};
use crate::network::{LayerId, WeightView};

/// Kernel of all convolutions of a model of pixels.
const PIXEL_KERNEL: usize = 3;

/// A module of the original.
#[derive(Debug)]
pub(super) struct Module {
    /// Its name in state dicts.
    pub name: String,
    /// The shape of its weight: `[out, in, kh, kw]`, or rows and columns of a table.
    pub weight: Vec<usize>,
    /// Whether it has a bias, one number per output.
    pub bias: bool,
    /// What each layer of the network that is made of it has of its outputs.
    pub layers: Vec<Outputs>,
}

impl Module {
    /// Names and shapes of its tensors.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = vec![(format!("{}.weight", self.name), self.weight.clone())];
        if self.bias {
            tensors.push((format!("{}.bias", self.name), vec![self.weight[0]]));
        }
        tensors
    }
}

/// Which outputs of a module a layer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outputs {
    /// All of them, in their order.
    All,
    /// One of so many groups of features; of each half, where they are the two of a gate.
    Group {
        group: usize,
        groups: usize,
        halves: usize,
    },
    /// The classes of some channels, channel by channel. The module has them class by class: output
    /// `class * channels + channel`.
    Classes {
        first: usize,
        count: usize,
        channels: usize,
    },
}

impl Outputs {
    /// Their numbers among all outputs of the module, in the layer's order.
    pub fn rows(self, outputs: usize) -> Vec<usize> {
        match self {
            Self::All => (0..outputs).collect(),
            Self::Group {
                group,
                groups,
                halves,
            } => {
                let half = outputs / halves;
                let size = half / groups;
                let first = |of: usize| of * half + group * size;
                (0..halves)
                    .flat_map(|of| first(of)..first(of) + size)
                    .collect()
            }
            Self::Classes {
                first,
                count,
                channels,
            } => {
                let classes = |channel| (channel..outputs).step_by(channels);
                (first..first + count).flat_map(classes).collect()
            }
        }
    }
}

/// A convolution, or a group of its outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    pub layer: LayerId,
    inputs: usize,
    /// Rows and columns of the kernel as stored.
    kernel: [usize; 2],
}

impl Conv {
    /// The weights at a row and column of the kernel, of so many inputs from one on.
    pub fn view(&self, [row, column]: [usize; 2], first_input: usize, inputs: usize) -> WeightView {
        let [rows, columns] = self.kernel;
        let first = (first_input * rows + row) * columns + column;
        WeightView {
            layer: self.layer,
            first: [first; 2],
            half: inputs,
            row_stride: rows * columns,
            column_stride: self.inputs * rows * columns,
        }
    }
}

/// The two convolutions that look around, which the masks are about.
#[derive(Debug)]
pub(super) struct Stacks {
    pub vert: Conv,
    /// By group of features.
    pub horiz: Vec<Conv>,
    /// Rows and columns that they look back, and columns that the vertical one looks ahead, before
    /// dilation.
    pub radius: usize,
    pub dilation: usize,
    /// Whether they are of mask A: of neither the current row (the vertical one) nor the current
    /// pixel, but for the groups of channels before an output's own.
    pub first: bool,
}

/// A gated block.
#[derive(Debug)]
pub(super) struct Block {
    pub stacks: Stacks,
    /// From the vertical features to the horizontal gate, by group.
    pub to_horiz: Vec<Conv>,
    /// After the horizontal gate, by group.
    pub resid: Vec<Conv>,
    /// The table of class terms of both gates.
    pub class: Option<LayerId>,
    /// Whether the horizontal stack has a residual here.
    pub residual: bool,
}

/// The layers of a model, as its network uses them.
#[derive(Debug)]
pub(super) struct Layers {
    pub modules: Vec<Module>,
    /// The table of the embedding; of models without one, a number that is not looked at.
    pub table: LayerId,
    /// The plain convolutions before the blocks.
    pub first: Option<Stacks>,
    pub blocks: Vec<Block>,
    /// The hidden layer of the head, and its channels.
    pub hidden: Option<(Conv, usize)>,
    /// The last layer, by stage.
    pub output: Vec<Conv>,
    /// Inputs of the gates, 2 dim.
    pub gate: usize,
    /// The identity matrix of that size, which is in no file: the layer after those of the modules.
    pub identity: LayerId,
}

impl Layers {
    pub fn new(hyper: &Hyperparameters) -> Self {
        let mut layers = Self {
            modules: Vec::new(),
            table: 0,
            first: None,
            blocks: Vec::new(),
            hidden: None,
            output: Vec::new(),
            gate: 2 * hyper.dim,
            identity: 0,
        };
        match &hyper.variant {
            Variant::Codes(prior) => layers.code_prior(prior, hyper.dim),
            Variant::Pixels(model) => layers.pixel_model(model, hyper.dim, hyper.groups()),
        }
        layers
    }

    /// The product with the identity.
    pub fn same(&self) -> Conv {
        Conv {
            layer: self.identity,
            inputs: self.gate,
            kernel: [1, 1],
        }
    }

    /// Adds a module and returns its first layer.
    fn module(
        &mut self,
        name: String,
        weight: Vec<usize>,
        bias: bool,
        layers: Vec<Outputs>,
    ) -> LayerId {
        let first = self.identity;
        self.identity += layers.len();
        self.modules.push(Module {
            name,
            weight,
            bias,
            layers,
        });
        first
    }

    /// Adds a table and returns its layer.
    fn table(&mut self, name: String, rows: usize, columns: usize) -> LayerId {
        self.module(name, vec![rows, columns], false, vec![Outputs::All])
    }

    /// Adds a convolution, one layer for each of these parts of its outputs.
    fn conv(
        &mut self,
        name: String,
        [outputs, inputs]: [usize; 2],
        kernel: [usize; 2],
        parts: Vec<Outputs>,
    ) -> Vec<Conv> {
        let weight = vec![outputs, inputs, kernel[0], kernel[1]];
        let count = parts.len();
        let first = self.module(name, weight, true, parts);
        let conv = |layer| Conv {
            layer,
            inputs,
            kernel,
        };
        (first..first + count).map(conv).collect()
    }

    /// Adds a convolution that is one layer.
    fn whole(&mut self, name: String, channels: [usize; 2], kernel: [usize; 2]) -> Conv {
        self.conv(name, channels, kernel, vec![Outputs::All])[0]
    }

    /// The modules of pytorch-vqvae's `GatedPixelCNN`: vertical kernels without the rows, horizontal
    /// ones without the columns that masks always cover.
    fn code_prior(&mut self, prior: &CodePrior, dim: usize) {
        self.table = self.table("embedding".into(), prior.codes, dim);
        let all = || vec![Outputs::All];
        for index in 0..prior.layers {
            let of = |what: &str| format!("layers.{index}.{what}");
            let first = index == 0;
            let kernel = match first {
                true => prior.first_kernel,
                false => prior.kernel,
            };
            let radius = kernel / 2;
            let classes = prior.classes;
            let class = classes.map(|n| self.table(of("class_cond_embedding"), n, 2 * dim));
            let gate = [2 * dim, dim];
            let stacks = Stacks {
                vert: self.whole(of("vert_stack"), gate, [radius + 1, kernel]),
                horiz: self.conv(of("horiz_stack"), gate, [1, radius + 1], all()),
                radius,
                dilation: 1,
                first,
            };
            let block = Block {
                stacks,
                to_horiz: self.conv(of("vert_to_horiz"), [2 * dim; 2], [1, 1], all()),
                resid: self.conv(of("horiz_resid"), [dim; 2], [1, 1], all()),
                class,
                residual: !first,
            };
            self.blocks.push(block);
        }
        let hidden = prior.hidden;
        let conv = self.whole("output_conv.0".into(), [hidden, dim], [1, 1]);
        self.hidden = Some((conv, hidden));
        let output = [prior.codes, hidden];
        self.output = self.conv("output_conv.2".into(), output, [1, 1], all());
    }

    /// The modules of the tutorial's `PixelCNN`: whole kernels.
    fn pixel_model(&mut self, model: &PixelModel, dim: usize, groups: usize) {
        let channels = model.channels;
        let grouped = |halves: usize| {
            let group = |group| Outputs::Group {
                group,
                groups,
                halves,
            };
            (0..groups).map(group).collect::<Vec<_>>()
        };
        let (square, row) = ([PIXEL_KERNEL; 2], [1, PIXEL_KERNEL]);
        let radius = PIXEL_KERNEL / 2;
        let first = [dim, channels];
        self.first = Some(Stacks {
            vert: self.whole("conv_vstack.conv".into(), first, square),
            horiz: self.conv("conv_hstack.conv".into(), first, row, grouped(1)),
            radius,
            dilation: 1,
            first: true,
        });
        for (index, &dilation) in model.dilations.iter().enumerate() {
            let of = |what: &str| format!("conv_layers.{index}.{what}");
            let gate = [2 * dim, dim];
            let stacks = Stacks {
                vert: self.whole(of("conv_vert.conv"), gate, square),
                horiz: self.conv(of("conv_horiz.conv"), gate, row, grouped(2)),
                radius,
                dilation,
                first: false,
            };
            let to_horiz = of("conv_vert_to_horiz");
            let block = Block {
                stacks,
                to_horiz: self.conv(to_horiz, [2 * dim; 2], [1, 1], grouped(2)),
                resid: self.conv(of("conv_horiz_1x1"), [dim; 2], [1, 1], grouped(1)),
                class: None,
                residual: true,
            };
            self.blocks.push(block);
        }
        let count = channels / groups;
        let classes = |group| Outputs::Classes {
            first: group * count,
            count,
            channels,
        };
        let output = [PIXEL_CODES * channels, dim];
        let parts = (0..groups).map(classes).collect();
        self.output = self.conv("conv_out".into(), output, [1, 1], parts);
    }
}
