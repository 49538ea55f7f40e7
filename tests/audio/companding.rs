use fastpix::audio::full_range;
use fastpix::network::{Companding, InputEncoding};
use test_support::reference::{assert_close, golden, npz};

fn classes(classes: usize) -> InputEncoding {
    InputEncoding::OneHot { classes }
}

fn scaled(codes: usize) -> InputEncoding {
    InputEncoding::Scaled {
        codes,
        limit: 1.0,
        ones: false,
    }
}

const MU_LAW: Companding = Companding::MuLaw { mu: 255 };

#[test]
fn mu_law_classes_are_those_of_the_original() {
    let codec = npz(&golden("families/wavenet/mulaw_codec.npz"));
    // Both sides of the edges of every class, in float64.
    let x = &codec["x"].values;
    let found: Vec<f64> = x
        .iter()
        .map(|&x| MU_LAW.value(x, &classes(256)).into())
        .collect();
    assert_eq!(found, codec["codes"].values);
}

#[test]
fn mu_law_values_are_those_of_the_original() {
    let codec = npz(&golden("families/wavenet/mulaw_codec.npz"));
    let (x, expected) = (&codec["x"].values, &codec["mulaw"].values);
    let companding = Companding::MuLawValues { mu: 255 };
    let found: Vec<f32> = x
        .iter()
        .map(|&x| companding.value(x, &scaled(65536)))
        .collect();
    assert_close("companded", &found, expected, 1e-7, 1e-7);
    // Back again: the slope of the expansion is 5.6 at most.
    let back: Vec<f32> = found
        .iter()
        .map(|&y| companding.sample(y, &scaled(65536)))
        .collect();
    assert_close("expanded", &back, x, 1e-6, 0.0);
}

#[test]
fn samples_of_mu_law_classes_are_the_originals() {
    let codec = npz(&golden("families/wavenet/mulaw_codec.npz"));
    let found: Vec<f32> = (0..256)
        .map(|class| MU_LAW.sample(class as f32, &classes(256)))
        .collect();
    // The original's are f32.
    let expected = &codec["decode_table"].values;
    assert_close("samples", &found, expected, 2e-7, 0.0);
    assert_eq!((found[0], found[255]), (-1.0, 1.0));
}

#[test]
fn classes_of_models_of_2018_have_silence_in_the_middle() {
    let older = Companding::MuLaw { mu: 256 };
    let of = |sample| older.value(sample, &classes(256));
    assert_eq!([of(-1.0), of(0.0)], [0.0, 128.0]);
    assert_eq!(older.sample(128.0, &classes(256)), 0.0);
    // 1 would be a class more than there are.
    assert_eq!([of(1.0), of(0.9999)], [255.0, 255.0]);
    assert_eq!(MU_LAW.value(0.0, &classes(256)), 127.0);
}

#[test]
fn linear_classes_are_those_of_the_original() {
    let batch = npz(&golden("families/wavenet/fast/make_batch.npz"));
    let input = scaled(256);
    let codes = |samples: &[f64]| -> Vec<f64> {
        let values = samples.iter().map(|&x| Companding::Linear.value(x, &input));
        values.map(|value| input.code(value).into()).collect()
    };
    // Every edge, and what lies next to it.
    let edges = &batch["edge_values"].values;
    assert_eq!(codes(edges), batch["edge_classes"].values);
    // A recording, as it is normalised.
    let mut samples = batch["pcm"].f32();
    full_range(&mut samples);
    let samples: Vec<f64> = samples.into_iter().map(f64::from).collect();
    assert_eq!(samples, batch["normalized"].values);
    assert_eq!(codes(&samples), batch["classes"].values);
}

#[test]
fn every_linear_class_is_its_own_sample() {
    for codes in [2, 3, 16, 255, 256, 65536] {
        let input = scaled(codes);
        for code in (0..codes).step_by(codes.div_ceil(300)) {
            let value = input.value(code as u16);
            let sample = Companding::Linear.sample(value, &input);
            assert_eq!(sample, value);
            // In f64 the edge may lie just above the f32, so the sample is pushed inside.
            let inside = f64::from(sample) + 1e-7 * f64::from(sample < 1.0);
            assert_eq!(
                Companding::Linear.value(inside, &input),
                value,
                "{code} of {codes}"
            );
        }
    }
}

#[test]
fn samples_out_of_range_count_as_the_ends() {
    for companding in [
        Companding::None,
        MU_LAW,
        Companding::MuLawValues { mu: 255 },
        Companding::Linear,
    ] {
        let input = match companding {
            Companding::MuLaw { .. } => classes(256),
            _ => scaled(256),
        };
        let of = |sample| companding.value(sample, &input);
        assert_eq!(of(-7.0), of(-1.0));
        assert_eq!(of(f64::INFINITY), of(1.0));
        assert_eq!(of(f64::NAN), of(0.0));
        assert!(input.has(of(-7.0)) && input.has(of(7.0)) && input.has(of(0.0)));
    }
}

#[test]
fn a_silent_recording_stays_silent() {
    let mut samples = [0.25; 4];
    full_range(&mut samples);
    assert_eq!(samples, [0.0; 4]);
    full_range(&mut []);
}
