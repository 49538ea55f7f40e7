//! Models of other than the original's three levels: recognised from metadata, and from their
//! tensors alone.

use std::path::Path;

use fastpix::checkpoint::{Checkpoint, CheckpointError, LoadOptions};
use fastpix::families::pixelcnnpp::Hyperparameters;
use test_support::checkpoint_files::{checkpoint, npz, saved, smallest};

/// All numbers of levels, each with several blocks, channels and classes.
fn all() -> Vec<Hyperparameters> {
    let mut all = Vec::new();
    for levels in 1..=4 {
        for (nr_resnet, channels, classes) in [(1, 3, None), (2, 1, Some(2)), (3, 1, None)] {
            all.push(Hyperparameters {
                levels,
                nr_resnet,
                channels,
                ..smallest(classes)
            });
        }
    }
    all
}

fn load(name: &str, bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes(name, bytes, &LoadOptions::default())
}

/// What a look into a file says of its levels, and whether from metadata.
fn inspected(name: &str, bytes: &[u8]) -> (Option<usize>, bool) {
    let inspection = Checkpoint::inspect_bytes(name, bytes).unwrap();
    assert_eq!(inspection.problem, None);
    let levels = inspection
        .hyperparameters
        .map(|hyper| hyper.pixelcnnpp().unwrap().levels);
    (levels, inspection.has_metadata)
}

#[test]
fn levels_are_told_by_metadata_and_by_the_tensors_alone() {
    for hyper in all() {
        let model = checkpoint(&hyper, 1);
        let levels = Some(hyper.levels);
        let mut networks = Vec::new();
        for (name, bytes, has_metadata) in [
            ("m.safetensors", saved(&model, "safetensors"), true),
            ("m.npz", saved(&model, "npz"), true),
            ("bare.npz", npz(&model.tensors, false), false),
        ] {
            assert_eq!(inspected(name, &bytes), (levels, has_metadata), "{name}");
            let loaded = load(name, &bytes).unwrap_or_else(|error| panic!("{hyper:?}: {error}"));
            assert_eq!(loaded.hyperparameters, hyper.clone().into(), "{name}");
            assert_eq!(loaded.tensors, model.tensors, "{name}");
            networks.push(loaded.into_network().unwrap());
        }
        let multiple = 1 << (hyper.levels - 1);
        for network in &networks {
            assert_eq!(network.graph().side_multiples(), [multiple; 2], "{hyper:?}");
            assert!(network.weights() == networks[0].weights());
        }
    }
}

#[test]
fn no_layer_can_be_left_out_whatever_the_levels() {
    for hyper in all().into_iter().filter(|hyper| hyper.nr_resnet == 1) {
        let model = checkpoint(&hyper, 2);
        let layers = model
            .tensors
            .keys()
            .filter_map(|name| name.strip_suffix("/V"));
        for layer in layers {
            let mut tensors = model.tensors.clone();
            tensors.retain(|name, _| name.split('/').next() != Some(layer));
            let loaded = load("m.npz", &npz(&tensors, false));
            assert!(loaded.is_err(), "{hyper:?} without {layer}");
        }
    }
}

#[test]
fn metadata_of_other_levels_than_the_tensors_are_refused() {
    for hyper in all() {
        for levels in (1..=4).filter(|&levels| levels != hyper.levels) {
            let mut model = checkpoint(&hyper, 3);
            model.hyperparameters = Hyperparameters {
                levels,
                ..hyper.clone()
            }
            .into();
            let error = load("m.npz", &saved(&model, "npz")).unwrap_err();
            assert!(matches!(error, CheckpointError::Weights { .. }), "{error}");
        }
    }
    for levels in [0, 8, usize::MAX] {
        let mut model = checkpoint(&smallest(None), 3);
        model.hyperparameters = Hyperparameters {
            levels,
            ..smallest(None)
        }
        .into();
        let text = load("m.npz", &saved(&model, "npz"))
            .unwrap_err()
            .to_string();
        let expected = format!("metadata `fastpix`: levels: expected 1 to 7, found {levels}");
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn a_stated_image_size_fits_the_levels() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| Checkpoint::open(path, &LoadOptions::default());
    for levels in 1..=4 {
        let multiple = 1 << (levels - 1);
        let hyper = |width| Hyperparameters {
            levels,
            image_size: Some((multiple, width)),
            ..smallest(None)
        };
        let path = folder.path().join(format!("{levels}.safetensors"));
        let good = hyper(3 * multiple);
        checkpoint(&good, 4).save(&path).unwrap();
        assert_eq!(open(&path).unwrap().hyperparameters, good.into());
        if levels > 1 {
            checkpoint(&hyper(3 * multiple / 2), 4).save(&path).unwrap();
            let text = open(&path).unwrap_err().to_string();
            let expected = format!("width: expected a multiple of {multiple} from {multiple} to");
            assert!(text.contains(&expected), "{text}");
        }
    }
}
