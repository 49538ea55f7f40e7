//! Stores a model with half-precision matrices: `pack_model IN OUT.safetensors`.
//!
//! The models in `models/` were made with this from their f32 originals.

use std::path::Path;

use anyhow::{Context, bail};
use fastpix::checkpoint::{Checkpoint, LoadOptions};
use fastpix::network::Dtype;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        bail!("usage: pack_model IN OUT.safetensors");
    };
    let checkpoint = Checkpoint::open(Path::new(input), &LoadOptions::default())?;
    checkpoint.save_as(Path::new(output), Dtype::F16)?;
    let size = |path: &String| {
        std::fs::metadata(path)
            .map(|file| file.len())
            .with_context(|| path.clone())
    };
    println!("{output}: {} bytes from {}", size(output)?, size(input)?);
    Ok(())
}
