use fastpix::checkpoint::{Checkpoint, Format, LoadOptions, Tensor, Tensors};
use fastpix::families::gated_pixelcnn::{
    CodePrior, Hyperparameters, PixelModel, Variant, random_tensors,
};
use fastpix::families::{self};
use serde_json::{Value, json};
use test_support::checkpoint_files::pytorch::{self, Named};
use test_support::checkpoint_files::{npz, saved};

use super::{Original, originals};

/// Loads a state dict from arrays without metadata, with hyperparameters beside it.
fn load(tensors: &Tensors, hparams: Option<Value>) -> Result<Checkpoint, String> {
    let mut options = LoadOptions::new();
    options.hparams = hparams;
    Checkpoint::from_bytes("m.npz", &npz(tensors, false), &options)
        .map_err(|error| error.to_string())
}

/// The error of loading it, one line that says these things.
#[track_caller]
fn assert_error(tensors: &Tensors, hparams: Option<Value>, parts: &[&str]) {
    let Err(error) = load(tensors, hparams) else {
        panic!("read without {parts:?}");
    };
    assert!(
        error.starts_with("m.npz: ") && !error.contains('\n'),
        "{error}"
    );
    for part in parts {
        assert!(error.contains(part), "no `{part}` in: {error}");
    }
}

fn small_prior() -> Hyperparameters {
    Hyperparameters {
        variant: Variant::Codes(CodePrior {
            codes: 6,
            layers: 3,
            classes: Some(2),
            first_kernel: 5,
            kernel: 3,
            hidden: 4,
        }),
        dim: 3,
        image_size: None,
    }
}

fn small_pixels(blocks: usize) -> Hyperparameters {
    Hyperparameters {
        variant: Variant::Pixels(PixelModel {
            channels: 3,
            dilations: (0..blocks).map(|block| 1 + block % 3).collect(),
            rgb_groups: true,
        }),
        dim: 3,
        image_size: None,
    }
}

/// What says of `small_pixels` what its tensors do not.
fn stated(blocks: usize) -> Option<Value> {
    let dilations: Vec<usize> = (0..blocks).map(|block| 1 + block % 3).collect();
    Some(json!({ "rgb_groups": true, "dilations": dilations }))
}

fn tensors(hyper: &Hyperparameters) -> Tensors {
    random_tensors(hyper, 3).unwrap()
}

fn one() -> Tensor {
    Tensor {
        shape: vec![1],
        values: vec![0.5],
    }
}

#[test]
fn hyperparameters_are_read_off_the_originals() {
    let pixels = |channels, dim| Hyperparameters {
        variant: Variant::Pixels(PixelModel {
            channels,
            dilations: vec![1, 2, 1, 4, 1, 2, 1],
            rgb_groups: false,
        }),
        dim,
        image_size: None,
    };
    let prior = Hyperparameters {
        variant: Variant::Codes(CodePrior {
            codes: 32,
            layers: 4,
            classes: Some(10),
            first_kernel: 7,
            kernel: 3,
            hidden: 512,
        }),
        dim: 16,
        image_size: None,
    };
    let groups = Hyperparameters {
        variant: Variant::Pixels(PixelModel {
            channels: 3,
            dilations: vec![1, 2, 1],
            rgb_groups: true,
        }),
        dim: 9,
        image_size: None,
    };
    let expected = [prior, pixels(1, 12), pixels(3, 8), groups];
    let formats = [
        Format::PyTorchLegacy,
        Format::PyTorchZip,
        Format::PyTorchZip,
        Format::Safetensors,
    ];
    for ((original, expected), format) in originals().iter().zip(expected).zip(formats) {
        let loaded = original.checkpoint();
        assert_eq!(loaded.hyperparameters.gated_pixelcnn(), Some(&expected));
        assert_eq!(loaded.format, format);
        let stored: usize = loaded.tensors.values().map(|t| t.values.len()).sum();
        assert_eq!(loaded.hyperparameters.parameter_count(), stored);
        assert_eq!(loaded.hyperparameters.family(), "Gated PixelCNN");
    }
}

#[test]
fn masks_and_what_lightning_adds_are_left_out_for_a_reason() {
    let loaded = originals()[1].checkpoint();
    let ignored = |what: &str| {
        let found = loaded.ignored.iter();
        found.filter(|ignored| ignored.why.contains(what)).count()
    };
    assert_eq!(ignored("mask of a convolution"), 16);
    assert_eq!(ignored("no part of the state dict"), 6);
    assert_eq!(loaded.ignored.len(), 22);
    assert!(loaded.notes[0].starts_with("dilations 1 2 1 4 1 2 1: "));
    // Where they are stated, there is nothing to note.
    assert!(originals()[3].checkpoint().notes.is_empty());
}

