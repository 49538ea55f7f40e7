use fastpix::checkpoint::{Checkpoint, CheckpointError};
use fastpix::families::wavenet::{
    Output, Skips, Speakers, UpsamplingActivation, UpsamplingNetwork, Vocoder,
};
use fastpix::network::{Companding, Medium};
use serde_json::{Value, json};

use super::{MOL, MULAW, checkpoint, file, hparams, open_bytes, vocoder, with};

/// Opens a file's bytes with this JSON, away from any other.
fn open(name: &str, hparams: Value) -> Result<Checkpoint, CheckpointError> {
    let bytes = std::fs::read(file(name)).unwrap();
    open_bytes(&bytes, Some(hparams))
}

/// Why a file with this JSON is refused.
fn refusal(name: &str, hparams: Value) -> String {
    let error = open(name, hparams).expect_err("it is refused").to_string();
    error
        .strip_prefix("model: ")
        .expect("names the file")
        .to_owned()
}

#[test]
fn tensors_and_json_show_the_models() {
    let mol = vocoder(&checkpoint(MOL));
    let numbers = (mol.layers, mol.stacks, mol.kernel_size);
    assert_eq!(numbers, (6, 2, 3));
    let channels = (
        mol.residual_channels,
        mol.gate_channels,
        mol.skip_out_channels,
    );
    assert_eq!(channels, (16, 32, 24));
    let Output::Raw {
        mixtures,
        quantize_channels,
        log_scale_min,
        sampling_log_scale_min,
        mu,
        initial,
    } = mol.output
    else {
        panic!("a mixture");
    };
    assert_eq!((mixtures, quantize_channels, mu), (10, 65536, None));
    assert_eq!(
        (log_scale_min, sampling_log_scale_min, initial),
        (-16.0, None, 0.0)
    );
    let speakers = Speakers::Embedded {
        n_speakers: 4,
        gin_channels: 8,
    };
    assert_eq!((mol.speakers, mol.skips), (speakers, Skips::Scaled));
    let upsampling = mol.upsampling.unwrap();
    assert_eq!(upsampling.network, UpsamplingNetwork::ConvIn);
    assert_eq!(upsampling.upsample_scales, [2, 4]);
    assert_eq!(
        (upsampling.cin_pad, upsampling.freq_axis_kernel_size),
        (2, 1)
    );
    assert_eq!(upsampling.activation, UpsamplingActivation::None);

    let mulaw = vocoder(&checkpoint(MULAW));
    let output = Output::MulawQuantize {
        quantize_channels: 256,
        mu: 255,
        initial: 127,
    };
    assert_eq!((mulaw.output, mulaw.speakers), (output, Speakers::One));
    let upsampling = mulaw.upsampling.unwrap();
    assert_eq!(upsampling.upsample_scales, [2, 2, 2]);
    assert_eq!(
        (upsampling.cin_pad, upsampling.freq_axis_kernel_size),
        (0, 3)
    );
    assert_eq!(upsampling.activation, UpsamplingActivation::LeakyRelu(0.4));

    let older = vocoder(&checkpoint("older/model.npz"));
    assert!(older.conditioning_bias);
    assert_eq!(older.skips, Skips::Halved);
    assert_eq!(
        older.upsampling.unwrap().network,
        UpsamplingNetwork::Transposed
    );

    let stretch = vocoder(&checkpoint("stretch/model.npz"));
    assert_eq!(stretch.speakers, Speakers::Features { gin_channels: 3 });
    let upsampling = stretch.upsampling.unwrap();
    assert_eq!(
        (upsampling.network, upsampling.cin_pad),
        (UpsamplingNetwork::Stretch, 1)
    );
}

#[test]
fn the_network_says_how_its_values_sound() {
    let medium = |name: &str| checkpoint(name).into_network().unwrap().info().medium;
    let audio = |sample_rate, companding, emphasis, gain| Medium::Audio {
        sample_rate: Some(sample_rate),
        companding,
        emphasis,
        gain,
    };
    assert_eq!(medium(MOL), audio(22050, Companding::None, 0.0, 1.0));
    let mu_law = |mu| Companding::MuLaw { mu };
    assert_eq!(medium(MULAW), audio(22050, mu_law(255), 0.0, 1.0));
    // Its JSON states the filter and the gain.
    assert_eq!(
        medium("stretch/model.npz"),
        audio(8000, mu_law(11), 0.85, 0.55)
    );
    // The older generation has mu as many as classes, and silence in the middle of them.
    let older = with(
        hparams("older"),
        json!({"input_type": "mulaw", "quantize_channels": 256}),
    );
    let older = open("older/model.npz", older).unwrap().into_network();
    let companding = Companding::MuLawValues { mu: 256 };
    assert_eq!(
        older.unwrap().info().medium,
        audio(16000, companding, 0.0, 1.0)
    );
}

