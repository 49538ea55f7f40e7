//! Networks that are no family's: what the ground floor can describe beyond PixelCNN++, built here
//! and known to nobody else, with an evaluator in float64 that knows nothing of rings and phases.

use fastpix::distribution::Philox;
use fastpix::network::{
    Activation, Condition, Destination, Epilogue, Gate, Given, GraphBuilder, Info, InputEncoding,
    Layer, LayerId, LogisticMixture, Medium, Network, OpBuilder, OutputDistribution, TensorId,
    WeightView, Weights,
};
use fastpix::{Codes, Nhwc};

/// Layers of random numbers.
#[derive(Default)]
struct Layers(Vec<Layer>);

impl Layers {
    fn add(&mut self, weights: usize, biases: usize, size: f32) -> LayerId {
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
    fn matrix(&mut self, k: usize, n: usize) -> WeightView {
        let layer = self.add(k * n, 0, 1.5 / (k as f32).sqrt());
        WeightView {
            layer,
            first: [0, 0],
            half: k,
            row_stride: n,
            column_stride: 1,
        }
    }

    fn bias(&mut self, n: usize) -> LayerId {
        self.add(0, n, 0.3)
    }
}

/// A graph being built, with its layers.
struct Building {
    graph: GraphBuilder,
    layers: Layers,
}

impl Building {
    fn new(input: InputEncoding, output: OutputDistribution, condition: Condition) -> Self {
        Self {
            graph: GraphBuilder::new(input, output, condition),
            layers: Layers::default(),
        }
    }

    /// An op with a tap at each of some offsets of each of some tensors, and a bias.
    fn op(
        &mut self,
        name: &str,
        outputs: usize,
        sources: &[(TensorId, Activation)],
        offsets: &[[isize; 2]],
    ) -> OpBuilder {
        let op = OpBuilder::new(name, [1, 1], outputs).bias(self.layers.bias(outputs));
        self.taps(op, outputs, sources, offsets)
    }

