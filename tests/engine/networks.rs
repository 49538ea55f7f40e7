use fastpix::{Dtype, EvaluationRequest, Network, SampleRequest, bits_per_dim};
use test_support::engine::{MODES, Mode, engine, evaluated};
use test_support::networks::{
    self, Conditions, dialect, dilated, dilated_scaled, images, many, mapped, mixture, parameters,
    sequence, staged, values, values_of, vector, vocoder,
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
        (dialect(1), 2, (3, 5)),
        (dialect(3), 3, (4, 3)),
        (many(1030), 3, (2, 3)),
        (many(16384), 1, (2, 1)),
        (vector(1), 1, (3, 4)),
        (vector(9), 18, (4, 3)),
        (mapped(7), 3, (10, 4)),
        (mapped(3), 17, (2, 2)),
        (vocoder(), 3, (70, 1)),
        (vocoder(), 1, (1, 1)),
    ]
}

fn request(network: &Network, count: usize, size: (usize, usize)) -> SampleRequest {
    let request = SampleRequest::new(size, count).seed(31);
    Conditions::new(network, count, size).sampling(request)
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
        let conditions = Conditions::new(&network, count, size);
        let (codes, between) = (images(&network, count, size), values(&network, count, size));
        let engine = engine(&network, &device.target());
        for (given, values) in [
            (EvaluationRequest::new(&codes), &values_of(&network, &codes)),
            (EvaluationRequest::new(&between), &between),
        ] {
            let expected = parameters(&network, values, &conditions);
            let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
            for mode in MODES {
                let request = conditions.evaluation(given).mode(mode);
                let found = evaluated(&engine, &request).parameters;
                let what = what(&network, count, size, mode);
                assert_close(&what, &found, &expected, error * (1.0 + largest), 0.0);
            }
        }
    }
}

test_on_devices!(cached_and_naive_sampling_agree_on_any_network: Cpu, CpuBf16, CudaGraph, CudaF16);
fn cached_and_naive_sampling_agree_on_any_network(device: Device) {
    for (network, count, size) in cases() {
        // Naive sampling evaluates everything once per pixel.
        if size.0 > 20 {
            continue;
        }
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
        // Some rows are kept of some of the images, of every other one as values between codes.
        let row = size.1 * network.graph().channels();
        let between = values(&network, count, size);
        let given = found.images().zip(between.images());
        for (index, (image, (codes, values))) in request.images.iter_mut().zip(given).enumerate() {
            let kept = ((index + 1) % 3).min(size.0) * row;
            image.prefix = match index % 2 {
                0 => codes[..kept].to_vec().into(),
                _ => values[..kept].to_vec().into(),
            };
            image.index += 100;
        }
        let found = here.sample(&request).unwrap();
        let expected = cpu.sample(&request).unwrap().to_codes();
        assert!(found.to_codes() == expected, "{what}, completed");
        let of_images = found.values.chunks(size.0 * row);
        for (image, found) in request.images.iter().zip(of_images) {
            for (index, &found) in found.iter().enumerate() {
                let given = image.prefix.value(index, network.graph().input());
                assert_eq!(given.unwrap_or(found), found, "{what}, kept");
            }
        }
    }
}

test_on_devices!(scores_of_any_network_follow_from_its_parameters: Cpu, CudaGraph);
fn scores_of_any_network_follow_from_its_parameters(device: Device) {
    for (network, count, size) in cases() {
        let conditions = Conditions::new(&network, count, size);
        let (codes, between) = (images(&network, count, size), values(&network, count, size));
        let engine = engine(&network, &device.target());
        for (given, values) in [
            (EvaluationRequest::new(&codes), &values_of(&network, &codes)),
            (EvaluationRequest::new(&between), &between),
        ] {
            let parameters = parameters(&network, values, &conditions);
            let expected = networks::bits_per_dim(&network, values, &parameters);
            for mode in MODES {
                let request = conditions.evaluation(given).mode(mode).likelihoods(true);
                let nats = evaluated(&engine, &request).nats;
                let of_images = nats.chunks(size.0 * size.1);
                let found: Vec<f32> = of_images
                    .map(|nats| bits_per_dim(nats, network.graph().channels()) as f32)
                    .collect();
                // Bins of probability near 1e-5 are differences of f32 sigmoids.
                let what = what(&network, count, size, mode);
                assert_close(&what, &found, &expected, 2e-3, 1e-4);
            }
        }
    }
}
