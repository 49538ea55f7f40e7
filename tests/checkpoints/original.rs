//! Every format yields the tensors that the original program saved.

use std::path::Path;

use fastpix::checkpoint::{Averages, Checkpoint, CheckpointError, Format, LoadOptions};
use fastpix::families::pixelcnnpp::{Hyperparameters, Layers};
use fastpix::network::{Condition, Dtype, Weights};
use test_support::reference::golden;

fn open(path: &Path, options: &LoadOptions) -> Checkpoint {
    Checkpoint::open(path, options).unwrap_or_else(|error| panic!("{error}"))
}

fn averaged(path: &str) -> Checkpoint {
    open(&golden(path), &LoadOptions::default())
}

fn raw(path: &str) -> Checkpoint {
    open(&golden(path), &LoadOptions::new().raw_weights(true))
}

/// The tensors that the original saved as arrays.
fn reference(model: &str, which: &str) -> Checkpoint {
    averaged(&format!("parity/{model}/weights_{which}.npz"))
}

/// Compares folded weights within `|a - b| <= 1e-6 + 1e-5 |b|`, reporting the first ten that are not:
/// rounding of f32 in two orders of multiplication stays well below.
fn assert_folded_close(hyper: &Hyperparameters, found: &Weights, expected: &Weights) {
    let described = Layers::new(hyper).all;
    assert_eq!(found.layers.len(), described.len());
    assert_eq!(expected.layers.len(), described.len());
    let mut differing = Vec::new();
    for (layer, (a, b)) in described
        .iter()
        .zip(found.layers.iter().zip(&expected.layers))
    {
        for (tensor, a, b) in [("weight", &a.weight, &b.weight), ("bias", &a.bias, &b.bias)] {
            assert_eq!(a.len(), b.len(), "{} {tensor}", layer.name);
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                if (a - b).abs() > 1e-6 + 1e-5 * b.abs() || !a.is_finite() {
                    differing.push(format!("{} {tensor}[{index}]: {a} for {b}", layer.name));
                }
            }
        }
    }
    assert!(
        differing.is_empty(),
        "{} numbers differ:\n{}",
        differing.len(),
        differing[..differing.len().min(10)].join("\n")
    );
}

#[test]
fn arrays_of_the_original_are_read() {
    let tiny = reference("tiny", "ema");
    assert_eq!(tiny.format, Format::Npz);
    let hyper = tiny.hyperparameters.pixelcnnpp().unwrap();
    assert_eq!(
        (
            hyper.nr_resnet,
            hyper.nr_filters,
            hyper.nr_mix,
            hyper.channels
        ),
        (1, 8, 5, 3)
    );
    assert_eq!(hyper.condition, Condition::None);
    assert_eq!(tiny.averages, Averages::Absent);
    assert_eq!(
        reference("tiny_cond", "ema")
            .hyperparameters
            .pixelcnnpp()
            .unwrap()
            .condition,
        Condition::Class(10)
    );
}

#[test]
fn tensorflow_checkpoints_hold_both_sets_of_weights() {
    for model in ["tiny", "tiny_cond"] {
        let (ema, raw_weights) = (reference(model, "ema"), reference(model, "raw"));
        assert_ne!(ema.tensors, raw_weights.tensors);
        for (file, format) in [
            ("v1/params_cifar.ckpt", Format::TensorFlowV1),
            ("v2/params_cifar.ckpt", Format::TensorFlowV2),
        ] {
            let path = format!("checkpoints/{model}/{file}");
            let loaded = averaged(&path);
            assert_eq!(loaded.format, format);
            assert_eq!(loaded.averages, Averages::Present { used: true });
            assert_eq!(loaded.hyperparameters, ema.hyperparameters);
            assert!(loaded.tensors == ema.tensors, "{path}: averages differ");
            let loaded = raw(&path);
            assert_eq!(loaded.averages, Averages::Present { used: false });
            assert!(
                loaded.tensors == raw_weights.tensors,
                "{path}: raw weights differ"
            );
        }
    }
}

