use fastpix::backend::Values;
use fastpix::families::wavenet::{
    self, FastWaveNet, Hyperparameters, Output, Skips, Speakers, Vocoder,
};
use fastpix::network::{Map, MapArray, MultiplyAdds};
use fastpix::{EvaluationRequest, Nhwc};
use proptest::prelude::*;
use test_support::devices::Device;
use test_support::engine::engine;
use test_support::reference::assert_close;

use super::{MODES, collect, restated, sequence};

/// Whole numbers that follow from a seed.
fn number(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    ((*seed >> 33) % below as u64) as usize
}

/// A number in -1 to 1.
fn value(seed: &mut u64) -> f32 {
    number(seed, 20_001) as f32 / 10_000.0 - 1.0
}

prop_compose! {
    /// Stacks that fit, kernels of one tap and of more, features and speakers or none, both kinds of
    /// output, any beginning.
    fn vocoders()(
        (stacks, of_a_stack, kernel_size) in (1usize..3, 1usize..8, 1usize..5),
        (residual, gates, skip) in (1usize..10, 1usize..6, 1usize..9),
        (classes, mixtures) in (prop::option::of(2usize..20), 1usize..4),
        cin_channels in 0usize..6,
        speakers in 0usize..3,
        (older, legacy) in (any::<bool>(), any::<bool>()),
        initial in 0usize..20,
    ) -> Vocoder {
        Vocoder {
            layers: stacks * of_a_stack,
            stacks,
            residual_channels: residual,
            gate_channels: 2 * gates,
            skip_out_channels: skip,
            kernel_size,
            output: match classes {
                Some(classes) => Output::MulawQuantize {
                    quantize_channels: classes,
                    mu: classes as u32 - 1,
                    initial: initial % classes,
                },
                None => Output::Raw {
                    mixtures,
                    quantize_channels: 256,
                    log_scale_min: -7.0,
                    sampling_log_scale_min: None,
                    mu: None,
                    initial: if initial < 10 { 0.0 } else { initial as f32 / 20.0 - 0.8 },
                },
            },
            cin_channels,
            upsampling: None,
            speakers: match speakers {
                0 => Speakers::One,
                1 => Speakers::Embedded { n_speakers: 3, gin_channels: 2 },
                _ => Speakers::Features { gin_channels: 4 },
            },
            conditioning_bias: older,
            skips: match (older, legacy) {
                (false, _) => Skips::Scaled,
                (true, true) => Skips::Halved,
                (true, false) => Skips::Sum,
            },
            ..Vocoder::mol()
        }
    }
}

/// A sequence of a model, its features and its speaker.
struct Case {
    values: Values,
    maps: Vec<Map>,
    features: Option<Vec<Vec<f64>>>,
    speaker: usize,
    vector: Vec<f32>,
}

impl Case {
    fn new(hyper: &Vocoder, rows: usize, mut seed: u64) -> Self {
        let values = (0..rows).map(|_| match hyper.output {
            Output::MulawQuantize {
                quantize_channels, ..
            } => number(&mut seed, quantize_channels) as f32,
            _ => value(&mut seed),
        });
        let values = sequence(values.collect());
        let cin = hyper.cin_channels;
        let features = (0..rows * cin).map(|_| value(&mut seed));
        let features: Vec<f32> = features.collect();
        let rows_of = features.chunks(cin.max(1));
        let wide = rows_of.map(|row| row.iter().map(|&x| x.into()).collect());
        let wide = (cin > 0).then(|| wide.collect());
        let map = |features| Map::new(MapArray::new([rows, 1, cin], features).unwrap());
        Self {
            values,
            features: wide,
            maps: if cin > 0 { vec![map(features)] } else { vec![] },
            speaker: number(&mut seed, 3),
            vector: match hyper.speakers {
                Speakers::Features { gin_channels } => {
                    (0..gin_channels).map(|_| value(&mut seed)).collect()
                }
                _ => vec![],
            },
        }
    }

