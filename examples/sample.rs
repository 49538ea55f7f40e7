//! Samples images of an embedded model, or of a model file, into PNGs.
//!
//! `cargo run --release --example sample [MODEL FILE]`

use std::path::Path;

use anyhow::Context;
use fastpix::images::{ContactSheet, Provenance, WeightsChoice, write_png};
use fastpix::{Engine, EngineOptions};

fn main() -> anyhow::Result<()> {
    let file = std::env::args().nth(1);
    let network = match &file {
        Some(file) => fastpix::open(file)?,
        None => fastpix::embedded("avatars")?,
    };
    let engine = Engine::new(&network, &EngineOptions::new())?;
    println!("{} on {}", network.info().summary, engine.device());

    // Images of the size that the model was trained at, of all classes in turn if it has any.
    let request = engine.request(4).seed(1);
    let samples = engine.sample(&request)?.to_u8();

    for (image, asked) in samples.images().zip(&request.images) {
        let [_, height, width, channels] = samples.shape;
        let picture = ContactSheet::new([1, height, width, channels], image, 8);
        let made = Provenance {
            model: file.clone().unwrap_or_else(|| "avatars".to_owned()),
            weights: WeightsChoice::Raw,
            hparams: None,
            device: engine.device(),
            dtype: "f32".to_owned(),
            seed: request.seed,
            index: asked.index,
            class: asked.class,
            vector: asked.vector.clone(),
            map: None,
            temperature: request.sampler.temperature,
            truncation: None,
            continuous: request.continuous,
            kept_rows: 0,
            scale: 8,
            shows: None,
            images: 1,
        };
        let name = format!("sample-{}.png", asked.index);
        write_png(Path::new(&name), &picture, &made).context("writing an image")?;
        println!("{name}");
    }
    Ok(())
}
