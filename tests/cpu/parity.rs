//! The CPU's own parts against the original implementation's numbers; whole engines are in
//! `tests/engine`.

use fastpix::bits_per_dim;
use fastpix::cpu::isa::Isa;
use fastpix::network::{InputEncoding, LogisticMixture};
use test_support::engine::{Mode, cpu, engine, parameters};
use test_support::reference::{
    ORIGINALS, assert_close, inputs, npy, npz, original, original_weights,
};

const EIGHT_BITS: InputEncoding = InputEncoding::Scaled {
    codes: 256,
    limit: 1.0,
    ones: true,
};

#[test]
fn every_instruction_set_matches_the_original_and_gives_the_same_bits() {
    for (model, _) in ORIGINALS {
        let (images, labels) = inputs(model);
        let expected = npy(&original(&format!("{model}/logits_ema.npy")));
        let mut first: Option<Vec<f32>> = None;
        for isa in Isa::available() {
            let engine = engine(&original_weights(model), &cpu().isa(isa));
            let found = parameters(&engine, &images, &labels, Mode::Cached);
            let what = format!("{model} {isa}");
            assert_close(&what, &found, &expected.values, 1e-4, 1e-4);
            assert!(
                *first.get_or_insert_with(|| found.clone()) == found,
                "{what}"
            );
        }
    }
}

#[test]
fn samples_of_known_parameters_and_uniforms_match_the_original() {
    for (model, _) in ORIGINALS {
        let io = npz(&original(&format!("{model}/io.npz")));
        let params = npy(&original(&format!("{model}/logits_ema.npy"))).f32();
        check_samples(
            model,
            LogisticMixture::original(5, 3),
            &params,
            &io["u_mix"].f32(),
            &io["u_log"].f32(),
            &io["sample_from_logits_ema"].values,
        );
    }
}

#[test]
fn samples_from_extreme_parameters_match_the_original() {
    let edge = npz(&original("edge.npz"));
    check_samples(
        "edge",
        LogisticMixture::original(10, 3),
        &edge["logits"].f32(),
        &edge["u_mix"].f32(),
        &edge["u_log"].f32(),
        &edge["sample"].values,
    );
}

fn check_samples(
    what: &str,
    mixture: LogisticMixture,
    params: &[f32],
    u_mix: &[f32],
    u_log: &[f32],
    expected: &[f64],
) {
    let samples: Vec<f32> = params
        .chunks(10 * mixture.mixtures)
        .zip(u_mix.chunks(mixture.mixtures).zip(u_log.chunks(3)))
        .flat_map(|(params, (u_mix, u_log))| {
            let mut pixel = [0.0; 3];
            mixture.sample_into(params, [u_mix, u_log].concat(), 1.0, 1.0, &mut pixel);
            pixel
        })
        .collect();
    assert_close(what, &samples, expected, 1e-6, 1e-6);
    for (index, (&found, &expected)) in samples.iter().zip(expected).enumerate() {
        assert_eq!(
            EIGHT_BITS.code(found),
            EIGHT_BITS.code(expected as f32),
            "{what}: code of sample {index}"
        );
    }
}

#[test]
fn likelihood_of_extreme_parameters_matches_the_original() {
    let edge = npz(&original("edge.npz"));
    let mixture = LogisticMixture::original(10, 3);
    let params = edge["logits"].f32();
    let nll: Vec<f32> = params
        .chunks(100)
        .zip(u16(&edge["x_u8"].u8()).chunks(3))
        .map(|(params, pixel)| {
            let values: Vec<f32> = pixel.iter().map(|&code| EIGHT_BITS.value(code)).collect();
            -mixture.log_likelihood(params, &values, &EIGHT_BITS) as f32
        })
        .collect();
    let expected = &edge["nll_nats_per_pixel"].values;
    let bits = |nats: f64| nats / (nll.len() as f64 * 3.0 * std::f64::consts::LN_2);
    let found = bits(nll.iter().map(|&nats| f64::from(nats)).sum());
    let mean = bits(expected.iter().sum());
    assert!((found - mean).abs() <= 1e-4, "{found} against {mean}");
    // The original takes a bin of probability above 1e-5 as the difference of two f32 sigmoids
    // near 1, each off by up to half a unit in the last place (6e-8): 1.2 % of the bin, 0.012
    // nats per channel, is within its own rounding.
    assert_close("edge", &nll, expected, 3.0 * 0.012, 1e-4);
}

#[test]
fn bits_per_dim_of_the_originals_parameters_match() {
    for (model, _) in ORIGINALS {
        let io = npz(&original(&format!("{model}/io.npz")));
        let (images, _) = inputs(model);
        let network = original_weights(model);
        let graph = network.graph();
        let params = npy(&original(&format!("{model}/logits_ema.npy"))).f32();
        let codes = u16(&images.values);
        let nats: Vec<f64> = params
            .chunks(graph.parameters())
            .zip(codes.chunks(3))
            .map(|(params, codes)| {
                let values: Vec<f32> = codes.iter().map(|&code| EIGHT_BITS.value(code)).collect();
                graph.log_likelihood(params, &values)
            })
            .collect();
        let of_image = nats.chunks(8 * 8);
        let bits: Vec<f32> = of_image.map(|nats| bits_per_dim(nats, 3) as f32).collect();
        let dims = 8.0 * 8.0 * 3.0 * std::f64::consts::LN_2;
        let expected: Vec<f64> = io["nll_nats_per_image_ema"]
            .values
            .iter()
            .map(|nats| nats / dims)
            .collect();
        assert_close(model, &bits, &expected, 1e-4, 1e-4);
    }
}

fn u16(values: &[u8]) -> Vec<u16> {
    values.iter().map(|&value| value.into()).collect()
}
