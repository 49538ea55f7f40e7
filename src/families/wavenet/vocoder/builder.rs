//! From the layers to the ops of the network, and from tensors to its weights.
//!
//! Row t draws sample t from what the original puts out at step t of generation, when its input is
//! sample t - 1. The input of the first step is no padding: it passes through `first_conv`, bias
//! included, while whatever lies before it is zero in every layer. So it is taken into the bias. Of
//! classes, whose inputs have exactly one 1 except in the padding, `W x = W_i + (W - W_i) x` for the
//! initial class i and every x that is a sample, and only the first part is left in the padding. Of
//! numbers `w x = w i + w (x - i)`, for which there is a channel of ones unless i is 0.
//!
//! All skips are summed by one op at the end, with the scales of their sum in the weights.

use crate::families::wavenet::FrameEncoder;
use crate::families::{Tensors, WeightsError, tensors};
use crate::network::{
    Activation, BinRule, BuildError, CoefficientLink, Condition, Epilogue, Gate, Graph,
    GraphBuilder, InputEncoding, Layer, LayerId, LogisticMixture, MixtureLayout, OpBuilder,
    OutputDistribution, ScaleLink, TensorId, WeightView, Weights,
};

use super::{EMBEDDING, Output, Skips, Speakers, Vocoder, layer_module};

/// The residual stream is halved in power where something is added to it.
const HALF_POWER: f32 = std::f32::consts::FRAC_1_SQRT_2;

impl Output {
    fn encoding(&self) -> InputEncoding {
        match *self {
            Self::Raw {
                quantize_channels,
                initial,
                ..
            } => InputEncoding::Scaled {
                codes: quantize_channels,
                limit: 1.0,
                ones: initial != 0.0,
            },
            Self::MulawQuantize {
                quantize_channels, ..
            } => InputEncoding::OneHot {
                classes: quantize_channels,
            },
        }
    }

    fn distribution(&self) -> OutputDistribution {
        match *self {
            Self::Raw {
                mixtures,
                log_scale_min,
                sampling_log_scale_min,
                ..
            } => OutputDistribution::LogisticMixture(LogisticMixture {
                mixtures,
                channels: 1,
                layout: MixtureLayout::original(mixtures, 1),
                scale: ScaleLink::Exp {
                    sampling_floor: sampling_log_scale_min.unwrap_or(f32::NEG_INFINITY),
                    likelihood_floor: log_scale_min,
                },
                coefficients: CoefficientLink::Tanh,
                bins: BinRule::Original,
            }),
            Self::MulawQuantize {
                quantize_channels, ..
            } => OutputDistribution::Categorical {
                classes: quantize_channels,
                channels: 1,
            },
        }
    }
}

impl Speakers {
    fn condition(self) -> Condition {
        match self {
            Self::One => Condition::None,
            Self::Embedded { n_speakers, .. } => Condition::Class(n_speakers),
            Self::Features { gin_channels } => Condition::Vector(gin_channels),
        }
    }
}

/// Where the weights of the network are.
struct Layers {
    first: LayerId,
    gated: Vec<GatedLayer>,
    last: [LayerId; 2],
    count: usize,
}

/// Those of a gated layer.
struct GatedLayer {
    conv: LayerId,
    features: Option<LayerId>,
    speaker: Option<LayerId>,
    /// None of the last layer, whose residual nothing reads.
    out: Option<LayerId>,
    /// The bias is that of all skips, and that of the last one.
    skip: LayerId,
}

impl Layers {
    fn new(hyper: &Vocoder) -> Self {
        let mut count = 0;
        let mut next = || {
            count += 1;
            count - 1
        };
        let first = next();
        let gated = (0..hyper.layers).map(|layer| GatedLayer {
            conv: next(),
            features: (hyper.cin_channels > 0).then(&mut next),
            speaker: (hyper.speakers != Speakers::One).then(&mut next),
            out: (layer + 1 < hyper.layers).then(&mut next),
            skip: next(),
        });
        let gated = gated.collect();
        let last = [next(), next()];
        Self {
            first,
            gated,
            last,
            count,
        }
    }
}

/// The view of a tap of a convolution `[output][input][tap]`.
fn view(layer: LayerId, inputs: usize, taps: usize, tap: usize) -> WeightView {
    WeightView {
        layer,
        first: [tap; 2],
        half: inputs,
        row_stride: taps,
        column_stride: inputs * taps,
    }
}

