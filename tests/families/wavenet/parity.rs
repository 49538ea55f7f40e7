//! `y_hat[t]` of the original has seen inputs 0 to t and row t of the upsampled features, and predicts
//! input t + 1. So it is row t here of the sequence whose samples are inputs 1, 2, ..., after the
//! initial sample 0: the networks of these tests have that one instead of silence.

use fastpix::backend::Values;
use fastpix::checkpoint::{Checkpoint, LoadOptions};
use fastpix::families::wavenet::{Output, Skips};
use fastpix::network::{Given, Map};
use fastpix::{Dtype, EvaluationRequest, Network};
use test_support::devices::Device;
use test_support::engine::engine;
use test_support::reference::{Array, assert_close, npz};

use super::{
    MODES, MOL, MULAW, after, changed, checkpoint, collect, evaluate, file, item, item_f64, map,
    sequence,
};

/// Absolute, for outputs of about two. In f32 the original itself differs from its f64 by 2e-6; bf16
/// rounds operands of some twenty products, one after the other.
fn tolerance(device: Device) -> f64 {
    match device.dtype() {
        Dtype::F32 => 1e-5,
        _ => 16.0 * device.unit(),
    }
}

/// A sequence whose parameters are those of an item of the original: its inputs from the second on,
/// and one that nothing has seen.
fn shifted(inputs: &[f32], unseen: f32) -> Vec<f32> {
    [&inputs[1..], &[unseen]].concat()
}

/// Compares the outputs for the items of a reference with `y_hat`, of which there may be fewer items
/// and rows.
fn check(device: Device, what: &str, checkpoint: &Checkpoint, io: &Reference<'_>) {
    let count = io.y_hat.shape[0];
    // Emulated devices take their time.
    let first = if device.is_cpu() { 0 } else { count - 1 };
    for index in first..count {
        let inputs = item(io.x, index);
        let engine = engine(&after(checkpoint, inputs[0]), &device.target());
        let values = sequence(shifted(&inputs, 0.0));
        let expected = item_f64(io.y_hat, index);
        let speaker: Vec<usize> = io.g.iter().map(|g| g.usize()[index]).collect();
        let maps = [map(checkpoint, io.c, index)];
        for mode in MODES {
            let found = evaluate(&engine, &values, &speaker, &maps, mode).parameters;
            let what = format!("{what} {index} {mode:?}");
            let found = &found[..expected.len()];
            assert_close(&what, found, expected, tolerance(device), 0.0);
        }
    }
}

/// Inputs, frames, speakers and outputs of the original.
struct Reference<'a> {
    x: &'a Array,
    c: &'a Array,
    g: Option<&'a Array>,
    y_hat: &'a Array,
}

test_on_devices!(mixtures_match_the_original);
fn mixtures_match_the_original(device: Device) {
    let io = npz(&file("mol/io.npz"));
    let reference = |y_hat| Reference {
        x: &io["x"],
        c: &io["c"],
        g: Some(&io["g"]),
        y_hat: &io[y_hat],
    };
    let averaged = checkpoint(MOL);
    check(device, "averaged", &averaged, &reference("y_hat"));
    // The original's f32, of which there are the first 16 rows.
    let raw = checkpoint("mol/checkpoint_step000000100.safetensors");
    check(device, "raw", &raw, &reference("y_hat_raw"));
}

test_on_devices!(classes_match_the_original);
fn classes_match_the_original(device: Device) {
    let io = npz(&file("mulaw/io.npz"));
    let reference = Reference {
        x: &io["x"],
        c: &io["c"],
        g: None,
        y_hat: &io["y_hat"],
    };
    check(device, "classes", &checkpoint(MULAW), &reference);
    let legacy = checkpoint("mulaw/checkpoint_step000000100_ema_legacy.pth");
    assert!(legacy.tensors == checkpoint(MULAW).tensors);
}

test_on_devices!(a_first_sample_that_is_given_precedes_the_others: Cpu, CpuBf16);
fn a_first_sample_that_is_given_precedes_the_others(device: Device) {
    let io = npz(&file("mol/io.npz"));
    let averaged = checkpoint(MOL);
    let engine = engine(&averaged.clone().into_network().unwrap(), &device.target());
    let inputs = [0, 1].map(|index| item(&io["x"], index));
    let first = [inputs[0][0], inputs[1][0]];
    let values = inputs.iter().flat_map(|inputs| shifted(inputs, 0.0));
    let values = Values {
        shape: [2, 96, 1, 1],
        values: values.collect(),
    };
    let maps = [0, 1].map(|index| map(&averaged, &io["c"], index));
    let speakers = io["g"].usize();
    for mode in MODES {
        let request = EvaluationRequest::new(&values)
            .classes(&speakers)
            .maps(&maps)
            .preceding(&first)
            .mode(mode);
        let found = collect(&engine, &request).parameters;
        let expected = &io["y_hat"].values;
        assert_close("both", &found, expected, tolerance(device), 0.0);
    }
}

/// One sequence of a variant, straight: row t of the outputs is row t here.
fn straight(device: Device, what: &str, network: &Network, request: &Straight<'_>, y: &Array) {
    let engine = engine(network, &device.target());
    let values = sequence(request.x.f32());
    let maps = [request.map.clone()];
    for mode in MODES {
        let mut evaluation = EvaluationRequest::new(&values).maps(&maps).mode(mode);
        evaluation = match request.given {
            Given::Vector(vector) => evaluation.vectors(vector),
            _ => evaluation.classes(request.class),
        };
        let found = collect(&engine, &evaluation).parameters;
        assert_close(what, &found, &y.values, tolerance(device), 0.0);
    }
}