    fn request<'a>(&'a self, hyper: &Vocoder) -> EvaluationRequest<'a> {
        let speaker = std::slice::from_ref(&self.speaker);
        let classes = match hyper.speakers {
            Speakers::Embedded { .. } => speaker,
            _ => &[],
        };
        EvaluationRequest::new(&self.values)
            .maps(&self.maps)
            .classes(classes)
            .vectors(&self.vector)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Lengths shorter and longer than dilations of up to 64.
    #[test]
    fn parameters_are_those_of_the_restatement(
        hyper in vocoders(),
        rows in prop_oneof![1usize..12, 50usize..90],
        seed in any::<u64>(),
    ) {
        let all = Hyperparameters::from(hyper.clone());
        let tensors = wavenet::random_tensors(&all, seed).unwrap();
        let case = Case::new(&hyper, rows, seed);
        let expected = restated::parameters(
            &hyper,
            &tensors,
            &case.values.values,
            case.features.as_deref(),
            case.speaker,
            &case.vector,
        );
        let network = wavenet::network(&all, tensors).unwrap();
        let engine = engine(&network, &Device::Cpu.target());
        let largest = expected.iter().fold(1.0f64, |most, x| most.max(x.abs()));
        let [cached, whole] = MODES.map(|mode| {
            collect(&engine, &case.request(&hyper).mode(mode)).parameters
        });
        assert_close(&format!("{hyper:?}"), &cached, &expected, 1e-5 * largest, 0.0);
        // On the CPU the same sums, to the last bit.
        prop_assert_eq!(cached, whole);
    }

    /// A sample changes what comes after it, within the receptive field, and nothing else.
    #[test]
    fn a_sample_decides_those_after_it(
        hyper in vocoders(),
        rows in 2usize..70,
        at in any::<prop::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let all = Hyperparameters::from(hyper.clone());
        let network = wavenet::random(&all, seed).unwrap();
        let engine = engine(&network, &Device::Cpu.target());
        let mut case = Case::new(&hyper, rows, seed);
        let of = |case: &Case| collect(&engine, &case.request(&hyper)).parameters;
        let base = of(&case);
        let at = at.index(rows);
        let changed = &mut case.values.values[at];
        *changed = match hyper.output {
            Output::MulawQuantize { quantize_channels, .. } => {
                (*changed + 1.0) % quantize_channels as f32
            }
            _ => *changed * -0.5 + 0.25,
        };
        let found = of(&case);
        let count = network.graph().parameters();
        let reach = at + 1..at + 1 + all.receptive_field();
        for (row, (a, b)) in base.chunks(count).zip(found.chunks(count)).enumerate() {
            prop_assert!(a == b || reach.contains(&row), "row {row} for {at}, {hyper:?}");
        }
    }

    #[test]
    fn metadata_say_all_there_is(hyper in vocoders(), rate in 1u32..100_000) {
        let mut hyper = hyper;
        hyper.sound.sample_rate = (rate % 2 == 0).then_some(rate);
        let all: fastpix::families::Hyperparameters = Hyperparameters::from(hyper).into();
        let json = serde_json::to_string(&all).unwrap();
        prop_assert_eq!(serde_json::from_str::<fastpix::families::Hyperparameters>(&json).unwrap(), all);
    }

    /// Blocks and layers of all kinds, among them dilations beyond the length.
    #[test]
    fn fast_wavenets_are_their_convolutions(
        (num_blocks, num_layers, num_hidden, num_classes) in (1usize..4, 1usize..8, 1usize..7, 2usize..9),
        rows in 1usize..40,
        seed in any::<u64>(),
    ) {
        let hyper = FastWaveNet { num_blocks, num_layers, num_hidden, num_classes, sample_rate: None };
        let all = Hyperparameters::from(hyper);
        let tensors = wavenet::random_tensors(&all, seed).unwrap();
        let mut state = seed;
        let values = sequence((0..rows).map(|_| value(&mut state)).collect());
        // The sample before, and zeros before the first.
        let mut x: Vec<Vec<f64>> = (0..rows)
            .map(|t| vec![t.checked_sub(1).map_or(0.0, |t| values.values[t].into())])
            .collect();
        for block in 0..num_blocks {
            for layer in 0..num_layers {
                let weight = &tensors[&format!("b{block}-l{layer}/w")].values;
                let inputs = x[0].len();
                let y = |t: usize| -> Vec<f64> {
                    let tap = |which: usize, x: Option<&Vec<f64>>, n: usize| -> f64 {
                        let Some(x) = x else { return 0.0 };
                        let weights = weight[which * inputs * num_hidden + n..].iter();
                        let weights = weights.step_by(num_hidden);
                        x.iter().zip(weights).map(|(x, &w)| x * f64::from(w)).sum()
                    };
                    let before = t.checked_sub(1 << layer).map(|t| &x[t]);
                    let outputs = 0..num_hidden;
                    outputs.map(|n| (tap(0, before, n) + tap(1, Some(&x[t]), n)).max(0.0)).collect()
                };
                x = (0..rows).map(y).collect();
            }
        }
        let (weight, bias) = (&tensors["w"].values, &tensors["b"].values);
        let expected: Vec<f64> = x.iter().flat_map(|x| (0..num_classes).map(move |n| {
            let weights = weight[n..].iter().step_by(num_classes);
            let products = x.iter().zip(weights).map(|(x, &w)| x * f64::from(w));
            f64::from(bias[n]) + products.sum::<f64>()
        })).collect();
        let largest = expected.iter().fold(1.0f64, |most, x| most.max(x.abs()));
        let network = wavenet::network(&all, tensors).unwrap();
        let engine = engine(&network, &Device::Cpu.target());
        for mode in MODES {
            let found = collect(&engine, &EvaluationRequest::new(&values).mode(mode));
            assert_close("logits", &found.parameters, &expected, 2e-5 * largest, 0.0);
        }
    }
}

