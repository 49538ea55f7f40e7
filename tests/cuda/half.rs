//! The CUDA backend in f16 and bf16: how they round, and what they cannot hold. Their distance
//! from the original's numbers is measured in `tests/engine`.

use fastpix::{Dtype, Network};
use test_support::device::on_a_device;
use test_support::engine::{MODES, Mode, Target, cpu, cuda, engine, parameters, score, try_engine};
use test_support::reference::{ORIGINALS, assert_close, inputs, npy, original, original_weights};

const HALVES: [Dtype; 2] = [Dtype::F16, Dtype::Bf16];

fn parameters_of(model: &str, target: &Target, mode: Mode) -> Vec<f32> {
    let (images, labels) = inputs(model);
    let engine = engine(&original_weights(model), target);
    parameters(&engine, &images, &labels, mode)
}

#[test]
fn the_precisions_round_as_they_say() {
    on_a_device(|| {
        let expected = npy(&original("tiny/logits_ema.npy")).values;
        let error = |precision| {
            let found = parameters_of("tiny", &cuda().dtype(precision), Mode::Cached);
            let pairs = found.iter().zip(&expected);
            let squares: f64 = pairs.map(|(&a, b)| (f64::from(a) - b).powi(2)).sum();
            (squares / expected.len() as f64).sqrt()
        };
        // f16 has three bits more than bf16: a factor of 8, but for chance.
        let ratio = error(Dtype::Bf16) / error(Dtype::F16);
        assert!((4.0..16.0).contains(&ratio), "{ratio}");
    });
}

#[test]
fn bf16_is_what_the_cpu_computes_in_bf16() {
    on_a_device(|| {
        for (model, _) in ORIGINALS {
            for mode in MODES {
                let of = |target: Target| parameters_of(model, &target.dtype(Dtype::Bf16), mode);
                let expected: Vec<f64> = of(cpu()).into_iter().map(f64::from).collect();
                // Both round the same numbers at the same places. Their f32 sums differ in order, so
                // that here and there an activation is rounded to its other neighbour; few such
                // differences meet in one parameter.
                let what = format!("{model} {mode:?}");
                assert_close(&what, &of(cuda()), &expected, 2f64.powi(-8), 0.0);
            }
        }
    });
}

#[test]
fn bits_per_dim_are_within_a_hundredth_of_those_in_f32() {
    on_a_device(|| {
        for (model, _) in ORIGINALS {
            let (images, labels) = inputs(model);
            let bits = |precision| {
                let engine = engine(&original_weights(model), &cuda().dtype(precision));
                score(&engine, &images, &labels, Mode::Cached).0
            };
            let expected = bits(Dtype::F32);
            for precision in HALVES {
                let found: Vec<f32> = bits(precision).into_iter().map(|b| b as f32).collect();
                let what = format!("{model} {precision}");
                assert_close(&what, &found, &expected, 0.01, 0.0);
            }
        }
    });
}

#[test]
fn a_weight_beyond_f16_is_named() {
    on_a_device(|| {
        let network = original_weights("tiny");
        let mut weights = network.weights().clone();
        weights.layers[0].weight[0] = -70_000.0;
        let network = Network::new(network.graph().clone(), weights, network.info().clone());
        let network = network.expect("the same shapes");
        let result = |precision| try_engine(&network, &cuda().dtype(precision));
        assert_eq!(
            result(Dtype::F16).unwrap_err().to_string(),
            "cuda: f16: expected weights up to 65504, found -70000"
        );
        assert!(result(Dtype::Bf16).is_ok());
    });
}
