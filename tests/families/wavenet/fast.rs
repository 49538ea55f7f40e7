//! The original's row `t` of logits has seen inputs 0 to t: it is row t + 1 here, whose row 0 has seen
//! none. Inputs of the references lie between the bins, as generated ones do not.

use fastpix::checkpoint::{Averages, Checkpoint, Format};
use fastpix::distribution::{Categorical, Truncation};
use fastpix::families::wavenet::FastWaveNet;
use fastpix::network::{Companding, Medium};
use fastpix::{Codes, Hooks, Network, Nhwc, SampleRequest, SampledRow};
use test_support::devices::Device;
use test_support::engine::engine;
use test_support::reference::{Array, assert_close, npz};

use super::{MODES, checkpoint, collect, evaluate, file, item, item_f64, sequence};

const FILES: [(&str, Format); 3] = [
    ("fast/weights.npz", Format::Npz),
    ("fast/v1/wavenet.ckpt", Format::TensorFlowV1),
    ("fast/v2/wavenet.ckpt", Format::TensorFlowV2),
];
const CLASSES: usize = 16;

fn network() -> Network {
    checkpoint("fast/weights.npz").into_network().unwrap()
}

/// The inputs with one more, which no reference has seen.
fn inputs(array: &Array, index: usize) -> Vec<f32> {
    let mut inputs = item(array, index);
    inputs.push(0.5);
    inputs
}

/// Absolute: logits are 7 at most. The original loses 3e-6 in f32; half precision rounds the operands
/// of 8 layers of ReLUs, whose activations are 8 at most.
fn tolerance(device: Device) -> f64 {
    match device.unit() {
        unit if unit < 1e-6 => 2e-5,
        unit => 24.0 * unit,
    }
}

test_on_devices!(logits_match_the_original);
fn logits_match_the_original(device: Device) {
    let io = npz(&file("fast/io.npz"));
    let engine = engine(&network(), &device.target());
    for mode in MODES {
        for index in 0..2 {
            let values = sequence(inputs(&io["inputs"], index));
            let found = evaluate(&engine, &values, &[], &[], mode).parameters;
            let what = format!("{mode:?} {index}");
            let (first, rest) = found.split_at(CLASSES);
            let expected = item_f64(&io["logits"], index);
            assert_close(&what, rest, expected, tolerance(device), 0.0);
            // From nothing but the initial 0: the first step of the original's generation.
            let expected = &io["gen_logits"].values[..CLASSES];
            assert_close(&what, first, expected, tolerance(device), 0.0);
        }
    }
}

test_on_devices!(logits_of_generation_match_the_original);
fn logits_of_generation_match_the_original(device: Device) {
    let io = npz(&file("fast/io.npz"));
    let engine = engine(&network(), &device.target());
    let classes = io["gen_classes"].values.iter();
    let generated = Codes {
        shape: [1, 64, 1, 1],
        values: classes.map(|&class| class as u16).collect(),
    };
    // Step t has seen the classes before it.
    let expected = &io["gen_logits"].values;
    for mode in MODES {
        let found = engine.parameters(generated.clone(), &[], mode).unwrap();
        let what = format!("{mode:?}");
        assert_close(&what, &found.values, expected, tolerance(device), 0.0);
    }
}

test_on_devices!(cached_and_naive_classes_agree: Cpu, CpuBf16, CudaGraph, CudaF16);
fn cached_and_naive_classes_agree(device: Device) {
    let engine = engine(&network(), &device.target());
    let rows = if device.is_cpu() { 50 } else { 8 };
    let request = SampleRequest::new((rows, 1), 2).seed(3);
    let cached = engine.sample(&request).unwrap();
    let naive = engine.sample(&request.mode(MODES[1])).unwrap();
    assert!(cached.to_codes() == naive.to_codes());
}

