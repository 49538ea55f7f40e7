use fastpix::checkpoint::{Checkpoint, LoadOptions, Tensors};
use serde_json::json;
use test_support::allocator::PerThread;
use test_support::checkpoint_files::{npz, pytorch};

use super::{MOL, checkpoint, hparams, open_bytes, vocoder, with};

/// The folded tensors of a reference.
fn tensors(name: &str) -> Tensors {
    checkpoint(name).tensors
}

/// Why tensors are refused, with the JSON of a reference.
fn refusal_of(tensors: &Tensors, name: &str) -> String {
    let error = open_bytes(&npz(tensors, false), Some(hparams(name)));
    let error = error.and_then(Checkpoint::into_network);
    let error = error.expect_err("they are refused").to_string();
    error
        .strip_prefix("model: ")
        .expect("names the file")
        .to_owned()
}

#[test]
fn tensors_that_are_no_model_are_refused_by_name() {
    let whole = tensors(MOL);
    let without = |name: &str| {
        let mut tensors = whole.clone();
        assert!(tensors.remove(name).is_some(), "{name}");
        refusal_of(&tensors, "mol")
    };
    for (name, text) in [
        (
            "first_conv.weight",
            "tensor first_conv.weight: expected in a WaveNet, found no such tensor",
        ),
        (
            "conv_layers.3.conv1x1_skip.bias",
            "tensor conv_layers.3.conv1x1_skip.bias: expected shape [24], found no such tensor",
        ),
        (
            "conv_layers.2.conv1x1c.weight",
            "tensor conv_layers.2.conv1x1c.weight: expected shape [32, 20, 1], found no such tensor",
        ),
        // Of six layers, the first three are whole.
        (
            "conv_layers.3.conv.weight",
            "layers: expected 3 in the JSON of hyperparameters, as the tensors show, found 6",
        ),
        (
            "upsample_net.upsample.up_layers.3.weight",
            "upsample_scales: expected [2] in the JSON of hyperparameters, as the tensors show, \
             found [2, 4]",
        ),
    ] {
        assert_eq!(without(name), text);
    }
    let shaped = |name: &str, shape: &[usize]| {
        let mut tensors = whole.clone();
        let tensor = tensors.get_mut(name).unwrap();
        tensor.shape = shape.to_vec();
        tensor.values = vec![0.5; shape.iter().product()];
        refusal_of(&tensors, "mol")
    };
    for (name, shape, text) in [
        (
            "first_conv.weight",
            &[16][..],
            "tensor first_conv.weight: expected shape [outputs, inputs, taps], found shape [16]",
        ),
        (
            "last_conv_layers.3.weight",
            &[31, 24, 1],
            "out_channels: expected 31 in the JSON of hyperparameters, as the tensors show, found 30",
        ),
        (
            "conv_layers.4.conv.weight",
            &[32, 16, 2],
            "tensor conv_layers.4.conv.weight: expected shape [32, 16, 3], found [32, 16, 2]",
        ),
        (
            "embed_speakers.weight",
            &[8],
            "tensor embed_speakers.weight: expected shape [speakers, 8], found shape [8]",
        ),
        (
            "embed_speakers.weight",
            &[4, 7],
            "tensor embed_speakers.weight: expected shape [4, 8], found [4, 7]",
        ),
        (
            "upsample_net.upsample.up_layers.1.weight",
            &[1, 1, 2, 5],
            "freq_axis_kernel_size: expected an odd number, found 2",
        ),
        (
            "upsample_net.conv_in.weight",
            &[20, 20, 4],
            "tensor upsample_net.conv_in.weight: expected shape [20, 20, 5], found [20, 20, 4]",
        ),
    ] {
        assert_eq!(shaped(name, shape), text);
    }
    let mut more = whole.clone();
    more.insert(
        "conv_layers.0.conv2.weight".into(),
        whole["first_conv.bias"].clone(),
    );
    let text = refusal_of(&more, "mol");
    assert!(
        text.starts_with("tensor conv_layers.0.conv2.weight: expected no such tensor in a WaveNet"),
        "{text}"
    );
    let mut nan = whole.clone();
    nan.get_mut("conv_layers.5.conv1x1_out.weight")
        .unwrap()
        .values[3] = f32::NAN;
    let text = refusal_of(&nan, "mol");
    assert_eq!(
        text,
        "tensor conv_layers.5.conv1x1_out.weight: expected finite numbers, found NaN at index 3"
    );
    let mut nan = whole.clone();
    let kernel = nan.get_mut("upsample_net.upsample.up_layers.3.weight");
    kernel.unwrap().values[0] = f32::INFINITY;
    let text = refusal_of(&nan, "mol");
    assert!(
        text.contains("up_layers.3.weight: expected finite"),
        "{text}"
    );
}

