//! What the tests of the family share: the originals' dumps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fastpix::checkpoint::{Checkpoint, LoadOptions};
use fastpix::{Codes, EvaluationRequest, Hooks, Network};
use serde_json::{Value, json};
use test_support::engine::{Mode, Target, engine};
use test_support::reference::{Array, golden, npz};

/// State dicts of the originals, in every format.
mod files;
/// The originals' numbers and codes.
mod originals;
/// Odd shapes, against the restatement.
mod properties;
/// Both originals, written down once more in float64.
mod restated;

/// A model that an original, or the script beside it, was run on.
struct Original {
    folder: &'static str,
    file: &'static str,
    /// What the file does not say.
    hparams: Option<Value>,
    /// How far f32 is from float64 by rounding alone: the original's own f32 was 7.1e-6 (`vqvae`)
    /// and 1.3e-6 (the others) off.
    f32_error: f64,
}

fn originals() -> [Original; 4] {
    let original = |folder, file, f32_error| Original {
        folder,
        file,
        hparams: None,
        f32_error,
    };
    [
        original("vqvae", "model_legacy.pt", 2e-5),
        original("uva", "PixelCNN.ckpt", 4e-6),
        original("uva_rgb", "model.pt", 4e-6),
        Original {
            hparams: Some(json!({ "dilations": [1, 2, 1], "rgb_groups": true })),
            ..original("rgb_groups", "model.safetensors", 4e-6)
        },
    ]
}

impl Original {
    fn path(&self, file: &str) -> PathBuf {
        golden("families/gated_pixelcnn")
            .join(self.folder)
            .join(file)
    }

    fn checkpoint(&self) -> Checkpoint {
        let mut options = LoadOptions::new();
        options.hparams = self.hparams.clone();
        let checkpoint = Checkpoint::open(&self.path(self.file), &options);
        checkpoint.unwrap_or_else(|error| panic!("{error}"))
    }

    fn network(&self) -> Network {
        self.checkpoint().into_network().unwrap()
    }

    fn io(&self) -> BTreeMap<String, Array> {
        npz(&self.path("io.npz"))
    }
}

fn codes(array: &Array) -> Codes {
    Codes {
        shape: array.shape.clone().try_into().unwrap(),
        values: array.values.iter().map(|&code| code as u16).collect(),
    }
}

fn labels(io: &BTreeMap<String, Array>) -> Vec<usize> {
    io.get("labels").map_or(vec![], Array::usize)
}

/// The logits of every value of given images, and the nats of every pixel.
fn evaluate(
    network: &Network,
    target: &Target,
    images: &Codes,
    classes: &[usize],
    mode: Mode,
) -> (Vec<f32>, Vec<f32>) {
    let request = EvaluationRequest::new(images)
        .classes(classes)
        .mode(mode)
        .likelihoods(true);
    let (mut logits, mut nats) = (Vec::new(), Vec::new());
    let evaluated = engine(network, target).evaluate(&request, &mut Hooks::new(), &mut |part| {
        nats.extend(part.nats.iter().map(|&nats| nats as f32));
        logits.extend(part.parameters);
    });
    evaluated.unwrap_or_else(|error| panic!("{error}"));
    (logits, nats)
}