/// The structure of a model.
pub(in super::super) fn graph(hyper: &Vocoder) -> Result<Graph, BuildError> {
    let layers = Layers::new(hyper);
    let (input, output) = (hyper.output.encoding(), hyper.output.distribution());
    let inputs = input.channels(1);
    let mut graph = GraphBuilder::new(input, output, hyper.speakers.condition());
    let samples = graph.stage("samples");
    let features = (hyper.cin_channels > 0).then(|| graph.map("features", hyper.cin_channels));
    let (residual, gates, skips) = (
        hyper.residual_channels,
        hyper.gate_channels,
        hyper.skip_out_channels,
    );
    let plain = Activation::Identity;
    let mut x = graph.tensor("first", [1, 1], residual);
    let op = OpBuilder::new("first", [1, 1], residual)
        .tap(samples, plain, [-1, 0], view(layers.first, inputs, 1, 0))
        .bias(layers.first);
    graph.op(op, x, [0, 0]);
    let mut gated = Vec::with_capacity(hyper.layers);
    for (index, layer) in layers.gated.iter().enumerate() {
        let z = gate(hyper, &mut graph, index, layer, x, features);
        gated.push(z);
        if let Some(out) = layer.out {
            let name = format!("{index} out");
            let y = graph.tensor(&name, [1, 1], residual);
            let op = OpBuilder::new(name, [1, 1], residual)
                .tap(z, plain, [0, 0], view(out, gates / 2, 1, 0))
                .bias(out)
                .epilogue(Epilogue {
                    gate: None,
                    residual: Some(x),
                    scale: HALF_POWER,
                });
            graph.op(op, y, [0, 0]);
            x = y;
        }
    }
    let sum = graph.tensor("skips", [1, 1], skips);
    let mut op = OpBuilder::new("skips", [1, 1], skips);
    for (layer, &z) in layers.gated.iter().zip(&gated) {
        op = op.tap(z, plain, [0, 0], view(layer.skip, gates / 2, 1, 0));
    }
    if let Some(layer) = layers.gated.last() {
        op = op.bias(layer.skip);
    }
    graph.op(op, sum, [0, 0]);
    let last = graph.tensor("last 1", [1, 1], skips);
    let [first, second] = layers.last;
    let op = OpBuilder::new("last 1", [1, 1], skips)
        .tap(sum, Activation::Relu, [0, 0], view(first, skips, 1, 0))
        .bias(first);
    graph.op(op, last, [0, 0]);
    let op = OpBuilder::new("last 3", [1, 1], hyper.output.channels())
        .tap(last, Activation::Relu, [0, 0], view(second, skips, 1, 0))
        .bias(second);
    graph.parameters(op, 0);
    graph.build()
}

/// The gated op of a layer: what is known longest comes first.
fn gate(
    hyper: &Vocoder,
    graph: &mut GraphBuilder,
    index: usize,
    layer: &GatedLayer,
    x: TensorId,
    features: Option<TensorId>,
) -> TensorId {
    let (residual, gates) = (hyper.residual_channels, hyper.gate_channels);
    let plain = Activation::Identity;
    let name = format!("{index} gate");
    let z = graph.tensor(&name, [1, 1], gates / 2);
    let mut op = OpBuilder::new(name, [1, 1], gates);
    if let (Some(map), Some(id)) = (features, layer.features) {
        op = op.tap(map, plain, [0, 0], view(id, hyper.cin_channels, 1, 0));
        if hyper.conditioning_bias {
            op = op.bias(id);
        }
    }
    for tap in 0..hyper.kernel_size {
        // The last tap is the current sample's.
        let back = (hyper.kernel_size - 1 - tap) * hyper.dilation(index);
        let weights = view(layer.conv, residual, hyper.kernel_size, tap);
        op = op.tap(x, plain, [-(back as isize), 0], weights);
    }
    op = op.bias(layer.conv).condition(layer.speaker);
    if let Some(id) = layer.speaker
        && hyper.conditioning_bias
    {
        op = op.bias(id);
    }
    let op = op.epilogue(Epilogue {
        gate: Some(Gate::TanhSigmoid),
        ..Epilogue::default()
    });
    graph.op(op, z, [0, 0]);
    z
}

/// The upsampling network, whose tensors are taken out.
///
/// # Errors
/// Names the first missing, misshapen or non-finite tensor.
pub(in super::super) fn frame_encoder(
    hyper: &Vocoder,
    tensors: &mut Tensors,
) -> Result<Option<FrameEncoder>, WeightsError> {
    let upsampling = hyper.upsampling.as_ref();
    upsampling
        .map(|upsampling| FrameEncoder::new(upsampling, hyper.cin_channels, tensors))
        .transpose()
}

/// Takes weight and bias of a module out.
struct Modules<'a>(&'a mut Tensors);

impl Modules<'_> {
    fn take(&mut self, module: &str, shape: &[usize], bias: bool) -> Result<Layer, WeightsError> {
        let weight = tensors::need(self.0, &format!("{module}.weight"), shape)?;
        let bias = match bias {
            true => tensors::need(self.0, &format!("{module}.bias"), &shape[..1])?,
            false => Vec::new(),
        };
        Ok(Layer { weight, bias })
    }
}