#[test]
fn a_single_normal_distribution_is_refused() {
    let mut tensors = tensors(MOL);
    for (name, shape) in [("weight", &[2, 24, 1][..]), ("bias", &[2])] {
        let name = format!("last_conv_layers.3.{name}");
        let tensor = tensors.get_mut(&name).unwrap();
        tensor.values.truncate(shape.iter().product());
        tensor.shape = shape.to_vec();
    }
    let stated = with(
        hparams("mol"),
        json!({"out_channels": 2, "output_distribution": "Normal"}),
    );
    let of = |stated| {
        let error = open_bytes(&npz(&tensors, false), Some(stated)).unwrap_err();
        error.to_string()
    };
    let text = of(stated);
    assert!(
        text.contains("output_distribution: expected Logistic"),
        "{text}"
    );
    let text = of(json!({"stacks": 2}));
    let expected = "expected shape [3 numbers for each logistic of the mixture, channels, 1]";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn fast_wavenets_that_are_none_are_refused_by_name() {
    let whole = tensors("fast/weights.npz");
    let refusal = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = whole.clone();
        change(&mut tensors);
        let error = open_bytes(&npz(&tensors, false), None);
        let error = error.and_then(Checkpoint::into_network).unwrap_err();
        error.to_string()
    };
    let text = refusal(&|tensors| {
        tensors.remove("w");
    });
    assert_eq!(
        text,
        "model: tensor w: expected in a WaveNet, found no such tensor"
    );
    let text = refusal(&|tensors| {
        tensors.remove("b1-l2/w");
    });
    assert_eq!(
        text,
        "model: tensor b1-l2/w: expected shape [2, 8, 8], found no such tensor"
    );
    let text = refusal(&|tensors| {
        let tensor = tensors.remove("b1-l3/w").unwrap();
        tensors.insert("b1-l03/w".into(), tensor);
    });
    assert_eq!(
        text,
        "model: tensor b1-l3/w: expected shape [2, 8, 8], found no such tensor"
    );
    let text = refusal(&|tensors| {
        let tensor = tensors["b"].clone();
        tensors.insert("c".into(), tensor);
    });
    assert!(
        text.contains("tensor c: expected no such tensor in a fast-wavenet"),
        "{text}"
    );
    let text = refusal(&|tensors| tensors.get_mut("b").unwrap().values[7] = f32::NAN);
    assert_eq!(
        text,
        "model: tensor b: expected finite numbers, found NaN at index 7"
    );
}

#[test]
fn damaged_metadata_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    checkpoint(MOL).save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for (from, to, text) in [
        (
            "\\\"stacks\\\":2",
            "\\\"stacks\\\":5",
            "divisor of the 6 layers, found 5",
        ),
        (
            "\\\"layers\\\":6",
            "\\\"layers\\\":8",
            "conv_layers.6.conv.weight: expected shape",
        ),
        ("wavenet_vocoder", "wavenet_encoder", "original: expected"),
        (
            "\\\"kernel_size\\\":3",
            "\\\"kernel_size\\\":0",
            "kernel_size: expected 1 to 16385",
        ),
        (
            "\\\"n_speakers\\\":4",
            "\\\"n_speakers\\\":9",
            "embed_speakers.weight: expected shape",
        ),
    ] {
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes());
        let at = at.unwrap_or_else(|| panic!("{from} is in the metadata"));
        let mut damaged = bytes.clone();
        damaged[at..at + from.len()].copy_from_slice(to.as_bytes());
        let error = open_bytes(&damaged, None).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn a_number_in_metadata_decides_no_memory() {
    // A million layers, none of which is there.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.npz");
    let mut model = checkpoint(MOL);
    let mut hyper = vocoder(&model);
    (hyper.layers, hyper.stacks) = (65536, 65536);
    let hyper = fastpix::families::wavenet::Hyperparameters::from(hyper);
    model.hyperparameters = hyper.into();
    model.save(&path).unwrap();
    let (opened, peak) = PerThread::peak(|| Checkpoint::open(&path, &LoadOptions::default()));
    let text = opened.unwrap_err().to_string();
    assert!(
        text.contains("conv_layers.6.conv.weight: expected shape"),
        "{text}"
    );
    assert!(peak < 4 << 20, "{peak}");
}

/// Tensors as PyTorch keeps them, under names with a prefix.
fn named(tensors: &Tensors, prefix: &str) -> Vec<pytorch::Named> {
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
fn folded_state_dicts_and_those_in_wrappers_are_read() {
    let whole = tensors(MOL);
    for prefix in ["", "module."] {
        let named = named(&whole, prefix);
        let bytes = pytorch::zip(&pytorch::state_dict(&named, false), &named);
        let found = open_bytes(&bytes, Some(hparams("mol"))).unwrap();
        assert!(found.tensors == whole, "{prefix}");
        let bytes = pytorch::legacy(&pytorch::state_dict(&named, true), &named);
        let found = open_bytes(&bytes, Some(hparams("mol"))).unwrap();
        assert!(found.tensors == whole, "{prefix} legacy");
    }
    // The same tensor twice, in a wrapper and without.
    let mut twice = named(&whole, "");
    twice.extend(named(&whole, "module."));
    let bytes = pytorch::zip(&pytorch::state_dict(&twice, false), &twice);
    let text = open_bytes(&bytes, Some(hparams("mol")))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("expected one tensor of this name, found a second one"),
        "{text}"
    );
}