test_on_devices!(sequences_beyond_the_receptive_field_match_the_original: Cpu, CpuBf16, CudaGraph);
fn sequences_beyond_the_receptive_field_match_the_original(device: Device) {
    let io = npz(&file("fast/io.npz"));
    let engine = engine(&network(), &device.target());
    for mode in MODES {
        let values = sequence(inputs(&io["long_inputs"], 1));
        let found = evaluate(&engine, &values, &[], &[], mode).parameters;
        // The reference keeps steps 160 to 255.
        let last = &found[161 * CLASSES..];
        let expected = item_f64(&io["long_logits"], 1);
        let what = format!("{mode:?}");
        assert_close(&what, last, expected, tolerance(device), 0.0);
    }
}

#[test]
fn costs_match_the_original() {
    let io = npz(&file("fast/io.npz"));
    let engine = engine(&network(), &Device::Cpu.target());
    for part in ["", "long_"] {
        for index in 0..2 {
            let values = sequence(inputs(&io[&format!("{part}inputs")], index));
            let found = evaluate(&engine, &values, &[], &[], MODES[0]).parameters;
            let targets = item(&io[&format!("{part}targets")], index);
            let logits = found[CLASSES..].chunks(CLASSES);
            let costs = logits.zip(targets).map(|(logits, target)| {
                -Categorical { logits }.log_likelihood(target as usize) as f32
            });
            let costs: Vec<f32> = costs.collect();
            let expected = item_f64(&io[&format!("{part}costs")], index);
            assert_close(part, &costs, expected, 2e-5, 0.0);
        }
    }
}

test_on_devices!(likelihoods_are_those_of_the_nearest_bins: Cpu, CudaGraph);
fn likelihoods_are_those_of_the_nearest_bins(device: Device) {
    let io = npz(&file("fast/io.npz"));
    let network = network();
    let engine = engine(&network, &device.target());
    let values = sequence(item(&io["inputs"], 0));
    for mode in MODES {
        let found = evaluate(&engine, &values, &[], &[], mode);
        let rows = found.parameters.chunks(CLASSES).zip(&values.values);
        let expected: Vec<f64> = rows
            .map(|(logits, &value)| {
                let bins = io["bins"].values.iter();
                let distance = |bin: &f64| (bin - f64::from(value)).abs();
                let nearest = bins
                    .enumerate()
                    .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)));
                let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
                f64::from(logits[nearest.unwrap().0]) - sum.ln()
            })
            .collect();
        let found: Vec<f32> = found.nats.iter().map(|&nats| nats as f32).collect();
        assert_close("nats", &found, &expected, 1e-5, 0.0);
    }
}

/// A sequence of the likeliest class of each step.
fn greedy(rows: usize) -> SampleRequest {
    SampleRequest::new((rows, 1), 1).truncation(Truncation::Greedy)
}

test_on_devices!(the_likeliest_classes_are_the_originals: Cpu, CudaGraph);
fn the_likeliest_classes_are_the_originals(device: Device) {
    let io = npz(&file("fast/io.npz"));
    let engine = engine(&network(), &device.target());
    let expected = io["gen_classes"].usize();
    for mode in MODES {
        // Naive generation evaluates every row for each.
        let rows = if mode == MODES[0] { 64 } else { 12 };
        let samples = engine.sample(&greedy(rows).mode(mode)).unwrap();
        let found: Vec<usize> = samples
            .to_codes()
            .values
            .iter()
            .map(|&code| code.into())
            .collect();
        assert_eq!(found, expected[..rows], "{mode:?}");
        // What is fed back is the value of the bin.
        let bins: Vec<f64> = found
            .iter()
            .map(|&class| io["bins"].values[class])
            .collect();
        assert_close("values", &samples.values, &bins, 1e-7, 0.0);
    }
}

test_on_devices!(a_stream_is_what_is_sampled: Cpu, CpuBf16, CudaGraph);
fn a_stream_is_what_is_sampled(device: Device) {
    let engine = engine(&network(), &device.target());
    let request = SampleRequest::new((21, 1), 3).seed(5);
    let expected = engine.sample(&request).unwrap().values;
    let mut streamed = vec![0.0; expected.len()];
    let mut take = |row: SampledRow<'_>| {
        for (sequence, &value) in row.values.iter().enumerate() {
            streamed[sequence * 21 + row.row] = value;
        }
    };
    let mut hooks = Hooks::new().row_done(&mut take);
    engine.stream(&request, &mut hooks).unwrap();
    assert_eq!(streamed, expected);
}

