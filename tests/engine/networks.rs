use fastpix::network::OutputDistribution;
use fastpix::{Codes, Dtype, EvaluationRequest, Hooks, ImageRequest, Network, SampleRequest};
use test_support::engine::{MODES, Mode, engine};
use test_support::networks::{
    dilated, dilated_scaled, images, mixture, parameters, sequence, staged,
};
use test_support::reference::assert_close;

use crate::devices::Device;

/// A network, a number of images and their size: batches that fill no block, and more than one;
/// sides that are odd, 1, narrower than the halo, shorter than the rings and longer, so that these
/// wrap around.
fn cases() -> Vec<(Network, usize, (usize, usize))> {
    vec![
        (dilated(10), 3, (9, 7)),
        (dilated(2), 1, (1, 1)),
        (dilated(3), 2, (5, 1)),
        (dilated(40), 17, (5, 3)),
        (dilated_scaled(9), 3, (4, 5)),
        (staged(6), 5, (5, 4)),
        (sequence(), 2, (150, 1)),
        (sequence(), 18, (9, 1)),
        (mixture(1), 3, (3, 5)),
        (mixture(2), 3, (4, 5)),
        (mixture(4), 1, (3, 4)),
        (mixture(5), 2, (3, 3)),
    ]
}

fn classes(network: &Network, count: usize) -> Vec<usize> {
    let classes = network.graph().condition().classes();
    classes.map_or(vec![], |classes| {
        (0..count).map(|image| image % classes).collect()
    })
}

fn request(network: &Network, count: usize, size: (usize, usize)) -> SampleRequest {
    let classes = classes(network, count);
    let images = (0..count).map(|image| ImageRequest {
        class: classes.get(image).copied(),
        ..ImageRequest::new(image as u64)
    });
    SampleRequest::of(size, images.collect()).seed(31)
}

fn what(network: &Network, count: usize, size: (usize, usize), mode: Mode) -> String {
    format!("{} {count} {size:?} {mode:?}", network.info().family)
}

test_on_devices!(parameters_are_those_of_the_graph_in_float64);
fn parameters_are_those_of_the_graph_in_float64(device: Device) {
    // The networks are a few layers deep; weights and operands are rounded to the dtype.
    let error = match device.dtype() {
        Dtype::F32 => 2f64.powi(-18),
        Dtype::F16 => 2f64.powi(-8),
        _ => 2f64.powi(-5),
    };
    for (network, count, size) in cases() {
        let images = images(&network, count, size);
        let classes = classes(&network, count);
        let expected = parameters(&network, &images, &classes);
        let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let engine = engine(&network, &device.target());
        for mode in MODES {
            let found = engine.parameters(images.clone(), &classes, mode).unwrap();
            let what = what(&network, count, size, mode);
            assert_close(
                &what,
                &found.values,
                &expected,
                error * (1.0 + largest),
                0.0,
            );
        }
    }
}

test_on_devices!(cached_and_naive_sampling_agree_on_any_network: Cpu, CpuBf16, CudaGraph, CudaF16);
fn cached_and_naive_sampling_agree_on_any_network(device: Device) {
    for (network, count, (height, width)) in cases() {
        // Naive sampling evaluates all rows for each pixel.
        let rows = if device.is_cpu() { 20 } else { 4 };
        let (size, count) = ((height.min(rows), width), count.min(3));
        let engine = engine(&network, &device.target());
        let request = request(&network, count, size);
        let cached = engine.sample(&request).unwrap();
        let naive = engine.sample(&request.mode(Mode::WholeImage)).unwrap();
        let what = what(&network, count, size, Mode::Cached);
        assert!(cached.to_codes() == naive.to_codes(), "{what}");
        if device.is_cpu() {
            assert!(cached == naive, "{what}: to the last bit");
        }
    }
}

test_on_devices!(samples_of_any_network_are_those_of_the_cpu: CudaGraph, CudaStream);
fn samples_of_any_network_are_those_of_the_cpu(device: Device) {
    for (network, count, size) in cases() {
        let what = what(&network, count, size, Mode::Cached);
        let (here, cpu) = (
            engine(&network, &device.target()),
            engine(&network, &Device::Cpu.target()),
        );
        let mut request = request(&network, count, size);
        let found = here.sample(&request).unwrap().to_codes();
        assert!(found == cpu.sample(&request).unwrap().to_codes(), "{what}");
        // Some rows are kept of some of the images.
        let row = size.1 * network.graph().channels();
        for (index, (image, codes)) in request.images.iter_mut().zip(found.images()).enumerate() {
            image.prefix = codes[..(index % 3).min(size.0) * row].to_vec().into();
            image.index += 100;
        }
        let found = here.sample(&request).unwrap().to_codes();
        let expected = cpu.sample(&request).unwrap().to_codes();
        assert!(found == expected, "{what}, completed");
        for (image, codes) in request.images.iter().zip(found.images()) {
            let kept = codes[..image.prefix.len()].to_vec();
            assert_eq!(image.prefix, kept.into(), "{what}");
        }
    }
}

