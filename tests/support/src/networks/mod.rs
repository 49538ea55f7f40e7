//! Networks that are no family's: what the ground floor can describe beyond PixelCNN++, built here
//! and known to nobody else, with an evaluator in float64 that knows nothing of rings and phases.

mod building;
mod conditioned;
mod conditions;
mod evaluator;

use fastpix::backend::Values;
use fastpix::distribution::Philox;
use fastpix::network::{
    Activation, BinRule, CoefficientLink, Condition, Epilogue, Gate, GraphBuilder, InputEncoding,
    LogisticMixture, MixtureLayout, Network, OutputDistribution, ScaleLink, TensorId,
};
use fastpix::{Codes, Nhwc};

use building::{Building, Layers};
pub use conditioned::{mapped, vector, vocoder};
pub use conditions::Conditions;
pub use evaluator::{bits_per_dim, parameters};

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

/// Pixels of `channels` channels from one logistic mixture.
pub fn mixture(channels: usize) -> Network {
    mixture_of(LogisticMixture::original(3, channels), 1.0, "mixture")
}

/// The same from a mixture unlike the original's: everything of a component together, among parameters
/// that are not used; another link of scales, none of coefficients; exact bins; values up to 0.5.
pub fn dialect(channels: usize) -> Network {
    let pairs = channels * (channels - 1) / 2;
    let each = 1 + 2 * channels + pairs;
    let (mixtures, unused) = (3, 2);
    let mixture = LogisticMixture {
        layout: MixtureLayout {
            parameters: unused + mixtures * each,
            logit: [unused, each],
            mean: [unused + 1, each, 2],
            scale: [unused + 2, each, 2],
            coefficient: [unused + 1 + 2 * channels, each, 1, 0],
            groups: 1,
        },
        scale: match channels {
            1 => ScaleLink::InverseSoftplus { floor: 0.5 },
            _ => ScaleLink::Softplus { epsilon: 0.01 },
        },
        coefficients: CoefficientLink::Identity,
        bins: BinRule::Exact,
        ..LogisticMixture::original(mixtures, channels)
    };
    mixture_of(mixture, 0.5, "dialect")
}

fn mixture_of(mixture: LogisticMixture, limit: f32, name: &'static str) -> Network {
    let input = InputEncoding::Scaled {
        codes: 256,
        limit,
        ones: true,
    };
    let output = OutputDistribution::LogisticMixture(mixture);
    let mut net = Building::new(input, output, Condition::None);
    let image = net.graph.stage("image");
    let h = net.graph.tensor("h", [1, 1], 10);
    let taps = [[-1, -1], [-1, 0], [-1, 1], [0, -1]];
    let op = net.op("h", 10, &[(image, Activation::Identity)], &taps);
    net.graph.op(op, h, [0, 0]);
    let outputs = output.parameters();
    let op = net.op("head", outputs, &[(h, Activation::ConcatElu)], &[[0, 0]]);
    net.graph.parameters(op, 0);
    net.finish(name)
}

/// One of very many classes per pixel, embedded.
pub fn many(classes: usize) -> Network {
    let output = OutputDistribution::Categorical {
        classes,
        channels: 1,
    };
    let mut layers = Layers::default();
    let channels = 5;
    let table = layers.add(classes * channels, 0, 1.0);
    let input = InputEncoding::Embedding {
        classes,
        channels,
        table,
    };
    let mut net = Building::new(input, output, Condition::None);
    net.layers = layers;
    let codes = net.graph.stage("codes");
    let h = net.graph.tensor("h", [1, 1], 6);
    let op = net.op(
        "h",
        6,
        &[(codes, Activation::Identity)],
        &[[-1, 0], [0, -1]],
    );
    net.graph.op(op, h, [0, 0]);
    let op = net.op("head", classes, &[(h, Activation::Tanh)], &[[0, 0]]);
    net.graph.parameters(op, 0);
    net.finish("many")
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

/// A sequence whose parameters depend on the last three samples, and on nothing else.
pub fn short_memory() -> Network {
    let input = InputEncoding::Scaled {
        codes: 256,
        limit: 1.0,
        ones: true,
    };
    let output = OutputDistribution::LogisticMixture(LogisticMixture::original(2, 1));
    let mut net = Building::new(input, output, Condition::None);
    let samples = net.graph.stage("samples");
    let x = net.graph.tensor("x", [1, 1], 8);
    let taps = [[-3, 0], [-2, 0], [-1, 0]];
    let op = net.op("x", 8, &[(samples, Activation::Identity)], &taps);
    net.graph.op(op, x, [0, 0]);
    let op = net.op("head", 6, &[(x, Activation::Elu)], &[[0, 0]]);
    net.graph.parameters(op, 0);
    net.finish("short memory")
}

/// Their values.
pub fn values_of(network: &Network, codes: &Codes) -> Values {
    let input = network.graph().input();
    Nhwc {
        shape: codes.shape,
        values: codes.values.iter().map(|&code| input.value(code)).collect(),
    }
}

/// Images of random values: between those of codes where values are no classes.
pub fn values(network: &Network, count: usize, size: (usize, usize)) -> Values {
    let mut values = values_of(network, &images(network, count, size));
    if let InputEncoding::Scaled { limit, codes, .. } = *network.graph().input() {
        let numbers = Philox::new(6, 0, 0).uniforms();
        for (value, uniform) in values.values.iter_mut().zip(numbers) {
            *value += (2.0 * uniform - 1.0) * limit / codes as f32;
            *value = value.clamp(-limit, limit);
        }
    }
    values
}
