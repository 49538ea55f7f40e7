use std::path::Path;

use fastpix::checkpoint::{Checkpoint, CheckpointError, LoadOptions, Tensor, TensorFile, Tensors};
use proptest::prelude::*;
use test_support::checkpoint_files::npz;
use test_support::reference::{golden, unpacked};

use super::family;

/// The tensors of a file under their own names; flags and counts are numbers.
fn tensors(file: &mut TensorFile<'_>) -> Tensors {
    let listed = file.tensors().into_iter().enumerate();
    let numbers = |element: &str| !element.starts_with("string") && !element.starts_with("type");
    listed
        .filter(|(_, stored)| numbers(&stored.element_type))
        .filter(|(_, stored)| stored.name != "_CHECKPOINTABLE_OBJECT_GRAPH")
        .map(|(index, stored)| (stored.name, file.read(index).unwrap()))
        .collect()
}

/// Small models under the names of every original.
fn all() -> Vec<(&'static str, Tensors)> {
    let packed = |name: &str| {
        let bytes = unpacked(name);
        tensors(&mut TensorFile::from_bytes(name, &bytes).unwrap())
    };
    let plain = |path: &Path| tensors(&mut TensorFile::open(path).unwrap());
    let example = packed("families/pixelcnnpp/flax/checkpoint_60");
    let averages = example
        .into_iter()
        .filter(|(name, _)| name.starts_with("1/"));
    vec![
        ("hawc", {
            let both = plain(&family("hawc/params_hawc2.ckpt"));
            let average = |name: &String| name.ends_with("/ExponentialMovingAverage");
            both.into_iter().filter(|(name, _)| average(name)).collect()
        }),
        ("published", packed("formats/flax/params.flax")),
        ("example", averages.collect()),
        ("legacy HDF5", packed("formats/tfp/model.h5")),
        ("HDF5", packed("formats/tfp/model.weights.h5")),
        ("by layer", plain(&golden("formats/tfp/weights.npz"))),
        ("without norm", plain(&family("tfp/variant.npz"))),
    ]
}

/// What loading a file of these tensors says, through to the network.
fn load(tensors: &Tensors) -> Result<(), CheckpointError> {
    let bytes = npz(tensors, false);
    let loaded = Checkpoint::from_bytes("m.npz", &bytes, &LoadOptions::new())?;
    loaded.into_network()?;
    Ok(())
}

#[track_caller]
fn error(what: &str, tensors: &Tensors) -> String {
    match load(tensors) {
        Ok(()) => panic!("{what}: loaded"),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n'), "{what}: {text}");
            assert!(text.starts_with("m.npz: "), "{what}: {text}");
            text
        }
    }
}

#[test]
fn no_tensor_can_be_left_out_renamed_or_cut() {
    for (what, tensors) in all() {
        load(&tensors).unwrap_or_else(|error| panic!("{what}: {error}"));
        let weights: Vec<&String> = tensors
            .keys()
            .filter(|name| !name.contains("initialized") && !name.ends_with("vars/2"))
            .collect();
        // Some of hundreds.
        for (index, &name) in weights
            .iter()
            .enumerate()
            .filter(|(index, _)| index % 7 == 0)
        {
            let what = format!("{what} {name}");
            let mut without = tensors.clone();
            let tensor = without.remove(name).unwrap();
            error(&what, &without);
            let mut renamed = without.clone();
            renamed.insert(format!("{name}_more"), tensor.clone());
            error(&what, &renamed);
            let mut other = without.clone();
            let mut cut = tensor.clone();
            let axis = index % cut.shape.len();
            cut.shape[axis] += 1;
            let count = cut.shape.iter().product();
            cut.values.resize(count, 0.0);
            other.insert(name.clone(), cut);
            error(&what, &other);
            let mut nan = without;
            let mut values = tensor;
            let at = values.values.iter().position(|&x| x != 0.0).unwrap();
            values.values[at] = f32::NAN;
            nan.insert(name.clone(), values);
            let text = error(&what, &nan);
            // A norm that is not finite makes others so, also what is masked.
            let named = ["expected finite numbers", "expected zeros under its mask"];
            assert!(named.iter().any(|named| text.contains(named)), "{text}");
        }
        let mut more = tensors.clone();
        let extra = Tensor {
            shape: vec![2],
            values: vec![1.0; 2],
        };
        more.insert("something/else".into(), extra);
        let text = error(what, &more);
        assert!(text.contains("something/else"), "{text}");
    }
}

#[test]
fn weights_under_a_mask_and_flags_that_are_not_set_are_refused() {
    let all = all();
    let of = |which: &str| {
        all.iter()
            .find(|(what, _)| *what == which)
            .unwrap()
            .1
            .clone()
    };
    for (which, kernel, flag) in [
        (
            "legacy HDF5",
            "private__pixel_cnn_network/weight_norm_3/kernel:0",
            "private__pixel_cnn_network/weight_norm_3/initialized:0",
        ),
        (
            "HDF5",
            "layers/private__pixel_cnn_network/_network/layers/weight_norm_1/vars/0",
            "layers/private__pixel_cnn_network/_network/layers/weight_norm_1/vars/2",
        ),
    ] {
        let mut masked = of(which);
        let weight = masked.get_mut(kernel).unwrap();
        assert_eq!(weight.shape, [3, 3, 12, 6]);
        *weight.values.last_mut().unwrap() = 0.25;
        let text = error(which, &masked);
        assert!(text.contains(kernel), "{text}");
        assert!(text.contains("expected zeros under its mask"), "{text}");
        let mut untrained = of(which);
        untrained.get_mut(flag).unwrap().values[0] = 0.0;
        let text = error(which, &untrained);
        assert!(text.contains(flag), "{text}");
        assert!(text.contains("never trained"), "{text}");
    }
}