/// The weights of the network, from tensors whose shapes have been checked.
pub(in super::super) fn fold(
    hyper: &Vocoder,
    tensors: &mut Tensors,
) -> Result<Weights, WeightsError> {
    let ids = Layers::new(hyper);
    let (residual, gates, skips) = (
        hyper.residual_channels,
        hyper.gate_channels,
        hyper.skip_out_channels,
    );
    let embedding = match hyper.speakers {
        Speakers::Embedded {
            n_speakers,
            gin_channels,
        } => Some(tensors::need(
            tensors,
            EMBEDDING,
            &[n_speakers, gin_channels],
        )?),
        Speakers::One | Speakers::Features { .. } => None,
    };
    let mut modules = Modules(tensors);
    let mut layers = vec![Layer::default(); ids.count];
    let first = [residual, hyper.output.inputs(), 1];
    layers[ids.first] = with_initial(hyper, modules.take("first_conv", &first, true)?);
    let mut skip_bias = vec![0.0f64; skips];
    for (index, layer) in ids.gated.iter().enumerate() {
        let of = |part: &str| layer_module(index, part);
        let shape = [gates, residual, hyper.kernel_size];
        layers[layer.conv] = modules.take(&of("conv"), &shape, true)?;
        let bias = hyper.conditioning_bias;
        if let Some(id) = layer.features {
            let shape = [gates, hyper.cin_channels, 1];
            layers[id] = modules.take(&of("conv1x1c"), &shape, bias)?;
        }
        if let (Some(id), Some(channels)) = (layer.speaker, hyper.speakers.channels()) {
            let shape = [gates, channels, 1];
            let module = modules.take(&of("conv1x1g"), &shape, bias)?;
            layers[id] = speaker_term(module, embedding.as_deref(), channels);
        }
        let shape = [residual, gates / 2, 1];
        let out = modules.take(&of("conv1x1_out"), &shape, true)?;
        if let Some(id) = layer.out {
            layers[id] = out;
        }
        let shape = [skips, gates / 2, 1];
        let mut skip = modules.take(&of("conv1x1_skip"), &shape, true)?;
        let scale = hyper.skip_scale(index);
        for weight in &mut skip.weight {
            *weight = (f64::from(*weight) * scale) as f32;
        }
        for (sum, bias) in skip_bias.iter_mut().zip(skip.bias.drain(..)) {
            *sum += f64::from(bias) * scale;
        }
        layers[layer.skip] = skip;
    }
    if let Some(layer) = ids.gated.last() {
        layers[layer.skip].bias = skip_bias.into_iter().map(|bias| bias as f32).collect();
    }
    let shape = [skips, skips, 1];
    layers[ids.last[0]] = modules.take("last_conv_layers.1", &shape, true)?;
    let shape = [hyper.output.channels(), skips, 1];
    layers[ids.last[1]] = modules.take("last_conv_layers.3", &shape, true)?;
    Ok(Weights { layers })
}

impl Vocoder {
    /// What the skip of a layer is multiplied by in the sum.
    fn skip_scale(&self, layer: usize) -> f64 {
        match self.skips {
            Skips::Sum => 1.0,
            Skips::Scaled => (1.0 / self.layers as f64).sqrt(),
            // The first one is halved in power with the second.
            Skips::Halved => 0.5f64.powf((self.layers - layer.max(1)) as f64 / 2.0),
        }
    }
}

/// Takes the sample before the first into the bias: see the head of this file.
fn with_initial(hyper: &Vocoder, mut layer: Layer) -> Layer {
    match hyper.output {
        Output::Raw { initial: 0.0, .. } => {}
        Output::Raw { initial, .. } => {
            let products = layer.weight.iter().map(|weight| weight * initial);
            let products: Vec<f32> = products.collect();
            let pairs = layer.weight.iter().zip(&products);
            layer.weight = pairs.flat_map(|(&w, &product)| [w, -product]).collect();
            for (bias, product) in layer.bias.iter_mut().zip(products) {
                *bias += product;
            }
        }
        Output::MulawQuantize {
            quantize_channels,
            initial,
            ..
        } => {
            let rows = layer.weight.chunks_mut(quantize_channels);
            for (row, bias) in rows.zip(&mut layer.bias) {
                let silence = row[initial];
                *bias += silence;
                for weight in row {
                    *weight -= silence;
                }
            }
        }
    }
    layer
}

/// `[speaker][gate]`, or `[number of the vector][gate]`, from `[gate][channel]`.
fn speaker_term(module: Layer, embedding: Option<&[f32]>, channels: usize) -> Layer {
    let Layer { weight, bias } = module;
    let weight = match embedding {
        Some(embedding) => {
            let speakers = embedding.chunks(channels);
            let terms = speakers.flat_map(|speaker| {
                weight.chunks(channels).map(move |row| {
                    let products = row.iter().zip(speaker);
                    let products = products.map(|(&w, &h)| f64::from(w) * f64::from(h));
                    products.sum::<f64>() as f32
                })
            });
            terms.collect()
        }
        None => (0..channels)
            .flat_map(|channel| weight.chunks(channels).map(move |row| row[channel]))
            .collect(),
    };
    Layer { weight, bias }
}