/// What a sequence of a variant is made of.
struct Straight<'a> {
    x: &'a Array,
    map: Map,
    class: &'a [usize],
    given: Given<'a>,
}

test_on_devices!(the_older_generation_is_computed_as_it_was);
fn the_older_generation_is_computed_as_it_was(device: Device) {
    let io = npz(&file("older/io.npz"));
    let older = checkpoint("older/model.npz");
    let speaker = io["g"].usize();
    let request = Straight {
        x: &io["x"],
        map: map(&older, &whole(&io["c"]), 0),
        class: &speaker,
        given: Given::None,
    };
    let network = older.clone().into_network().unwrap();
    straight(device, "legacy", &network, &request, &io["y"]);
    let network = changed(&older, |hyper| hyper.skips = Skips::Sum);
    straight(device, "not legacy", &network, &request, &io["y_sum"]);
}

test_on_devices!(speakers_of_features_are_computed_as_they_were);
fn speakers_of_features_are_computed_as_they_were(device: Device) {
    let io = npz(&file("stretch/io.npz"));
    let model = checkpoint("stretch/model.npz");
    let vector = io["g"].f32();
    let request = Straight {
        x: &io["x"],
        map: map(&model, &whole(&io["c"]), 0),
        class: &[],
        given: Given::Vector(&vector),
    };
    let network = model.into_network().unwrap();
    straight(device, "features", &network, &request, &io["y"]);
}

/// An array as the only item of another.
pub(super) fn whole(array: &Array) -> Array {
    Array {
        shape: [&[1], &array.shape[..]].concat(),
        values: array.values.clone(),
    }
}

#[test]
fn the_first_input_decides_as_it_did() {
    // Silence of the classes is theirs that the original begins with, and its code in the JSON's.
    let io = npz(&file("stretch/io.npz"));
    let model = checkpoint("stretch/model.npz");
    let vector = io["g"].f32();
    let maps = [map(&model, &whole(&io["c"]), 0)];
    let outputs = |network: &Network, values: Vec<f32>| {
        let engine = engine(network, &Device::Cpu.target());
        let values = sequence(values);
        let request = EvaluationRequest::new(&values).maps(&maps).vectors(&vector);
        collect(&engine, &request).parameters
    };
    let x = io["x"].f32();
    let silence = outputs(&model.clone().into_network().unwrap(), x.clone());
    assert_close("silence", &silence, &io["y"].values, 1e-5, 0.0);
    let other = outputs(&after(&model, 3.0), x);
    let rows = silence.chunks(12).zip(other.chunks(12));
    let differ: Vec<bool> = rows.map(|(a, b)| a != b).collect();
    // Five layers of two taps: 32 samples decide one.
    assert!(differ[..32].iter().all(|&differ| differ), "{differ:?}");
    let last = silence[32 * 12..].iter().zip(&other[32 * 12..]);
    assert!(last.into_iter().all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn likelihoods_of_mixtures_match_the_original() {
    let io = npz(&file("mol/io.npz"));
    let averaged = checkpoint(MOL);
    for (quantized, name, error) in [
        // Bins so narrow are differences of f32 sigmoids near 1e-5: a few units of 6e-8 too many.
        (65536, "nll", 2e-2),
        (256, "nll_256", 5e-4),
    ] {
        for index in 0..2 {
            let inputs = item(&io["x"], index);
            let network = changed(&averaged, |hyper| {
                let Output::Raw {
                    quantize_channels,
                    initial,
                    ..
                } = &mut hyper.output
                else {
                    panic!("a mixture");
                };
                (*quantize_channels, *initial) = (quantized, inputs[0]);
            });
            let engine = engine(&network, &Device::Cpu.target());
            let values = sequence(shifted(&inputs, 0.0));
            let speaker = [io["g"].usize()[index]];
            let maps = [map(&averaged, &io["c"], index)];
            for mode in MODES {
                let found = evaluate(&engine, &values, &speaker, &maps, mode).nats;
                let found = found.iter().map(|&nats| -nats as f32);
                let found: Vec<f32> = found.take(95).collect();
                let expected = item_f64(&io[name], index);
                assert_close(name, &found, expected, error, 0.0);
            }
        }
    }
}

#[test]
fn likelihoods_of_classes_match_the_original() {
    let io = npz(&file("mulaw/io.npz"));
    let model = checkpoint(MULAW);
    for index in 0..2 {
        let inputs = item(&io["x"], index);
        let engine = engine(&after(&model, inputs[0]), &Device::Cpu.target());
        let values = sequence(shifted(&inputs, 0.0));
        let maps = [map(&model, &io["c"], index)];
        for mode in MODES {
            let found = evaluate(&engine, &values, &[], &maps, mode).nats;
            let found = found.iter().map(|&nats| -nats as f32);
            let found: Vec<f32> = found.take(95).collect();
            let expected = item_f64(&io["nll"], index);
            assert_close("nats", &found, expected, 1e-5, 1e-6);
        }
    }
}

#[test]
fn folded_weights_are_those_of_weight_norm() {
    // A converted file has the names of `make_generation_fast_`.
    let folder = tempfile::tempdir().unwrap();
    let averaged = checkpoint(MOL);
    for name in ["model.safetensors", "model.npz"] {
        let path = folder.path().join(name);
        averaged.save(&path).unwrap();
        let again = Checkpoint::open(&path, &LoadOptions::default()).unwrap();
        assert!(again.tensors == averaged.tensors, "{name}");
        assert_eq!(again.hyperparameters, averaged.hyperparameters);
        let network = again.into_network().unwrap();
        let encoder = network.map_encoder().expect("frames are still understood");
        assert_eq!((encoder.channels(), encoder.rows(5)), (20, 40));
        assert!(network.weights() == averaged.clone().into_network().unwrap().weights());
    }
}