test_on_devices!(a_prefix_decides_what_follows: Cpu, CudaGraph);
fn a_prefix_decides_what_follows(device: Device) {
    let io = npz(&file("fast/io.npz"));
    let engine = engine(&network(), &device.target());
    let classes = io["gen_classes"].usize();
    let codes = |range: std::ops::Range<usize>| -> Vec<u16> {
        classes[range].iter().map(|&class| class as u16).collect()
    };
    let mut request = greedy(64);
    request.images[0].prefix = codes(0..40).into();
    let found = engine.sample(&request).unwrap().to_codes();
    assert_eq!(found.values, codes(0..64));
    // Another beginning has another end.
    let mut other = codes(0..40);
    other.reverse();
    request.images[0].prefix = other.into();
    let found = engine.sample(&request).unwrap().to_codes();
    assert_ne!(found.values[40..], codes(40..64));
}

#[test]
fn every_file_of_the_original_holds_the_same_tensors() {
    let expected = checkpoint(FILES[0].0);
    let hyper = expected.hyperparameters.wavenet().unwrap();
    assert_eq!(
        hyper.fast(),
        Some(&FastWaveNet {
            num_blocks: 2,
            num_layers: 4,
            num_hidden: 8,
            num_classes: CLASSES,
            sample_rate: None,
        })
    );
    for (name, format) in FILES {
        let found = checkpoint(name);
        assert_eq!(found.format, format, "{name}");
        assert_eq!(found.averages, Averages::Absent);
        assert_eq!(found.hyperparameters, expected.hyperparameters);
        assert!(found.tensors == expected.tensors, "{name}");
    }
    let numbers = expected.tensors.values();
    let count: usize = numbers.map(|tensor| tensor.values.len()).sum();
    assert_eq!(hyper.parameter_count(), count);
    // Measured with the original.
    assert_eq!(hyper.receptive_field(), 31);
}

#[test]
fn slots_of_the_optimiser_are_left_out_by_name() {
    let loaded = checkpoint("fast/v2/wavenet.ckpt");
    let why = |name: &str| {
        let mut ignored = loaded.ignored.iter();
        ignored
            .find(|ignored| ignored.name == name)
            .map(|ignored| ignored.why.as_str())
    };
    assert_eq!(why("b1-l3/w/Adam_1"), Some("optimiser slot"));
    assert_eq!(why("w/Adam"), Some("optimiser slot"));
    assert_eq!(why("beta1_power"), Some("optimiser state"));
    assert_eq!(why("w"), None);
    let inspected = Checkpoint::inspect(&loaded.path).unwrap();
    assert_eq!(inspected.problem, None);
    let all = loaded.tensors.len() + loaded.ignored.len();
    assert_eq!(inspected.tensors.len(), all);
}

#[test]
fn the_network_says_what_it_is() {
    let network = network();
    let info = network.info();
    assert_eq!(info.family, "WaveNet");
    assert_eq!(info.hyperparameters["model"], "wavenet");
    assert_eq!(info.hyperparameters["original"], "fast-wavenet");
    let expected = Medium::Audio {
        sample_rate: None,
        companding: Companding::Linear,
        emphasis: 0.0,
        gain: 1.0,
    };
    assert_eq!(info.medium, expected);
    assert_eq!(network.graph().channels(), 1);
}

#[test]
fn a_batch_of_sequences_is_each_of_them() {
    let io = npz(&file("fast/io.npz"));
    let engine = engine(&network(), &Device::Cpu.target());
    let both = Nhwc {
        shape: [2, 64, 1, 1],
        values: io["inputs"].f32(),
    };
    let request = fastpix::EvaluationRequest::new(&both);
    let together = collect(&engine, &request).parameters;
    let each = (0..2).flat_map(|index| {
        let values = sequence(item(&io["inputs"], index));
        evaluate(&engine, &values, &[], &[], MODES[0]).parameters
    });
    assert_eq!(together, each.collect::<Vec<f32>>());
}
