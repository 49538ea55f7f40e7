use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::process::Sandbox;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// Writes the fashion model to `name`, altered.
fn altered(sandbox: &Sandbox, name: &str, alter: impl FnOnce(&mut Tensors)) {
    sandbox
        .run(&["convert", "fashion", "whole.safetensors"])
        .succeeded();
    let bytes = sandbox.bytes("whole.safetensors");
    let read = SafeTensors::deserialize(&bytes).expect("a model");
    let mut tensors: Tensors = read
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())))
        .collect();
    alter(&mut tensors);
    let views = tensors.iter().map(|(name, (shape, data))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), data).expect("a tensor");
        (name.clone(), view)
    });
    let bytes = safetensors::serialize(views, None).expect("a model");
    sandbox.write(name, &bytes);
    std::fs::remove_file(sandbox.path("whole.safetensors")).expect("a file to remove");
}

#[test]
fn a_model_file_gives_the_images_of_the_embedded_model() {
    let sandbox = Sandbox::new();
    for (file, index) in [("model.npz", "npz"), ("model.safetensors", "safetensors")] {
        sandbox.run(&["convert", "avatars", file]).succeeded();
        let arguments = ["--count", "1", "--npy", index, "--model", file];
        sandbox.run(&arguments).succeeded();
    }
    sandbox
        .run(&["--count", "1", "--npy", "embedded"])
        .succeeded();
    assert_eq!(sandbox.bytes("npz"), sandbox.bytes("embedded"));
    assert_eq!(sandbox.bytes("safetensors"), sandbox.bytes("embedded"));
}

#[test]
fn inspect_shows_what_a_model_is() {
    let sandbox = Sandbox::new();
    sandbox.run(&["convert", "fashion", "f.npz"]).succeeded();
    for model in ["fashion", "f.npz"] {
        let json = sandbox.run(&["inspect", model, "--json"]).json();
        let hyper = &json["hyperparameters"];
        assert_eq!(hyper["nr_resnet"], 2);
        assert_eq!(hyper["nr_filters"], 40);
        assert_eq!(hyper["nr_logistic_mix"], 10);
        assert_eq!(hyper["classes"], 10);
        assert_eq!(json["parameters"], 1_537_900);
        assert!(json["problem"].is_null());
        let ended = sandbox.run(&["inspect", model]);
        ended.succeeded();
        for part in ["1537900", "28x28", "conv2d_0/V"] {
            assert!(ended.out.contains(part), "no {part:?} in {ended:?}");
        }
        // A model that comes with the program comes with its card.
        let embedded = model == "fashion";
        assert_eq!(ended.out.contains("Notice of Fashion-MNIST"), embedded);
        let card = json["card"].as_str();
        assert_eq!(card.is_some_and(|card| card.contains("licence")), embedded);
    }
}

#[test]
fn inspect_without_metadata_infers_and_names_the_first_fault() {
    let sandbox = Sandbox::new();
    altered(&sandbox, "plain.safetensors", |_| {});
    let json = sandbox
        .run(&["inspect", "plain.safetensors", "--json"])
        .json();
    assert_eq!(json["from_metadata"], false);
    assert_eq!(json["hyperparameters"]["classes"], 10);
    altered(&sandbox, "missing.safetensors", |tensors| {
        tensors.remove("dense_3/g");
    });
    let ended = sandbox.run(&["inspect", "missing.safetensors"]);
    ended.failed_with(&["missing.safetensors", "dense_3/g"]);
    assert!(ended.out.contains("conv2d_0/V"), "{ended:?}");
}

#[test]
fn inspect_names_a_few_of_many_ignored_tensors_with_the_reason() {
    let sandbox = Sandbox::new();
    let model = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/checkpoints/tiny/v1/params_cifar.ckpt");
    let ended = sandbox.run(&["inspect", model.to_str().expect("a path in Unicode")]);
    ended.succeeded();
    let ignored: Vec<&str> = ended
        .out
        .lines()
        .filter(|line| line.starts_with("ignored"))
        .collect();
    assert!(
        ignored[0].contains("Variable, Variable_1, Variable_10, ... ("),
        "{ended:?}"
    );
    let mut reasons: Vec<&str> = ignored
        .iter()
        .filter_map(|line| line.rsplit(": ").next())
        .collect();
    let lines = reasons.len();
    reasons.dedup();
    assert_eq!(reasons.len(), lines, "{ignored:?}");
}