/// The tensors of a model as a PyTorch state dict has them.
fn named(tensors: &Tensors, prefix: &str) -> Vec<Named> {
    let tensors = tensors.iter();
    tensors
        .map(|(name, tensor)| {
            let strides = pytorch::strides(&tensor.shape);
            let name = format!("{prefix}{name}");
            (name, tensor.shape.clone(), strides, tensor.values.clone())
        })
        .collect()
}

#[test]
fn every_format_and_wrapper_gives_the_same_model() {
    for original in originals() {
        let Original {
            hparams, folder, ..
        } = &original;
        let expected = original.checkpoint();
        let check = |bytes: &[u8], what: &str| {
            let mut options = LoadOptions::new();
            options.hparams = hparams.clone();
            let loaded = Checkpoint::from_bytes("model", bytes, &options);
            let loaded = loaded.unwrap_or_else(|error| panic!("{folder} {what}: {error}"));
            assert!(loaded.tensors == expected.tensors, "{folder} {what}");
            assert_eq!(loaded.hyperparameters, expected.hyperparameters, "{what}");
        };
        for prefix in ["", "module.", "model.", "_orig_mod.module."] {
            let tensors = named(&expected.tensors, prefix);
            let zip = pytorch::state_dict(&tensors, false);
            check(&pytorch::zip(&zip, &tensors), &format!("zip {prefix}"));
            let legacy = pytorch::state_dict(&tensors, true);
            let legacy = pytorch::legacy(&legacy, &tensors);
            check(&legacy, &format!("legacy {prefix}"));
        }
        check(&npz(&expected.tensors, true), "npz");
    }
}

#[test]
fn converted_models_say_all_by_themselves_and_keep_the_originals_names() {
    for original in originals() {
        let mut first = original.checkpoint();
        // Not in any tensor.
        if let families::Hyperparameters::GatedPixelCnn(hyper) = &mut first.hyperparameters {
            hyper.image_size = Some((6, 5));
        }
        let mut converted = first.clone();
        for ending in ["safetensors", "npz", "safetensors"] {
            let bytes = saved(&converted, ending);
            let name = format!("m.{ending}");
            converted = Checkpoint::from_bytes(&name, &bytes, &LoadOptions::new()).unwrap();
            assert!(converted.tensors == first.tensors, "{}", original.folder);
            assert_eq!(converted.hyperparameters, first.hyperparameters);
            assert!(converted.ignored.is_empty() && converted.notes.is_empty());
            let inspection = Checkpoint::inspect_bytes(&name, &bytes).unwrap();
            assert_eq!(inspection.problem, None);
            assert!(inspection.has_metadata);
        }
        let info = converted.into_network().unwrap().info().clone();
        assert_eq!(info.hyperparameters["model"], "gated_pixelcnn");
        assert_eq!(info.image_size, Some((6, 5)));
    }
}

#[test]
fn the_state_after_a_forward_pass_gives_the_same_network() {
    // The first forward pass writes zeros where masks are.
    let tensors = originals()[0].checkpoint().tensors;
    let mut after = tensors.clone();
    let vert = after.get_mut("layers.0.vert_stack.weight").unwrap();
    for kernel in vert.values.chunks_mut(4 * 7) {
        kernel[3 * 7..].fill(0.0);
    }
    let horiz = after.get_mut("layers.0.horiz_stack.weight").unwrap();
    for kernel in horiz.values.chunks_mut(4) {
        kernel[3] = 0.0;
    }
    assert!(tensors != after);
    let images = fastpix::Codes {
        shape: [1, 5, 4, 1],
        values: (0..20).collect(),
    };
    let of = |tensors: &Tensors| {
        let network = load(tensors, None).unwrap().into_network().unwrap();
        let cpu = test_support::engine::cpu();
        super::evaluate(&network, &cpu, &images, &[3], Default::default()).0
    };
    assert!(of(&tensors) == of(&after));
}

