use fastpix::audio::{Decoder, Encoder};
use fastpix::network::{Companding, InputEncoding, Medium};

const INPUT: InputEncoding = InputEncoding::Scaled {
    codes: 65536,
    limit: 1.0,
    ones: false,
};

fn medium(companding: Companding, emphasis: f32, gain: f32) -> Medium {
    Medium::Audio {
        sample_rate: None,
        companding,
        emphasis,
        gain,
    }
}

#[test]
fn only_networks_of_sound_have_samples() {
    assert!(Decoder::new(&Medium::Pixels, &INPUT).is_none());
    assert!(Encoder::new(&Medium::Codes, &INPUT).is_none());
}

#[test]
fn values_are_filtered_and_scaled_as_before_training() {
    let medium = medium(Companding::None, 0.5, 0.25);
    let mut encoder = Encoder::new(&medium, &INPUT).unwrap();
    // y[t] = (x[t] - 0.5 x[t - 1]) / 4
    let values = [0.5, 0.5, -1.0, 0.0].map(|sample| encoder.value(sample));
    assert_eq!(values, [0.125, 0.0625, -0.3125, 0.125]);
    let mut decoder = Decoder::new(&medium, &INPUT).unwrap();
    let samples = values.map(|value| decoder.sample(value));
    assert_eq!(samples, [0.5, 0.5, -1.0, 0.0]);
}

#[test]
fn samples_are_clipped_where_people_hear_them_and_not_before() {
    let mut decoder = Decoder::new(&medium(Companding::None, 0.5, 0.5), &INPUT).unwrap();
    // 1, 1.5, 0.75 - 1 over a half: what is clipped goes on unclipped.
    let samples = [1.0, 1.0, -1.0].map(|value| decoder.sample(value));
    assert_eq!(samples, [1.0, 1.0, -0.5]);
}

#[test]
fn a_sound_survives_its_network() {
    let sound: Vec<f32> = (0..500)
        .map(|t| (t as f32 * 0.1).sin() * 0.4 + (t as f32 * 0.37).cos() * 0.2)
        .collect();
    let classes = InputEncoding::OneHot { classes: 256 };
    for (companding, input, error) in [
        (Companding::None, &INPUT, 1e-6),
        (Companding::MuLawValues { mu: 255 }, &INPUT, 1e-6),
        // Classes are as wide as 0.04 where sound is loud, and the filter sums their errors up.
        (Companding::MuLaw { mu: 255 }, &classes, 0.6),
        (Companding::Linear, &INPUT, 1e-3),
    ] {
        let medium = medium(companding, 0.85, 0.55);
        let mut encoder = Encoder::new(&medium, input).unwrap();
        let mut decoder = Decoder::new(&medium, input).unwrap();
        for &sample in &sound {
            let value = encoder.value(sample);
            assert!(input.has(value), "{value}");
            let back = decoder.sample(value);
            assert!(
                (back - sample).abs() < error,
                "{companding:?}: {back} for {sample}"
            );
        }
    }
}
