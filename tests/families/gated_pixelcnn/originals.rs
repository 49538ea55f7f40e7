use fastpix::distribution::Truncation;
use fastpix::{Dtype, Hooks, PixelPosition, SampleRequest};
use test_support::devices::Device;
use test_support::engine::{MODES, Mode, engine};
use test_support::reference::{Array, assert_close};
use test_support::test_on_devices;

use super::{Original, codes, evaluate, labels, originals};

/// Absolute, for logits of this size.
fn tolerance(device: Device, original: &Original, largest: f64) -> f64 {
    match device.dtype() {
        Dtype::F32 => original.f32_error,
        // Operands and weights of a few tens of products in a row are rounded by at most a unit
        // each; errors within a sum cancel for the most part.
        _ => 4.0 * device.unit() * largest,
    }
}

fn logits_match(device: Device, modes: &[Mode]) {
    for original in originals() {
        let io = original.io();
        let expected = &io["logits"].values;
        let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        for &mode in modes {
            let (network, target) = (original.network(), device.target());
            let (found, nats) = evaluate(&network, &target, &codes(&io["x"]), &labels(&io), mode);
            let abs = tolerance(device, &original, largest);
            let what = format!("{} {mode:?}", original.folder);
            assert_close(&what, &found, expected, abs, 0.0);
            // Of a pixel, whose channels each change by at most twice as much as a logit.
            let channels = network.graph().channels();
            let of_pixels = io["nll"].values.chunks(channels);
            let expected: Vec<f64> = of_pixels.map(|nll| -nll.iter().sum::<f64>()).collect();
            let abs = 2.0 * channels as f64 * abs;
            assert_close(&format!("{what}, nats"), &nats, &expected, abs, 1e-6);
        }
    }
}

test_on_devices!(whole_images_match_the_originals);
fn whole_images_match_the_originals(device: Device) {
    logits_match(device, &[Mode::WholeImage]);
}

test_on_devices!(cached_pixels_match_the_originals: Cpu, CpuBf16, CudaGraph, CudaStream, CudaF16, CudaBf16);
fn cached_pixels_match_the_originals(device: Device) {
    logits_match(device, &[Mode::Cached]);
}

/// A request for as many images as an original made, of its classes.
fn request(original: &Original, like: &Array) -> SampleRequest {
    let shape = codes(like).shape;
    let request = SampleRequest::new((shape[1], shape[2]), shape[0]);
    match labels(&original.io()) {
        labels if labels.is_empty() => request,
        labels => request.classes(labels),
    }
}

#[test]
fn greedy_codes_are_the_originals() {
    for original in originals() {
        let io = original.io();
        let engine = engine(&original.network(), &Device::Cpu.target());
        let request = request(&original, &io["greedy"]).truncation(Truncation::Greedy);
        for mode in MODES {
            let found = engine.sample(&request.clone().mode(mode)).unwrap();
            let what = format!("{} {mode:?}", original.folder);
            assert!(found.to_codes() == codes(&io["greedy"]), "{what}");
        }
    }
}

#[test]
fn completed_codes_are_the_originals() {
    for original in originals() {
        let io = original.io();
        let Some(completed) = io.get("completed") else {
            continue;
        };
        let engine = engine(&original.network(), &Device::Cpu.target());
        let given = codes(&io["x"]);
        let request = SampleRequest::completing(&given, given.shape[1] / 2);
        let request = request.truncation(Truncation::Greedy);
        for mode in MODES {
            let found = engine.sample(&request.clone().mode(mode)).unwrap();
            let what = format!("{} {mode:?}", original.folder);
            assert!(found.to_codes() == codes(completed), "{what}");
        }
    }
}

/// The original's rule: the first class whose cumulative probability exceeds `u`, all in float64.
fn inverse(logits: &[f32], u: f64) -> usize {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |&logit: &f32| (f64::from(logit) - f64::from(largest)).exp();
    let total: f64 = logits.iter().map(weight).sum();
    let mut sum = 0.0;
    let exceeds = |logit: &f32| {
        sum += weight(logit) / total;
        sum > u
    };
    logits.iter().position(exceeds).unwrap()
}

/// The first of the largest.
fn argmax(logits: &[f32]) -> usize {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&logit| logit == largest).unwrap()
}

/// Generates with a rule that is given the logits of a value and its flat index among all of them,
/// (N, H, W, C).
fn generated(
    device: Device,
    original: &Original,
    like: &Array,
    mode: Mode,
    rule: impl Fn(&[f32], usize) -> usize + Send + Sync,
) -> fastpix::Codes {
    let network = original.network();
    let request = request(original, like).mode(mode);
    let [_, height, width, channels] = codes(like).shape;
    let graph = network.graph();
    let (input, together) = (graph.input(), graph.output().channels());
    let classes = graph.output().parameters() / together;
    let mut source = |at: PixelPosition, parameters: &[f32], values: &mut [f32]| {
        let each = parameters.chunks(classes).zip(values).enumerate();
        for (index, (logits, value)) in each {
            let pixel = (index / together * height + at.row) * width + at.column;
            let channel = at.stage * together + index % together;
            *value = input.value(rule(logits, pixel * channels + channel) as u16);
        }
        Ok(())
    };
    let mut hooks = Hooks::new().pixel_source(&mut source);
    let found = engine(&network, &device.target()).sample_with(&request, &mut hooks);
    found.unwrap_or_else(|error| panic!("{error}")).to_codes()
}

test_on_devices!(given_uniforms_give_the_originals_codes: Cpu, CudaGraph, CudaStream);
fn given_uniforms_give_the_originals_codes(device: Device) {
    for original in originals() {
        let io = original.io();
        let u = &io["u"].values;
        let rule = |logits: &[f32], at: usize| inverse(logits, u[at]);
        let found = generated(device, &original, &io["sampled"], Mode::Cached, rule);
        assert!(found == codes(&io["sampled"]), "{}", original.folder);
    }
}

test_on_devices!(the_likeliest_codes_are_the_originals: CudaGraph);
fn the_likeliest_codes_are_the_originals(device: Device) {
    for original in originals() {
        let io = original.io();
        let rule = |logits: &[f32], _| argmax(logits);
        let found = generated(device, &original, &io["greedy"], Mode::Cached, rule);
        assert!(found == codes(&io["greedy"]), "{}", original.folder);
    }
}

#[test]
fn given_uniforms_give_the_originals_codes_naively() {
    for original in originals() {
        let io = original.io();
        let u = &io["u"].values;
        let rule = |logits: &[f32], at: usize| inverse(logits, u[at]);
        let like = &io["sampled"];
        let found = generated(Device::Cpu, &original, like, Mode::WholeImage, rule);
        assert!(found == codes(like), "{}", original.folder);
    }
}

#[test]
fn a_class_decides_its_own_images_only() {
    let original = &originals()[0];
    let io = original.io();
    let (network, x) = (original.network(), codes(&io["x"]));
    let target = Device::Cpu.target();
    let logits = |labels: &[usize]| evaluate(&network, &target, &x, labels, Mode::Cached).0;
    let mut labels = labels(&io);
    let before = logits(&labels);
    labels[1] = (labels[1] + 1) % 10;
    let after = logits(&labels);
    let of_image = before.len() / labels.len();
    let images = before.chunks(of_image).zip(after.chunks(of_image));
    let changed: Vec<bool> = images.map(|(before, after)| before != after).collect();
    assert_eq!(changed, [false, true, false, false]);
}