#[test]
fn a_kernel_that_is_cut_to_its_mask_already_is_no_keras_kernel() {
    let mut tensors = all().remove(5).1;
    let name = "weight_norm_3/kernel";
    let kernel = tensors.get_mut(name).unwrap();
    assert_eq!(kernel.shape, [3, 3, 12, 6]);
    kernel.shape[0] = 2;
    kernel.values.truncate(2 * 3 * 12 * 6);
    let text = error("cut", &tensors);
    // Its rows tell it apart from a convolution of stride 1.
    assert!(text.contains("convolutions: expected"), "{text}");
    let mut tensors = all().remove(5).1;
    let kernel = tensors.get_mut(name).unwrap();
    kernel.shape[1] = 2;
    kernel.values.truncate(3 * 2 * 12 * 6);
    let text = error("cut", &tensors);
    let expected =
        format!("tensor {name}: expected shape [3, 3, 12, 6], found shape [3, 2, 12, 6]");
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn a_receptive_field_that_would_see_the_pixel_itself_is_refused() {
    let mut tensors = all().remove(5).1;
    let kernel = tensors.get_mut("weight_norm/kernel").unwrap();
    assert_eq!(kernel.shape, [5, 3, 1, 6]);
    kernel.shape[1] = 4;
    kernel.values.resize(5 * 4 * 6, 0.0);
    let text = error("even", &tensors);
    let expected = "columns of the receptive field: expected an odd number, 3 to 31, found 4";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_training_checkpoint_of_keras_has_more_than_the_model() {
    let bytes = unpacked("formats/tfp/model.weights.h5");
    let mut file = TensorFile::from_bytes("model.weights.h5", &bytes).unwrap();
    let mut tensors = tensors(&mut file);
    let number = || Tensor {
        shape: vec![1],
        values: vec![0.0],
    };
    for name in [
        "optimizer/vars/0",
        "optimizer/vars/1",
        "metrics/mean/vars/0",
    ] {
        tensors.insert(name.into(), number());
    }
    let bytes = npz(&tensors, false);
    let loaded = Checkpoint::from_bytes("m.npz", &bytes, &LoadOptions::new()).unwrap();
    let why = |name: &str| {
        let mut ignored = loaded.ignored.iter();
        ignored
            .find(|ignored| ignored.name == name)
            .map(|ignored| ignored.why.as_str())
    };
    assert_eq!(why("optimizer/vars/1"), Some("optimiser state"));
    assert_eq!(why("metrics/mean/vars/0"), Some("state of metrics"));
}

#[test]
fn two_tensors_of_one_place_are_refused() {
    let mut tensors = all().remove(2).1;
    let (name, tensor) = tensors.first_key_value().unwrap();
    let again = (name.replace("1/", "1/params/"), tensor.clone());
    tensors.extend([again]);
    let text = error("twice", &tensors);
    assert!(text.contains("expected one tensor of this name"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn damaged_lists_of_tensors_give_one_line_and_no_panic(
        which in 0usize..7,
        damage in prop::collection::vec(
            (any::<prop::sample::Index>(), 0usize..6, any::<prop::sample::Index>(), 0usize..70),
            1..4,
        ),
    ) {
        thread_local! {
            static ALL: Vec<(&'static str, Tensors)> = all();
        }
        let mut tensors = ALL.with(|all| all[which].1.clone());
        for (at, kind, other, side) in damage {
            let names: Vec<String> = tensors.keys().cloned().collect();
            let (name, other) = (at.get(&names), other.get(&names));
            let tensor = tensors[name].clone();
            match kind {
                0 => {
                    tensors.remove(name);
                }
                1 => {
                    tensors.insert(other.clone(), tensor);
                }
                2 => {
                    tensors.insert(name.replace(['0', '1'], "2"), tensor);
                }
                3 | 4 => {
                    let mut shape = tensor.shape;
                    match shape.len() {
                        0 => shape.push(side),
                        axes => shape[side % axes] = side,
                    }
                    if kind == 4 {
                        shape.reverse();
                    }
                    let count: usize = shape.iter().product();
                    if count < 100_000 {
                        let values = vec![0.5; count];
                        tensors.insert(name.clone(), Tensor { shape, values });
                    }
                }
                _ => {
                    tensors.insert(format!("{name}/{side}"), tensor);
                }
            }
        }
        if let Err(error) = load(&tensors) {
            let text = error.to_string();
            prop_assert!(!text.contains('\n'), "{text}");
        }
    }
}
