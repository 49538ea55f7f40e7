//! An evaluator in float64 that knows nothing of rings and phases.

use fastpix::network::{
    Activation, BinRule, CoefficientLink, Destination, Gate, Given, InputEncoding, LogisticMixture,
    Network, Op, OutputDistribution, ScaleLink,
};

use super::{Conditions, Values};

/// The parameters of every pixel of given images, straight from what the graph says:
/// `[image][row][column][stage][parameter]`.
pub fn parameters(network: &Network, images: &Values, conditions: &Conditions) -> Vec<f64> {
    let size = images.size();
    let images = images.images().enumerate();
    images
        .flat_map(|(image, values)| of_image(network, values, conditions, image, size))
        .collect()
}

/// Bits per dimension of each of given images with these parameters: the softmax of a class, or the
/// logistic mixture of Salimans et al. 2017 with the coefficients of the channels before.
pub fn bits_per_dim(network: &Network, images: &Values, parameters: &[f64]) -> Vec<f64> {
    let graph = network.graph();
    let [_, height, width, channels] = images.shape;
    let of_images = parameters.chunks(height * width * graph.parameters());
    let each = images.images().zip(of_images).map(|(values, parameters)| {
        let stages = parameters.chunks(graph.output().parameters());
        let of_stages = values.chunks(graph.output().channels());
        let nats = stages.zip(of_stages).map(|(parameters, values)| {
            let input = graph.input();
            match graph.output() {
                OutputDistribution::Categorical { classes, .. } => {
                    let codes = values.iter().map(|&value| usize::from(input.code(value)));
                    let logits = parameters.chunks(*classes).zip(codes);
                    logits.map(|(logits, code)| log_softmax(logits, code)).sum()
                }
                OutputDistribution::LogisticMixture(mixture) => {
                    mixture_nats(mixture, input, values, parameters)
                }
            }
        });
        let nats: f64 = nats.sum();
        -nats / ((height * width * channels) as f64 * std::f64::consts::LN_2)
    });
    each.collect()
}

fn log_softmax(logits: &[f64], code: usize) -> f64 {
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits[code] - sum.ln()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    (1.0 + x.exp()).ln()
}

fn mixture_nats(
    mixture: &LogisticMixture,
    input: &InputEncoding,
    values: &[f32],
    parameters: &[f64],
) -> f64 {
    let layout = &mixture.layout;
    let limit = f64::from(input.limit());
    let half = limit / (input.codes() - 1) as f64;
    let logits = (0..mixture.mixtures).map(|mix| parameters[layout.logit(mix)].exp());
    let weights: f64 = logits.sum();
    let each = (0..mixture.mixtures).map(|mix| {
        let mut probability = parameters[layout.logit(mix)].exp() / weights;
        let mut coefficients = (0..).map(|which| {
            let raw = parameters[layout.coefficient(which, mix)];
            match mixture.coefficients {
                CoefficientLink::Tanh => raw.tanh(),
                CoefficientLink::Identity => raw,
            }
        });
        for (channel, &x) in values.iter().enumerate() {
            let x = f64::from(x);
            let mut mean = parameters[layout.mean(channel, mix)];
            for &before in &values[..channel] {
                mean += coefficients.next().unwrap() * f64::from(before);
            }
            let raw = parameters[layout.scale(channel, mix)];
            let scale = match mixture.scale {
                ScaleLink::Exp {
                    likelihood_floor, ..
                } => raw.max(likelihood_floor.into()).exp(),
                ScaleLink::Softplus { epsilon } => softplus(raw) + f64::from(epsilon),
                ScaleLink::InverseSoftplus { floor } => 1.0 / softplus(raw).max(floor.into()),
                other => panic!("{other:?} is not known here"),
            };
            let (first, last) = match mixture.bins {
                BinRule::Original => (x < -0.999, x > 0.999),
                BinRule::Exact => (x <= half / 2.0 - limit, x >= limit - half / 2.0),
            };
            // From the nearer tail, so that small differences keep their digits.
            let side = if x > mean { -1.0 } else { 1.0 };
            let cumulative = |x: f64| sigmoid(side * (x - mean) / scale);
            let [below, above] = [x - half, x + half].map(cumulative);
            let below = if first { (1.0 - side) / 2.0 } else { below };
            let above = if last { (1.0 + side) / 2.0 } else { above };
            probability *= side * (above - below);
        }
        probability
    });
    each.sum::<f64>().ln()
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

/// What output `n` of an op starts from.
fn bias(network: &Network, op: &Op, given: Given<'_>, n: usize) -> f64 {
    let layers = &network.weights().layers;
    let biases = op
        .biases
        .iter()
        .map(|&layer| f64::from(layers[layer].bias[n]));
    let term = |layer: usize| {
        let row = |row: usize| f64::from(layers[layer].weight[row * op.outputs + n]);
        match given {
            Given::None => panic!("a term without a condition"),
            Given::Class(class) => row(class),
            Given::Vector(vector) => {
                let products = vector.iter().enumerate();
                products.map(|(k, &h)| f64::from(h) * row(k)).sum()
            }
        }
    };
    biases.sum::<f64>() + op.condition.map_or(0.0, term)
}

fn gated(gate: Gate, y: &[f64]) -> Vec<f64> {
    let (a, b) = y.split_at(y.len() / 2);
    let each = a.iter().zip(b).map(|(&a, &b)| {
        let a = match gate {
            Gate::Sigmoid => a,
            Gate::TanhSigmoid => a.tanh(),
        };
        a * sigmoid(b)
    });
    each.collect()
}

fn of_image(
    network: &Network,
    values: &[f32],
    conditions: &Conditions,
    image: usize,
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
        let pixels = values.chunks(graph.channels());
        grids[stage.input].values = pixels
            .flat_map(|pixel| encoded(network, &pixel[stage.channels.clone()]))
            .collect();
    }
    if let Some(id) = graph.map() {
        let mut map = vec![0.0; grids[id].values.len()];
        conditions.maps[image].rows(0..height, &mut map);
        grids[id].values = map.into_iter().map(f64::from).collect();
    }
    let parameters = graph.output().parameters();
    let given = conditions.given(image);
    let mut all = vec![0.0; height * width * graph.parameters()];
    for op in graph.ops() {
        for row in 0..height / op.stride[0] {
            for column in 0..width / op.stride[1] {
                let mut y: Vec<f64> = (0..op.outputs)
                    .map(|n| bias(network, op, given, n))
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
                    y = gated(gate, &y);
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
                            let scale = f64::from(op.epilogue.scale);
                            grids[tensor].values[first + n] = (y + residual) * scale;
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

fn encoded(network: &Network, values: &[f32]) -> Vec<f64> {
    match *network.graph().input() {
        InputEncoding::Scaled { ones, .. } => {
            let values = values.iter().map(|&value| value.into());
            values.chain(ones.then_some(1.0)).collect()
        }
        InputEncoding::OneHot { classes } => values
            .iter()
            .flat_map(|&value| (0..classes).map(move |class| f64::from(class == value as usize)))
            .collect(),
        InputEncoding::Embedding {
            channels, table, ..
        } => {
            let table = &network.weights().layers[table].weight;
            let row = |&value: &f32| table[value as usize * channels..][..channels].iter();
            values.iter().flat_map(row).map(|&x| x.into()).collect()
        }
    }
}