#[test]
fn what_training_left_behind_is_ignored_by_name() {
    let loaded = averaged("checkpoints/tiny_cond/v2/params_cifar.ckpt.index");
    let why = |name: &str| {
        loaded
            .ignored
            .iter()
            .find(|ignored| ignored.name == name)
            .map(|ignored| ignored.why.as_str())
    };
    assert_eq!(
        why("model/conv2d_0/V"),
        Some("raw weight: its moving average is used")
    );
    assert_eq!(
        why("Variable"),
        Some("optimiser variable or label without a name")
    );
    let everything = Checkpoint::inspect(&loaded.path).unwrap().tensors.len();
    assert_eq!(everything, loaded.tensors.len() + loaded.ignored.len());
}

#[test]
fn a_bundle_is_found_by_any_of_its_files() {
    let expected = reference("tiny", "ema").tensors;
    for file in ["", ".index", ".data-00000-of-00001"] {
        let path = format!("checkpoints/tiny/v2/params_cifar.ckpt{file}");
        assert!(averaged(&path).tensors == expected, "{path}");
    }
}

#[test]
fn pytorch_state_dicts_fold_to_the_same_weights() {
    let expected = reference("tiny", "ema").into_network().unwrap();
    for (file, format) in [
        ("pclucas_ema.pth", Format::PyTorchZip),
        ("pclucas_ema_dataparallel.pth", Format::PyTorchZip),
        ("pclucas_ema_legacy.pth", Format::PyTorchLegacy),
        (
            "pclucas_ema_dataparallel_legacy_cuda0.pth",
            Format::PyTorchLegacy,
        ),
    ] {
        let loaded = averaged(&format!("checkpoints/tiny/{file}"));
        assert_eq!(loaded.format, format);
        assert_eq!(loaded.averages, Averages::Absent);
        assert!(
            loaded
                .notes
                .iter()
                .any(|note| note.contains("per input channel")),
            "{file}: no note on deconvolutions"
        );
        let hyper = loaded.hyperparameters.pixelcnnpp().unwrap().clone();
        let network = loaded.into_network().unwrap();
        assert_folded_close(&hyper, network.weights(), expected.weights());
    }
}

#[test]
fn saved_models_are_read_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for source in [
        "parity/tiny/weights_raw.npz",
        "checkpoints/tiny_cond/v1/params_cifar.ckpt",
        "checkpoints/tiny/v2/params_cifar.ckpt.index",
        "checkpoints/tiny/pclucas_ema.pth",
    ] {
        let original = averaged(source);
        for name in ["model.safetensors", "model.npz"] {
            let path = folder.path().join(name);
            original.save(&path).unwrap();
            let again = open(&path, &LoadOptions::default());
            assert!(again.tensors == original.tensors, "{source} as {name}");
            assert_eq!(again.hyperparameters, original.hyperparameters);
            assert_eq!(again.averages, Averages::Absent);
            assert!(Checkpoint::inspect(&path).unwrap().has_metadata);
        }
    }
}

#[test]
fn half_precision_files_round_matrices_only() {
    let folder = tempfile::tempdir().unwrap();
    let original = reference("tiny", "ema");
    for (dtype, round) in [
        (
            Dtype::F16,
            (|v| half::f16::from_f32(v).to_f32()) as fn(f32) -> f32,
        ),
        (Dtype::Bf16, |v| half::bf16::from_f32(v).to_f32()),
    ] {
        for name in ["half.safetensors", "half.npz"] {
            let path = folder.path().join(name);
            original.save_as(&path, dtype).unwrap();
            let again = open(&path, &LoadOptions::default());
            for (name, tensor) in &original.tensors {
                let expected: Vec<f32> = if tensor.shape.len() > 1 {
                    tensor.values.iter().copied().map(round).collect()
                } else {
                    tensor.values.clone()
                };
                assert_eq!(again.tensors[name].values, expected, "{name}");
            }
        }
    }
}

#[test]
fn saving_elsewhere_than_in_a_known_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = reference("tiny", "ema");
    let error = model.save(&folder.path().join("model.ckpt")).unwrap_err();
    assert!(
        matches!(error, CheckpointError::Unrecognised { .. }),
        "{error}"
    );
    let error = model
        .save(&folder.path().join("none/model.npz"))
        .unwrap_err();
    assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
    let cause = std::error::Error::source(&error).expect("a cause");
    assert!(cause.is::<std::io::Error>(), "{cause}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