    fn taps(
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

    fn finish(self, family: &'static str) -> Network {
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

/// Two causal layers, the first of 7x7 taps, the second with taps two columns and three rows
/// apart; no residual; one of `classes` classes per pixel.
pub fn dilated(classes: usize) -> Network {
    dilated_from(classes, InputEncoding::OneHot { classes })
}

/// The same, of scaled values: a class of pixels is a code, and its value is fed back.
pub fn dilated_scaled(codes: usize) -> Network {
    dilated_from(
        codes,
        InputEncoding::Scaled {
            codes,
            limit: 1.0,
            ones: true,
        },
    )
}

fn dilated_from(classes: usize, input: InputEncoding) -> Network {
    let output = OutputDistribution::Categorical {
        classes,
        channels: 1,
    };
    let mut net = Building::new(input, output, Condition::None);
    let codes = net.graph.stage("codes");
    let before = |&[row, column]: &[isize; 2]| row < 0 || column < 0;
    let around = (-3..=0).flat_map(|row| (-3..=3).map(move |column| [row, column]));
    let seven: Vec<[isize; 2]> = around
        .filter(before)
        .filter(|&[row, column]| row < 0 || column < 0)
        .collect();
    let first = net.graph.tensor("first", [1, 1], 12);
    let op = net.op("first", 12, &[(codes, Activation::Identity)], &seven);
    net.graph.op(op, first, [0, 0]);
    let second = net.graph.tensor("second", [1, 1], 20);
    let dilated = [[-3, -2], [-3, 0], [-3, 2], [0, -2], [0, 0]];
    let op = net.op("second", 20, &[(first, Activation::Relu)], &dilated);
    net.graph.op(op, second, [0, 0]);
    let op = net.op("head", classes, &[(second, Activation::Elu)], &[[0, 0]]);
    net.graph.parameters(op, 0);
    net.finish("dilated")
}

/// Three channels drawn one after the other, each seeing those before it; embedded codes, a stack
/// of the rows above, gates of tanh and sigmoid, sums of skips, and three classes of images.
pub fn staged(codes: usize) -> Network {
    let (embedded, classes) = (5, 3);
    let mut net = Building::new(
        InputEncoding::OneHot { classes: codes },
        OutputDistribution::Categorical {
            classes: codes,
            channels: 1,
        },
        Condition::Class(classes),
    );
    let table = net.layers.add(codes * embedded, 0, 1.0);
    net.graph = GraphBuilder::new(
        InputEncoding::Embedding {
            classes: codes,
            channels: embedded,
            table,
        },
        OutputDistribution::Categorical {
            classes: codes,
            channels: 1,
        },
        Condition::Class(classes),
    );
    let inputs: Vec<TensorId> = ["red", "green", "blue"]
        .map(|name| net.graph.stage(name))
        .to_vec();
    let plain = |tensors: &[TensorId]| -> Vec<(TensorId, Activation)> {
        tensors
            .iter()
            .map(|&id| (id, Activation::Identity))
            .collect()
    };
    let gate = |residual| Epilogue {
        gate: Some(Gate::TanhSigmoid),
        residual,
        ..Epilogue::default()
    };
    let f = 9;
    let above = net.graph.tensor("above", [1, 1], f);
    let rows: Vec<[isize; 2]> = (-2..0)
        .flat_map(|row| (-1..=1).map(move |column| [row, column]))
        .collect();
    let op = net.op("above", 2 * f, &plain(&inputs), &rows);
    net.graph.op(op.epilogue(gate(None)), above, [0, 0]);
    for stage in 0..3 {
        let h = net.graph.tensor(format!("h {stage}"), [1, 1], f);
        let op = net.op(&format!("h {stage}"), 2 * f, &plain(&inputs), &[[0, -1]]);
        let op = net.taps(op, 2 * f, &plain(&inputs[..stage]), &[[0, 0]]);
        let op = net.taps(op, 2 * f, &[(above, Activation::ConcatElu)], &[[0, 0]]);
        let class = net.layers.add(classes * 2 * f, 0, 0.5);
        let op = op.condition(Some(class)).epilogue(gate(None));
        net.graph.op(op, h, [0, 0]);
        let skip = net.graph.tensor(format!("skip {stage}"), [1, 1], f);
        let taps = [[0, -1], [0, 0]];
        let op = net.op(&format!("skip {stage}"), f, &[(h, Activation::Tanh)], &taps);
        let op = op.epilogue(Epilogue {
            gate: None,
            residual: Some(h),
            ..Epilogue::default()
        });
        net.graph.op(op, skip, [0, 0]);
        let y = net.graph.tensor(format!("y {stage}"), [1, 1], f);
        let op = net.op(
            &format!("y {stage}"),
            2 * f,
            &[(skip, Activation::Relu)],
            &taps,
        );
        net.graph.op(op.epilogue(gate(Some(skip))), y, [0, 0]);
        let op = net.op(
            &format!("head {stage}"),
            codes,
            &[(y, Activation::Relu)],
            &[[0, 0]],
        );
        net.graph.parameters(op, stage);
    }
    net.finish("staged")
}

/// A sequence: time runs down the rows of images of width 1. Queues of up to 64 steps, residuals
/// and a sum of skips; a logistic mixture.
pub fn sequence() -> Network {
    let input = InputEncoding::Scaled {
        codes: 256,
        limit: 1.0,
        ones: false,
    };
    let output = OutputDistribution::LogisticMixture(LogisticMixture::original(4, 1));
    let mut net = Building::new(input, output, Condition::None);
    let samples = net.graph.stage("samples");
    let f = 8;
    let mut x = net.graph.tensor("x", [1, 1], f);
    let op = net.op("x", f, &[(samples, Activation::Identity)], &[[-1, 0]]);
    net.graph.op(op, x, [0, 0]);
    let mut sum = None;
    for dilation in [1, 4, 16, 64] {
        let z = net.graph.tensor(format!("z {dilation}"), [1, 1], f);
        let taps = [[-dilation, 0], [0, 0]];
        let name = format!("z {dilation}");
        let op = net.op(&name, 2 * f, &[(x, Activation::Identity)], &taps);
        let op = op.epilogue(Epilogue {
            gate: Some(Gate::TanhSigmoid),
            residual: None,
            ..Epilogue::default()
        });
        net.graph.op(op, z, [0, 0]);
        for (what, residual) in [("residual", Some(x)), ("skip", sum)] {
            let name = format!("{what} {dilation}");
            let y = net.graph.tensor(&name, [1, 1], f);
            let op = net.op(&name, f, &[(z, Activation::Identity)], &[[0, 0]]);
            let epilogue = Epilogue {
                gate: None,
                residual,
                ..Epilogue::default()
            };
            net.graph.op(op.epilogue(epilogue), y, [0, 0]);
            match what {
                "skip" => sum = Some(y),
                _ => x = y,
            }
        }
    }
    let sum = sum.unwrap();
    let op = net.op("head", 12, &[(sum, Activation::Relu)], &[[0, 0]]);
    net.graph.parameters(op, 0);
    // The last residual is read by nothing, as in the original of this kind of network.
    net.finish("sequence")
}

/// Pixels of `channels` channels from one logistic mixture, without ones channel.
pub fn mixture(channels: usize) -> Network {
    let input = InputEncoding::Scaled {
        codes: 256,
        limit: 1.0,
        ones: true,
    };
    let output = OutputDistribution::LogisticMixture(LogisticMixture::original(3, channels));
    let mut net = Building::new(input, output, Condition::None);
    let image = net.graph.stage("image");
    let h = net.graph.tensor("h", [1, 1], 10);
    let taps = [[-1, -1], [-1, 0], [-1, 1], [0, -1]];
    let op = net.op("h", 10, &[(image, Activation::Identity)], &taps);
    net.graph.op(op, h, [0, 0]);
    let outputs = output.parameters();
    let op = net.op("head", outputs, &[(h, Activation::ConcatElu)], &[[0, 0]]);
    net.graph.parameters(op, 0);
    net.finish("mixture")
}

/// The parameters of every pixel of given images, in float64, straight from what the graph says:
/// `[image][row][column][stage][parameter]`.
pub fn parameters(network: &Network, images: &Codes, classes: &[usize]) -> Vec<f64> {
    let [count, height, width, _] = images.shape;
    let of = |image: usize| {
        let class = classes.get(image).copied();
        of_image(
            network,
            images.images().nth(image).unwrap(),
            class,
            (height, width),
        )
    };
    (0..count).flat_map(of).collect()
}

/// A tensor of one image.
struct Grid {
    size: [usize; 2],
    channels: usize,
    values: Vec<f64>,
}

impl Grid {
    fn at(&self, row: isize, column: isize) -> Option<&[f64]> {
        let row = usize::try_from(row)
            .ok()
            .filter(|&row| row < self.size[0])?;
        let column = usize::try_from(column).ok();
        let column = column.filter(|&column| column < self.size[1])?;
        let first = (row * self.size[1] + column) * self.channels;
        Some(&self.values[first..][..self.channels])
    }
}

fn activated(activation: Activation, x: &[f64]) -> Vec<f64> {
    let elu = |x: f64| if x > 0.0 { x } else { x.exp_m1() };
    match activation {
        Activation::Identity => x.to_vec(),
        Activation::Relu => x.iter().map(|x| x.max(0.0)).collect(),
        Activation::Elu => x.iter().map(|&x| elu(x)).collect(),
        Activation::ConcatElu => {
            let negative = x.iter().map(|&x| elu(-x));
            x.iter().map(|&x| elu(x)).chain(negative).collect()
        }
        Activation::Tanh => x.iter().map(|x| x.tanh()).collect(),
    }
}

fn of_image(
    network: &Network,
    codes: &[u16],
    class: Option<usize>,
    (height, width): (usize, usize),
) -> Vec<f64> {
    let graph = network.graph();
    let tensors = graph.tensors().iter();
    let mut grids: Vec<Grid> = tensors
        .map(|tensor| {
            let size = [height / tensor.stride[0], width / tensor.stride[1]];
            Grid {
                size,
                channels: tensor.channels,
                values: vec![0.0; size[0] * size[1] * tensor.channels],
            }
        })
        .collect();
    for stage in graph.stages() {
        let pixels = codes.chunks(graph.channels());
        grids[stage.input].values = pixels
            .flat_map(|pixel| encoded(network, &pixel[stage.channels.clone()]))
            .collect();
    }
    let parameters = graph.output().parameters();
    let given = class.map_or(Given::None, Given::Class);
    let mut all = vec![0.0; height * width * graph.parameters()];
    for op in graph.ops() {
        for row in 0..height / op.stride[0] {
            for column in 0..width / op.stride[1] {
                let mut y: Vec<f64> = (0..op.outputs)
                    .map(|n| network.weights().bias(op, given, n).into())
                    .collect();
                for tap in &op.taps {
                    let place = |grid: usize, axis: usize| {
                        (grid * tap.step[axis]) as isize + tap.offset[axis]
                    };
                    let Some(x) = grids[tap.source].at(place(row, 0), place(column, 1)) else {
                        continue;
                    };
                    for (k, x) in activated(tap.activation, x).into_iter().enumerate() {
                        for (n, y) in y.iter_mut().enumerate() {
                            *y += x * f64::from(network.weights().weight(tap, k, n));
                        }
                    }
                }
                if let Some(gate) = op.epilogue.gate {
                    let (a, b) = y.split_at(op.channels());
                    let gated = a.iter().zip(b).map(|(&a, &b)| {
                        let a = match gate {
                            Gate::Sigmoid => a,
                            Gate::TanhSigmoid => a.tanh(),
                        };
                        a / (1.0 + (-b).exp())
                    });
                    y = gated.collect();
                }
                match op.destination {
                    Destination::Tensor {
                        tensor,
                        step,
                        offset,
                    } => {
                        let to = [row * step[0] + offset[0], column * step[1] + offset[1]];
                        let first = (to[0] * grids[tensor].size[1] + to[1]) * y.len();
                        for (n, y) in y.into_iter().enumerate() {
                            let residual = op.epilogue.residual;
                            let residual = residual.map_or(0.0, |id| grids[id].values[first + n]);
                            grids[tensor].values[first + n] = y + residual;
                        }
                    }
                    Destination::Parameters { stage } => {
                        let pixel = row * width + column;
                        let first = (pixel * graph.stages().len() + stage) * parameters;
                        all[first..][..parameters].copy_from_slice(&y);
                    }
                }
            }
        }
    }
    all
}

fn encoded(network: &Network, codes: &[u16]) -> Vec<f64> {
    match *network.graph().input() {
        InputEncoding::Scaled { ones, .. } => {
            let values = codes
                .iter()
                .map(|&code| network.graph().input().value(code).into());
            values.chain(ones.then_some(1.0)).collect()
        }
        InputEncoding::OneHot { classes } => codes
            .iter()
            .flat_map(|&code| (0..classes).map(move |class| f64::from(class == usize::from(code))))
            .collect(),
        InputEncoding::Embedding {
            channels, table, ..
        } => {
            let table = &network.weights().layers[table].weight;
            let row = |&code: &u16| table[usize::from(code) * channels..][..channels].iter();
            codes.iter().flat_map(row).map(|&x| x.into()).collect()
        }
    }
}

/// Images of random codes.
pub fn images(network: &Network, count: usize, (height, width): (usize, usize)) -> Codes {
    let channels = network.graph().channels();
    let codes = network.graph().input().codes() as f32;
    let numbers = Philox::new(5, 0, 0).uniforms();
    Nhwc {
        shape: [count, height, width, channels],
        values: numbers
            .take(count * height * width * channels)
            .map(|uniform| (uniform * codes) as u16)
            .collect(),
    }
}
