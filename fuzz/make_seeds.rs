//! Writes the seed corpus: `cargo run --example make_seeds`, in this folder. A small model in
//! every format.

#[allow(dead_code, reason = "tests use more of these")]
#[path = "../tests/support/src/checkpoint_files/mod.rs"]
mod checkpoint_files;

use std::path::Path;

use checkpoint_files::pytorch::{self, Norm};
use checkpoint_files::{checkpoint, flax, saved, smallest, tensorflow, tensors};

fn seed(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    std::fs::create_dir_all(&folder).expect("a folder for seeds");
    std::fs::write(folder.join(name), bytes).expect("room for seeds");
}

fn main() {
    let hyper = smallest(None);
    let model = checkpoint(&hyper, 1);
    seed("safetensors", "model", &saved(&model, "safetensors"));
    seed("npz", "model", &saved(&model, "npz"));

    let named = tensorflow::named(&tensors(&hyper, 1), None);
    seed("tensorflow_v1", "plain", &tensorflow::v1(&named, 1, false));
    seed("tensorflow_v1", "snappy", &tensorflow::v1(&named, 1, true));
    let files = tensorflow::v2(&named, 1, 1, false);
    let (index, data) = (&files[0].1, &files[1].1);
    let length = (index.len() as u32).to_le_bytes();
    seed(
        "tensorflow_v2",
        "model",
        &[&length[..], index, data].concat(),
    );

    let files = tensorflow::object_based(&tensorflow::object_graph());
    let (index, data) = (&files[0].1, &files[1].1);
    let length = (index.len() as u32).to_le_bytes();
    seed(
        "tensorflow_v2",
        "object_based",
        &[&length[..], index, data].concat(),
    );

    seed("flax", "checkpoint", &flax::checkpoint());
    for name in ["older", "newer"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/golden/formats/hdf5")
            .join(name)
            .with_extension("h5");
        let bytes = std::fs::read(path).expect("a file that h5py wrote");
        seed("hdf5", name, &bytes);
    }

    for (name, norm) in [
        ("weight_norm", Norm::GainAndDirection),
        ("parametrized", Norm::Parametrized),
        ("folded", Norm::Folded),
    ] {
        let named = pytorch::model(&hyper, norm, "module.");
        seed(
            "pytorch",
            name,
            &pytorch::zip(&pytorch::state_dict(&named, false), &named),
        );
    }
    let named = pytorch::model(&hyper, Norm::GainAndDirection, "");
    seed(
        "pytorch",
        "legacy",
        &pytorch::legacy(&pytorch::state_dict(&named, true), &named),
    );
}