test_on_devices!(scores_of_any_network_follow_from_its_parameters: Cpu, CudaGraph);
fn scores_of_any_network_follow_from_its_parameters(device: Device) {
    for (network, count, size) in cases() {
        let images = images(&network, count, size);
        let classes = classes(&network, count);
        let parameters = parameters(&network, &images, &classes);
        let expected = bits_per_dim(&network, &images, &parameters);
        let engine = engine(&network, &device.target());
        for mode in MODES {
            let request = EvaluationRequest::new(&images)
                .classes(&classes)
                .mode(mode)
                .likelihoods(true);
            let mut found = Vec::new();
            let mut take = |part: fastpix::backend::Evaluation| {
                let of_image = part.nats.chunks(size.0 * size.1);
                let channels = network.graph().channels();
                found.extend(of_image.map(|nats| fastpix::bits_per_dim(nats, channels) as f32));
            };
            engine
                .evaluate(&request, &mut Hooks::new(), &mut take)
                .unwrap();
            // Bins of probability near 1e-5 are differences of f32 sigmoids.
            let what = what(&network, count, size, mode);
            assert_close(&what, &found, &expected, 2e-3, 1e-4);
        }
    }
}

/// Bits per dimension in float64: the softmax of a class, or the logistic mixture of Salimans et
/// al. 2017 with the coefficients of the channels before.
fn bits_per_dim(network: &Network, images: &Codes, parameters: &[f64]) -> Vec<f64> {
    let graph = network.graph();
    let [_, height, width, channels] = images.shape;
    let nats = |codes: &[u16], parameters: &[f64]| match *graph.output() {
        OutputDistribution::Categorical { classes, .. } => {
            let logits = parameters.chunks(classes).zip(codes);
            let each = logits.map(|(logits, &code)| {
                let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
                logits[usize::from(code)] - sum.ln()
            });
            each.sum::<f64>()
        }
        OutputDistribution::LogisticMixture(mixture) => {
            mixture_nats(mixture.mixtures, mixture.channels, codes, parameters)
        }
    };
    let pixels = height * width;
    let images = images
        .images()
        .zip(parameters.chunks(pixels * graph.parameters()));
    images
        .map(|(codes, parameters)| {
            let pixels = codes.chunks(channels);
            let pixels = pixels.zip(parameters.chunks(graph.parameters()));
            let total: f64 = pixels
                .map(|(codes, parameters)| nats(codes, parameters))
                .sum();
            -total / (codes.len() as f64 * std::f64::consts::LN_2)
        })
        .collect()
}

fn mixture_nats(mixtures: usize, channels: usize, codes: &[u16], parameters: &[f64]) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let x: Vec<f64> = codes
        .iter()
        .map(|&code| (f64::from(code) - 127.5) / 127.5)
        .collect();
    let groups = channels / 2;
    let block = |channel: usize| mixtures * (1 + channel * (2 + groups));
    let weights: f64 = parameters[..mixtures].iter().map(|logit| logit.exp()).sum();
    let each = (0..mixtures).map(|mix| {
        let mut probability = parameters[mix].exp() / weights;
        let mut coefficients = (0..).map(|index: usize| {
            parameters[block(index / groups) + (2 + index % groups) * mixtures + mix].tanh()
        });
        for channel in 0..channels {
            let mut mean = parameters[block(channel) + mix];
            for x in &x[..channel] {
                mean += coefficients.next().unwrap() * x;
            }
            let log_scale = parameters[block(channel) + mixtures + mix].max(-7.0);
            let at = |x: f64| sigmoid((x - mean) * (-log_scale).exp());
            let half = 1.0 / 255.0;
            let above = if codes[channel] == 255 {
                1.0
            } else {
                at(x[channel] + half)
            };
            let below = if codes[channel] == 0 {
                0.0
            } else {
                at(x[channel] - half)
            };
            probability *= above - below;
        }
        probability
    });
    each.sum::<f64>().ln()
}
