use fastpix::{Codes, Dtype, Network};
use test_support::engine::{MODES, Mode, batch, engine, sample};
use test_support::networks::{
    dilated, dilated_scaled, images, mixture, parameters, sequence, staged,
};
use test_support::reference::assert_close;

use crate::devices::Device;

/// Networks and sizes: sides that are odd, 1, narrower than the halo, and shorter than the rings.
fn cases() -> Vec<(Network, (usize, usize))> {
    vec![
        (dilated(10), (7, 5)),
        (dilated(2), (1, 1)),
        (dilated(3), (5, 1)),
        (dilated_scaled(9), (4, 5)),
        (staged(6), (5, 7)),
        (sequence(), (80, 1)),
        (mixture(1), (3, 5)),
        (mixture(2), (3, 5)),
        (mixture(4), (3, 5)),
    ]
}

fn classes(network: &Network, count: usize) -> Vec<usize> {
    let classes = network.graph.condition.classes();
    classes.map_or(vec![], |classes| {
        (0..count).map(|image| image % classes).collect()
    })
}

fn what(network: &Network, size: (usize, usize), mode: Mode) -> String {
    format!("{} {size:?} {mode:?}", network.info.family)
}

test_on_devices!(parameters_are_those_of_the_graph_in_float64);
fn parameters_are_those_of_the_graph_in_float64(device: Device) {
    // The networks are a few layers deep; weights and operands are rounded to the dtype.
    let tolerance = match device.dtype() {
        Dtype::F32 => 1e-5,
        Dtype::F16 => 5e-3,
        _ => 4e-2,
    };
    for (network, size) in cases() {
        let images = images(&network, 3, size);
        let classes = classes(&network, 3);
        let expected = parameters(&network, &images, &classes);
        let engine = engine(&network, &device.target());
        for mode in MODES {
            let found = engine.parameters(images.clone(), &classes, mode).unwrap();
            let what = what(&network, size, mode);
            assert_close(&what, &found.values, &expected, tolerance, tolerance);
        }
    }
}

test_on_devices!(cached_and_naive_sampling_agree_on_any_network: Cpu, CpuBf16, CudaGraph, CudaF16);
fn cached_and_naive_sampling_agree_on_any_network(device: Device) {
    for (network, (height, width)) in cases() {
        // Naive sampling evaluates all rows for each pixel.
        let size = (height.min(if device.is_cpu() { 20 } else { 4 }), width);
        let engine = engine(&network, &device.target());
        let batch = batch(network.graph.condition.classes(), size, 0..2);
        let cached = sample(&engine, &batch);
        let naive = sample(&engine, &batch.clone().mode(Mode::WholeImage));
        let what = what(&network, size, Mode::Cached);
        assert!(cached.to_codes() == naive.to_codes(), "{what}");
        if device.is_cpu() {
            assert!(cached == naive, "{what}: to the last bit");
        }
    }
}

test_on_devices!(samples_of_any_network_are_those_of_the_cpu: CudaGraph, CudaStream);
fn samples_of_any_network_are_those_of_the_cpu(device: Device) {
    for (network, size) in cases() {
        let batch = batch(network.graph.condition.classes(), size, 3..6);
        let found = sample(&engine(&network, &device.target()), &batch);
        let expected = sample(&engine(&network, &Device::Cpu.target()), &batch);
        let what = what(&network, size, Mode::Cached);
        assert!(found.to_codes() == expected.to_codes(), "{what}");
    }
}

test_on_devices!(scores_of_any_network_follow_from_its_parameters: Cpu, CudaGraph);
fn scores_of_any_network_follow_from_its_parameters(device: Device) {
    for (network, size) in cases() {
        let images = images(&network, 2, size);
        let classes = classes(&network, 2);
        let engine = engine(&network, &device.target());
        let parameters = parameters(&network, &images, &classes);
        let found = engine.score(images.clone(), &classes).unwrap();
        let expected = bits_per_dim(&network, &images, &parameters);
        let found: Vec<f32> = found.into_iter().map(|bits| bits as f32).collect();
        // Bins of probability near 1e-5 are differences of f32 sigmoids.
        let what = what(&network, size, Mode::WholeImage);
        assert_close(&what, &found, &expected, 2e-3, 1e-4);
    }
}

/// Bits per dimension in float64: the softmax of a class, or the logistic mixture of Salimans et
/// al. 2017 with the coefficients of the channels before.
fn bits_per_dim(network: &Network, images: &Codes, parameters: &[f64]) -> Vec<f64> {
    let graph = &network.graph;
    let [_, height, width, channels] = images.shape;
    let nats = |codes: &[u16], parameters: &[f64]| match graph.output {
        fastpix::network::OutputDistribution::Categorical { classes, .. } => {
            let logits = parameters.chunks(classes).zip(codes);
            let each = logits.map(|(logits, &code)| {
                let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
                logits[usize::from(code)] - sum.ln()
            });
            each.sum::<f64>()
        }
        fastpix::network::OutputDistribution::LogisticMixture { mixtures, channels } => {
            mixture_nats(mixtures, channels, codes, parameters)
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