#[test]
fn faulty_models_are_refused_with_tensor_expected_and_found() {
    let sandbox = Sandbox::new();
    altered(&sandbox, "missing.safetensors", |tensors| {
        tensors.remove("conv2d_5/V");
    });
    altered(&sandbox, "extra.safetensors", |tensors| {
        tensors.insert("conv2d_0/surplus".into(), (vec![1], vec![0; 4]));
    });
    altered(&sandbox, "shape.safetensors", |tensors| {
        let (shape, data) = tensors.get_mut("conv2d_9/g").expect("a tensor");
        shape[0] -= 1;
        data.truncate(shape[0] * 4);
    });
    for (name, value) in [
        ("nan.safetensors", f32::NAN),
        ("inf.safetensors", f32::INFINITY),
    ] {
        altered(&sandbox, name, |tensors| {
            let (_, data) = tensors.get_mut("conv2d_2/b").expect("a tensor");
            data[4..8].copy_from_slice(&value.to_le_bytes());
        });
    }
    let whole = sandbox.bytes("nan.safetensors");
    sandbox.write("cut.safetensors", &whole[..whole.len() / 2]);
    sandbox.write("text.safetensors", b"certainly no model");
    sandbox.write("empty.npz", b"");
    let before = sandbox.names("");
    let cases: &[(&str, &[&str])] = &[
        ("missing.safetensors", &["conv2d_5/V", "expected", "found"]),
        (
            "extra.safetensors",
            &["conv2d_0/surplus", "expected", "found"],
        ),
        ("shape.safetensors", &["conv2d_9/g", "expected", "found"]),
        (
            "nan.safetensors",
            &["conv2d_2/b", "finite", "NaN", "index 1"],
        ),
        (
            "inf.safetensors",
            &["conv2d_2/b", "finite", "inf", "index 1"],
        ),
        ("cut.safetensors", &["expected", "found"]),
        ("text.safetensors", &["expected", "found"]),
        ("empty.npz", &["expected", "found"]),
        ("absent.npz", &["No such file"]),
        (".", &["expected a model file", "directory"]),
    ];
    for (model, texts) in cases {
        let texts = [&[*model], *texts].concat();
        sandbox
            .run(&["--class", "0", "--model", model])
            .failed_with(&texts);
        sandbox
            .run(&["convert", model, "out.npz"])
            .failed_with(&texts);
    }
    assert_eq!(sandbox.names(""), before);
}

#[test]
fn convert_refuses_unknown_formats_and_full_disks() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["convert", "avatars", "out.bin"])
        .failed_with(&["out.bin", ".safetensors or .npz", "found"]);
    sandbox
        .run(&["convert", "avatars", "nowhere/out.npz"])
        .failed_with(&["nowhere/out.npz", "cannot write", "No such file"]);
    assert_eq!(sandbox.names(""), [""; 0]);
    if cfg!(target_os = "linux") {
        for name in ["full.npz", "full.safetensors"] {
            #[cfg(unix)]
            std::os::unix::fs::symlink("/dev/full", sandbox.path(name)).expect("a link");
            sandbox
                .run(&["convert", "avatars", name])
                .failed_with(&[name, "No space left"]);
        }
    }
}

#[test]
fn half_precision_makes_smaller_files_that_load() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["convert", "avatars", "full.safetensors"])
        .succeeded();
    let arguments = [
        "convert",
        "avatars",
        "half.safetensors",
        "--precision",
        "f16",
    ];
    sandbox.run(&arguments).succeeded();
    let size = |name: &str| sandbox.bytes(name).len() as f64;
    assert!(size("half.safetensors") < 0.55 * size("full.safetensors"));
    sandbox
        .run(&[
            "--count",
            "1",
            "--size",
            "4x4",
            "--model",
            "half.safetensors",
        ])
        .succeeded();
}

#[test]
fn models_of_all_families_make_the_same_when_they_are_converted() {
    let sandbox = Sandbox::new();
    let family = |name: &str| {
        let path = test_support::reference::golden("families").join(name);
        path.to_string_lossy().into_owned()
    };
    let mel = crate::process::npy(&[4, 20], &[0.25f32; 80]);
    sandbox.write("mel.npy", &mel);
    sandbox.write("h.npy", &crate::process::npy(&[1, 1], &[0.5f32]));
    let cases: [(&str, &[&str]); 5] = [
        (
            "gated_pixelcnn/vqvae/model_legacy.pt",
            &["--class", "1", "--size", "4x4"],
        ),
        ("gated_pixelcnn/uva/PixelCNN.ckpt", &["--size", "3x5"]),
        (
            "wavenet/mol/checkpoint_step000000100_ema.pth",
            &["--class", "2", "--mel", "mel.npy"],
        ),
        (
            "wavenet/fast/v2/wavenet.ckpt",
            &["--samples", "50", "--sample-rate", "8000"],
        ),
        (
            "pixelcnnpp/hawc/params_hawc2.ckpt",
            &["--condition", "h.npy", "--size", "4x4"],
        ),
    ];
    for (model, options) in cases {
        let model = family(model);
        let make = |model: &str, file: &str| {
            let common = ["--model", model, "--count", "2", "--npy", file];
            sandbox.run(&[&common[..], options].concat()).succeeded();
            sandbox.bytes(file)
        };
        let expected = make(&model, "original.npy");
        for file in ["model.npz", "model.safetensors"] {
            sandbox.run(&["convert", &model, file]).succeeded();
            assert!(make(file, "converted.npy") == expected, "{model} {file}");
            let before = sandbox.run(&["inspect", &model, "--json"]).json();
            let after = sandbox.run(&["inspect", file, "--json"]).json();
            assert_eq!(after["problem"], serde_json::Value::Null);
            assert_eq!(after["from_metadata"], true);
            assert_eq!(before["hyperparameters"], after["hyperparameters"]);
            let text = sandbox.run(&["inspect", file]);
            text.succeeded();
            assert!(text.out.contains("from metadata"), "{text:?}");
        }
    }
}

#[test]
fn hyperparameters_in_the_current_folder_are_nothing_to_an_embedded_model() {
    let sandbox = Sandbox::new();
    sandbox.write("hparams.json", b"no JSON");
    let generate = ["generate", "--count", "1", "--size", "4x4"];
    sandbox.run(&generate).succeeded();
    sandbox.run(&["inspect", "avatars"]).succeeded();
}