#[test]
fn parameters_are_counted_as_in_training() {
    for name in [MOL, MULAW] {
        let loaded = checkpoint(name);
        let inspected = Checkpoint::inspect(&file(name)).unwrap();
        assert_eq!(inspected.problem, None);
        let shapes = inspected.tensors.iter().map(|tensor| &tensor.shape);
        let count: usize = shapes.map(|shape| shape.iter().product::<usize>()).sum();
        assert_eq!(loaded.hyperparameters.parameter_count(), count, "{name}");
        assert!(
            inspected
                .tensors
                .iter()
                .all(|tensor| tensor.canonical.is_some())
        );
    }
}

#[test]
fn what_training_keeps_beside_the_model_is_left_out() {
    let loaded = checkpoint(MOL);
    let ignored: Vec<&str> = loaded.ignored.iter().map(|i| i.name.as_str()).collect();
    assert!(ignored.contains(&"optimizer"), "{ignored:?}");
    assert!(loaded.notes.iter().any(|note| note.contains("_ema")));
}

#[test]
fn what_no_tensor_shows_is_asked_for() {
    let text = refusal(MOL, json!({}));
    assert_eq!(
        text,
        "stacks: expected a number in the original's JSON of hyperparameters (hparams.json beside \
         the model): no tensor shows after how many layers dilations start again, found none"
    );
    // Without a JSON at all it is the same.
    let bytes = std::fs::read(file(MOL)).unwrap();
    let error = open_bytes(&bytes, None).unwrap_err().to_string();
    assert_eq!(error, format!("model: {text}"));
    let text = refusal(MULAW, json!({"stacks": 2}));
    assert!(
        text.starts_with("upsample_activation: expected one in "),
        "{text}"
    );
    // All else follows from the tensors, or is usual.
    let least = vocoder(&open(MOL, json!({"stacks": 2})).unwrap());
    let stated = vocoder(&checkpoint(MOL));
    assert_eq!(
        least,
        Vocoder {
            sound: Default::default(),
            ..stated
        }
    );
    let activated = json!({"stacks": 2, "upsample_params": {"upsample_activation": "ReLU"}});
    let found = vocoder(&open(MULAW, activated).unwrap());
    assert_eq!(
        found.upsampling.unwrap().activation,
        UpsamplingActivation::Relu
    );
}

#[test]
fn json_that_contradicts_the_tensors_is_refused() {
    let of_mol = |changes| refusal(MOL, with(hparams("mol"), changes));
    for (changes, text) in [
        (
            json!({"layers": 24}),
            "layers: expected 6 in the JSON of hyperparameters, as the tensors show, found 24",
        ),
        (
            json!({"stacks": 4}),
            "stacks: expected a divisor of the 6 layers, found 4",
        ),
        (json!({"stacks": 0}), "stacks: expected 1 to 6, found 0"),
        (
            json!({"stacks": "two"}),
            "stacks: expected a whole number in the JSON of hyperparameters, found \"two\"",
        ),
        (
            json!({"input_type": "mulaw-quantize"}),
            "input_type: expected raw or mulaw as the tensors show, found mulaw-quantize",
        ),
        (
            json!({"output_distribution": "Normal"}),
            "output_distribution: expected Logistic, a mixture of which is drawn from, found Normal",
        ),
        (
            json!({"upsample_params": {"upsample_scales": [2, 3]}}),
            "upsample_scales: expected [2, 4] in the JSON of hyperparameters, as the tensors show, \
             found [2, 3]",
        ),
        (
            json!({"upsample_params": {"upsample_activation": "ReLU"}}),
            "upsample_activation: expected none, as the numbers of the layers show, found another",
        ),
        (
            json!({"upsample_params": {"mode": "bilinear"}}),
            "mode: expected nearest, found bilinear",
        ),
        (
            json!({"hop_size": 256}),
            "hop_size: expected 8 in the JSON of hyperparameters, as the tensors show, found 256",
        ),
        (
            json!({"cin_pad": 1}),
            "cin_pad: expected 2 in the JSON of hyperparameters, as the tensors show, found 1",
        ),
        (
            json!({"quantize_channels": 65537}),
            "quantize_channels: expected 2 to 65536, found 65537",
        ),
        (
            json!({"log_scale_min": 1e9}),
            "log_scale_min: expected -10000 to 10000, found 1000000000",
        ),
        (
            json!({"sample_rate": 0}),
            "sample_rate: expected samples per second in the JSON of hyperparameters, found 0",
        ),
        (
            json!({"preprocess": "reverse\nit"}),
            "preprocess: expected preemphasis or nothing, found reverse\\u{a}it",
        ),
    ] {
        assert_eq!(of_mol(changes), text);
    }
    let of_mulaw = |changes| refusal(MULAW, with(hparams("mulaw"), changes));
    assert_eq!(
        of_mulaw(json!({"quantize_channels": 512})),
        "quantize_channels: expected 256 in the JSON of hyperparameters, as the tensors show, found \
         512"
    );
    assert_eq!(
        of_mulaw(json!({"upsample_params": {"upsample_activation": "Softplus"}})),
        "upsample_activation: expected none, ReLU or LeakyReLU, found Softplus"
    );
}
