//! Vocoders restated in float64 from their tensors, layer by layer over whole sequences; knows nothing
//! of ops, taps and folding.

use fastpix::checkpoint::Tensors;
use fastpix::families::wavenet::{Output, Skips, Speakers, Vocoder};

/// A tensor's numbers as f64; none if there is no such tensor.
fn numbers(tensors: &Tensors, name: &str) -> Option<Vec<f64>> {
    let values = tensors.get(name)?.values.iter();
    Some(values.map(|&value| value.into()).collect())
}

/// `y[t] = bias + sum over k of W_k x[t - (taps - 1 - k) dilation]`, zeros before the start.
fn convolution(
    tensors: &Tensors,
    module: &str,
    x: &[Vec<f64>],
    taps: usize,
    dilation: usize,
) -> Vec<Vec<f64>> {
    let weight = numbers(tensors, &format!("{module}.weight")).unwrap();
    let inputs = x[0].len();
    let outputs = weight.len() / inputs / taps;
    let bias = numbers(tensors, &format!("{module}.bias")).unwrap_or(vec![0.0; outputs]);
    (0..x.len())
        .map(|t| {
            let mut y = bias.clone();
            for k in 0..taps {
                let Some(at) = t.checked_sub((taps - 1 - k) * dilation) else {
                    continue;
                };
                for (n, y) in y.iter_mut().enumerate() {
                    let row = &weight[n * inputs * taps..];
                    let products = x[at].iter().enumerate();
                    *y += products.map(|(i, x)| row[i * taps + k] * x).sum::<f64>();
                }
            }
            y
        })
        .collect()
}

fn add(to: &mut [Vec<f64>], what: &[Vec<f64>]) {
    for (to, what) in to.iter_mut().flatten().zip(what.iter().flatten()) {
        *to += what;
    }
}

fn scale(what: &mut [Vec<f64>], factor: f64) {
    what.iter_mut().flatten().for_each(|x| *x *= factor);
}

fn relu(what: &mut [Vec<f64>]) {
    what.iter_mut().flatten().for_each(|x| *x = x.max(0.0));
}

/// The parameters of each sample of a sequence, `[t][parameter]`, from values, rows of features and
/// the speaker.
pub fn parameters(
    hyper: &Vocoder,
    tensors: &Tensors,
    values: &[f32],
    features: Option<&[Vec<f64>]>,
    speaker: usize,
    vector: &[f32],
) -> Vec<f64> {
    let encoded = |value: f64| match hyper.output {
        Output::MulawQuantize {
            quantize_channels, ..
        } => (0..quantize_channels)
            .map(|class| f64::from(class as f64 == value))
            .collect(),
        _ => vec![value],
    };
    let before = match hyper.output {
        Output::Raw { initial, .. } => initial.into(),
        Output::MulawQuantize { initial, .. } => initial as f64,
        _ => panic!("another output"),
    };
    let inputs = [before]
        .into_iter()
        .chain(values.iter().map(|&value| value.into()));
    let inputs: Vec<Vec<f64>> = inputs.take(values.len()).map(encoded).collect();
    let vector: Option<Vec<f64>> = match hyper.speakers {
        Speakers::Embedded { gin_channels, .. } => {
            let rows = numbers(tensors, "embed_speakers.weight").unwrap();
            Some(rows[speaker * gin_channels..][..gin_channels].to_vec())
        }
        Speakers::Features { .. } => Some(vector.iter().map(|&x| x.into()).collect()),
        _ => None,
    };
    let mut x = convolution(tensors, "first_conv", &inputs, 1, 1);
    let mut skips: Option<Vec<Vec<f64>>> = None;
    let half = 0.5f64.sqrt();
    for layer in 0..hyper.layers {
        let of = |part: &str| format!("conv_layers.{layer}.{part}");
        let dilation = 1 << (layer % (hyper.layers / hyper.stacks));
        let mut a = convolution(tensors, &of("conv"), &x, hyper.kernel_size, dilation);
        if let Some(features) = features {
            add(
                &mut a,
                &convolution(tensors, &of("conv1x1c"), features, 1, 1),
            );
        }
        if let Some(vector) = &vector {
            let all = vec![vector.clone(); x.len()];
            add(&mut a, &convolution(tensors, &of("conv1x1g"), &all, 1, 1));
        }
        let z: Vec<Vec<f64>> = a
            .iter()
            .map(|a| {
                let (a, b) = a.split_at(a.len() / 2);
                let gated = a.iter().zip(b);
                gated.map(|(a, b)| a.tanh() / (1.0 + (-b).exp())).collect()
            })
            .collect();
        let skip = convolution(tensors, &of("conv1x1_skip"), &z, 1, 1);
        skips = Some(match skips {
            None => skip,
            Some(mut sum) => {
                add(&mut sum, &skip);
                if hyper.skips == Skips::Halved {
                    scale(&mut sum, half);
                }
                sum
            }
        });
        let out = convolution(tensors, &of("conv1x1_out"), &z, 1, 1);
        add(&mut x, &out);
        scale(&mut x, half);
    }
    let mut y = skips.unwrap();
    if hyper.skips == Skips::Scaled {
        scale(&mut y, (1.0 / hyper.layers as f64).sqrt());
    }
    relu(&mut y);
    let mut y = convolution(tensors, "last_conv_layers.1", &y, 1, 1);
    relu(&mut y);
    let y = convolution(tensors, "last_conv_layers.3", &y, 1, 1);
    y.into_iter().flatten().collect()
}
