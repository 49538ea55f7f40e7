//! The embedded models score their held-out images as the framework that trained them did.

mod reference;

use std::path::Path as FilePath;

use fastpix::{Control, DeviceChoice, Engine, EngineOptions, Path, Precision, U8Images, models};
use reference::{Array, npz};

/// Mean bits/dim of a model's held-out images: ours and the training framework's.
fn scores(name: &str, precision: Precision) -> (f64, f64) {
    let file = format!("tests/golden/models/{name}-heldout.npz");
    let held_out = npz(&FilePath::new(env!("CARGO_MANIFEST_DIR")).join(file));
    let checkpoint = models::embedded(name).unwrap().checkpoint().unwrap();
    let weights = checkpoint.into_weights().unwrap();
    let options = EngineOptions {
        device: DeviceChoice::Cpu,
        precision,
        ..EngineOptions::default()
    };
    let engine = Engine::new(&weights, &options).unwrap();
    let images = U8Images {
        shape: held_out["images"].shape.clone().try_into().unwrap(),
        levels: held_out["images"].u8(),
    };
    let labels: Vec<usize> = match weights.hyper.classes {
        Some(_) => held_out["labels"]
            .values
            .iter()
            .map(|&label| label as usize)
            .collect(),
        None => vec![],
    };
    let (bits, _) = engine
        .score(&images, &labels, Path::Forward, &Control::default())
        .unwrap();
    let mean = |bits: &[f64]| bits.iter().sum::<f64>() / bits.len() as f64;
    let Array { values, .. } = &held_out["bits_per_dim"];
    assert_eq!(bits.len(), values.len());
    (mean(&bits), mean(values))
}

#[test]
fn held_out_scores_match_the_training_framework() {
    for name in ["avatars", "fashion"] {
        let (found, expected) = scores(name, Precision::F32);
        assert!(
            (found - expected).abs() <= 0.001,
            "{name}: {found} against {expected}"
        );
    }
}

#[test]
fn bf16_costs_less_than_a_hundredth_of_a_bit_per_dimension() {
    for name in ["avatars", "fashion"] {
        let (found, expected) = scores(name, Precision::Bf16);
        assert!(
            (found - expected).abs() <= 0.01,
            "{name}: {found} against {expected}"
        );
    }
}