#[test]
fn a_missing_tensor_is_named_as_the_file_names_it() {
    for (hyper, hparams) in [(small_prior(), None), (small_pixels(3), stated(3))] {
        let whole = tensors(&hyper);
        for name in whole.keys() {
            let prefixed = whole.iter().filter(|(other, _)| *other != name);
            let prefixed: Tensors = prefixed
                .map(|(name, tensor)| (format!("model.{name}"), tensor.clone()))
                .collect();
            let part = format!("tensor model.{name}: expected ");
            let found = "found no such tensor";
            assert_error(&prefixed, hparams.clone(), &[&part, found]);
        }
    }
}

#[test]
fn a_misshapen_tensor_gives_an_error() {
    for (hyper, hparams) in [(small_prior(), None), (small_pixels(3), stated(3))] {
        let whole = tensors(&hyper);
        for (name, tensor) in &whole {
            let mut shapes = vec![vec![], vec![tensor.values.len() + 1], vec![0; 4]];
            for axis in 0..tensor.shape.len() {
                for side in [0, tensor.shape[axis] + 1, tensor.shape[axis] + 2] {
                    let mut shape = tensor.shape.clone();
                    shape[axis] = side;
                    shapes.push(shape);
                }
            }
            for shape in shapes {
                let mut changed = whole.clone();
                let values = vec![0.5; shape.iter().product()];
                let found = format!("{shape:?}");
                changed.insert(name.clone(), Tensor { shape, values });
                let Err(error) = load(&changed, hparams.clone()) else {
                    panic!("{name} read with shape {found}");
                };
                assert!(
                    error.starts_with("m.npz: ") && !error.contains('\n'),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn a_misshapen_tensor_that_decides_nothing_is_named() {
    let mut changed = tensors(&small_prior());
    let name = "layers.1.horiz_stack.weight";
    changed.get_mut(name).unwrap().shape = vec![6, 3, 2, 1];
    let part = format!("tensor {name}: expected shape [6, 3, 1, 2], found [6, 3, 2, 1]");
    assert_error(&changed, None, &[&part]);
}

#[test]
fn superfluous_and_repeated_tensors_are_named() {
    let whole = tensors(&small_prior());
    for name in ["layers.0.extra.weight", "something", "conv_vert.mask"] {
        let mut more = whole.clone();
        more.insert(name.into(), one());
        let part = format!("tensor {name}: expected no such tensor in a class-conditional");
        assert_error(&more, None, &[&part]);
    }
    let mut twice = whole.clone();
    twice.insert("module.embedding.weight".into(), one());
    assert_error(
        &twice,
        None,
        &["embedding.weight: expected one tensor of this name"],
    );
    // A block whose number is far beyond the others.
    for number in ["9", "4097", "999999"] {
        let mut more = whole.clone();
        more.insert(format!("layers.{number}.vert_stack.bias"), one());
        assert_error(&more, None, &["layers"]);
    }
}

#[test]
fn masks_of_another_kind_are_refused() {
    let blocks = 7;
    let mut hyper = small_pixels(blocks);
    for (grouped, shape, is_read) in [
        (false, vec![1, 1, 3, 3], true),
        (true, vec![1, 1, 3, 3], true),
        (true, vec![6, 3, 3, 3], true),
        (false, vec![6, 3, 3, 3], false),
        (true, vec![1, 1, 3, 2], false),
        (true, vec![9], false),
    ] {
        if let Variant::Pixels(model) = &mut hyper.variant {
            model.rgb_groups = grouped;
        }
        let mut whole = tensors(&hyper);
        let values = vec![1.0; shape.iter().product()];
        let name = "conv_layers.4.conv_vert.mask";
        whole.insert(name.into(), Tensor { shape, values });
        let hparams = Some(json!({ "rgb_groups": grouped }));
        match is_read {
            true => assert_eq!(load(&whole, hparams).unwrap().ignored.len(), 1),
            false => {
                let part = format!("tensor {name}: expected no such tensor in a Gated PixelCNN");
                assert_error(&whole, hparams, &[&part]);
            }
        }
    }
}

#[test]
fn what_is_stated_beside_a_file_is_checked() {
    let three = tensors(&small_pixels(3));
    let expected = "dilations: expected a list of 3 whole numbers, one for each block, found ";
    for (hparams, found) in [
        (None, "none"),
        (Some(json!({ "epochs": 3 })), "none"),
        (Some(json!({ "dilations": [1, 2] })), "[1,2]"),
        (Some(json!({ "dilations": [1, 2, 1.5] })), "[1,2,1.5]"),
        (Some(json!({ "dilations": [1, 2, -1] })), "[1,2,-1]"),
        (Some(json!({ "dilations": "1 2 1" })), "\"1 2 1\""),
        (Some(json!({ "dilations": null })), "null"),
    ] {
        assert_error(&three, hparams, &[&format!("{expected}{found}")]);
    }
    for (dilation, found) in [(0, "found 0"), (257, "found 257")] {
        let hparams = json!({ "dilations": [1, 2, dilation] });
        assert_error(
            &three,
            Some(hparams),
            &["dilations: expected 1 to 256 each", found],
        );
    }
    let hparams = json!({ "dilations": [1, 2, 1], "rgb_groups": 1 });
    let expected = "rgb_groups: expected true or false, found 1";
    assert_error(&three, Some(hparams), &[expected]);
    let uneven = Hyperparameters {
        variant: Variant::Pixels(PixelModel {
            channels: 3,
            dilations: vec![1],
            rgb_groups: false,
        }),
        dim: 4,
        image_size: None,
    };
    let hparams = json!({ "dilations": [1], "rgb_groups": true });
    let expected = "dim: expected a multiple of 3 channels, found 4";
    assert_error(&tensors(&uneven), Some(hparams), &[expected]);
}

#[test]
fn hostile_metadata_gives_errors() {
    let mut checkpoint = originals()[3].checkpoint();
    let stated = serde_json::to_value(&checkpoint.hyperparameters).unwrap();
    checkpoint.tensors = tensors(&small_pixels(3));
    let bytes = saved(&checkpoint, "safetensors");
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let codes = json!({
        "model": "gated_pixelcnn", "input": "codes", "input_dim": 65536, "dim": 65536,
        "n_layers": 4096, "n_classes": 65536, "first_kernel": 63, "kernel": 63, "hidden": 65536,
    });
    let changes = [
        ("c_in", json!(0)),
        ("c_in", json!(16)),
        ("c_in", json!(1u64 << 63)),
        ("c_in", json!(-3)),
        ("c_hidden", json!(0)),
        ("c_hidden", json!(65535)),
        ("dilations", json!([])),
        ("dilations", json!(vec![1; 4096])),
        ("dilations", json!(vec![1; 4097])),
        ("dilations", json!([1, 1, 0])),
        ("dilations", json!(3)),
        ("rgb_groups", json!("yes")),
        ("input", json!("sound")),
        ("model", json!("pixelcnn")),
        ("height", json!(1u64 << 40)),
    ];
    let changed = changes.into_iter().map(|(key, value)| {
        let mut json = stated.clone();
        json[key] = value;
        json
    });
    for metadata in changed.chain([codes, json!([]), json!("gated_pixelcnn")]) {
        let mut header = header.clone();
        header["__metadata__"]["fastpix"] = metadata.to_string().into();
        let header = header.to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.extend(&bytes[8 + length..]);
        let loaded = Checkpoint::from_bytes("m", &file, &LoadOptions::new());
        let error = loaded.expect_err(&metadata.to_string()).to_string();
        assert!(error.starts_with("m: ") && !error.contains('\n'), "{error}");
        Checkpoint::inspect_bytes("m", &file).unwrap();
    }
}

#[test]
fn a_file_of_no_family_gets_the_usual_error() {
    // Names that many models have.
    let names = ["embedding.weight", "conv_out.weight", "layers.0.weight"];
    let tensors: Tensors = names.map(|name| (name.to_owned(), one())).into();
    let expected = "expected in a PixelCNN++, found no such tensor";
    assert_error(&tensors, None, &[expected]);
}

#[test]
fn damaged_files_of_lightning_give_errors_or_models() {
    let original = &originals()[1];
    let intact = std::fs::read(original.path(original.file)).unwrap();
    let mut state = 5u64;
    let mut below = |limit: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % limit
    };
    let mut refused = 0;
    for _ in 0..300 {
        let mut bytes = intact.clone();
        for _ in 0..1 + below(3) {
            // The pickle comes first.
            let at = below(24_000);
            bytes[at] = below(256) as u8;
        }
        let loaded = Checkpoint::from_bytes("m.ckpt", &bytes, &LoadOptions::new());
        if let Err(error) = loaded.and_then(Checkpoint::into_network) {
            let error = error.to_string();
            assert!(
                error.starts_with("m.ckpt: ") && !error.contains('\n'),
                "{error}"
            );
            refused += 1;
        }
    }
    assert!(refused > 0);
}
