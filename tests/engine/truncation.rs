use fastpix::distribution::Truncation;
use fastpix::{Network, SampleRequest};
use test_support::engine::engine;
use test_support::networks::{Conditions, dilated, many, staged};

use crate::devices::Device;

fn networks() -> [(Network, (usize, usize)); 3] {
    [
        (dilated(40), (5, 3)),
        (staged(6), (4, 4)),
        (many(1030), (2, 3)),
    ]
}

fn request(network: &Network, size: (usize, usize)) -> SampleRequest {
    let request = SampleRequest::new(size, 3).seed(8);
    Conditions::new(network, 3, size).sampling(request)
}

test_on_devices!(truncated_samples_are_those_of_the_cpu: CudaGraph, CudaStream);
fn truncated_samples_are_those_of_the_cpu(device: Device) {
    for (network, size) in networks() {
        // One engine for all: what was captured for one request serves the next.
        let here = engine(&network, &device.target());
        let cpu = engine(&network, &Device::Cpu.target());
        for truncation in [
            Truncation::TopK(3),
            Truncation::None,
            Truncation::Greedy,
            Truncation::TopP(0.8),
            Truncation::TopK(1),
        ] {
            let request = request(&network, size).truncation(truncation);
            let request = request.temperature(1.3);
            let (found, expected) = (here.sample(&request), cpu.sample(&request));
            let same = found.unwrap() == expected.unwrap();
            assert!(same, "{} {truncation:?}", network.info().family);
        }
    }
}

test_on_devices!(the_likeliest_classes_do_not_depend_on_the_seed);
fn the_likeliest_classes_do_not_depend_on_the_seed(device: Device) {
    for (network, size) in networks() {
        let engine = engine(&network, &device.target());
        let request = request(&network, size);
        let greedy = request.clone().truncation(Truncation::Greedy);
        let expected = engine.sample(&greedy).unwrap();
        let family = network.info().family;
        assert!(expected != engine.sample(&request).unwrap(), "{family}");
        for other in [
            greedy.clone().seed(9),
            greedy.temperature(0.2),
            request.clone().truncation(Truncation::TopK(1)),
            request.truncation(Truncation::TopP(1e-6)),
        ] {
            assert!(engine.sample(&other).unwrap() == expected, "{family}");
        }
    }
}