#[test]
fn a_sample_costs_what_counting_by_hand_gives() {
    // The mixture preset: per layer 256 gates of 3 x 128 and 80 inputs, 128 residual and 128 skip
    // channels of 128; the first layer, and the last two. The residual of the last layer is read by
    // nothing.
    let gates = 256 * (3 * 128 + 80);
    let expected = 24 * (gates + 2 * 128 * 128) - 128 * 128 + 128 + 128 * 128 + 128 * 30;
    let network = wavenet::random(&Vocoder::mol().into(), 1).unwrap();
    let MultiplyAdds {
        row_phase,
        pixel_phase,
        ..
    } = network.graph().multiply_adds((1, 1));
    assert_eq!(row_phase + pixel_phase, expected);
    // Taps that look back and mels are listed first: everything but the current tap.
    let graph = network.graph();
    let gate = graph.ops().iter().find(|op| op.name == "9 gate").unwrap();
    let map = graph.map().unwrap();
    let seen: Vec<(bool, isize)> = gate
        .taps
        .iter()
        .map(|tap| (tap.source == map, tap.offset[0]))
        .collect();
    // Layer 9 has dilation 8.
    assert_eq!(seen, [(true, 0), (false, -16), (false, -8), (false, 0)]);
}

#[test]
fn presets_have_the_originals_sizes() {
    for (hyper, rate, receptive_field) in [
        (Vocoder::mol(), 22050, 505),
        (Vocoder::mulaw256(), 22050, 6139),
        (Vocoder::ljspeech_2018(), 22050, 505),
    ] {
        let all = Hyperparameters::from(hyper.clone());
        all.validate().unwrap();
        assert_eq!(hyper.sound.sample_rate, Some(rate));
        assert_eq!(all.receptive_field(), receptive_field);
        assert_eq!(hyper.upsampling.unwrap().hop_size(), 256);
    }
    let fast = Hyperparameters::from(FastWaveNet::published());
    assert_eq!(fast.receptive_field(), 2 * 16383 + 1);
    let network = wavenet::random(&fast, 1).unwrap();
    let engine = engine(&network, &Device::Cpu.target());
    let request = engine.request(1);
    assert_eq!(request.size, (16_000, 1));
    let values = Nhwc {
        shape: [1, 3, 1, 1],
        values: vec![0.5, -1.0, 1.0],
    };
    let found = collect(&engine, &EvaluationRequest::new(&values));
    assert!(found.nats.iter().all(|nats| nats.is_finite()));
}
