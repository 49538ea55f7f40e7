//! Chooses pixels in place of the sampler: the most likely of a few draws of each, which makes
//! plainer images without a change in the engine. A decoder or a search would do likewise.
//!
//! `cargo run --release --example choose [DRAWS]`

use fastpix::backend::BackendError;
use fastpix::distribution::{Philox, Sampler};
use fastpix::{Engine, EngineOptions, Hooks, PixelPosition};

fn main() -> anyhow::Result<()> {
    let draws = std::env::args()
        .nth(1)
        .map_or(Ok(8), |count| count.parse())?;
    let network = fastpix::embedded("fashion")?;
    let engine = Engine::new(&network, &EngineOptions::new())?;
    let request = engine.request(10);
    let graph = network.graph();

    let mut likeliest = |at: PixelPosition, parameters: &[f32], values: &mut [f32]| {
        let of_images = parameters
            .chunks(graph.output().parameters())
            .zip(values.chunks_mut(graph.output().channels()));
        for ((parameters, values), image) in of_images.zip(&request.images) {
            let pixel = (at.row * request.size.1 + at.column) as u32;
            let mut best = f64::NEG_INFINITY;
            for draw in 0..draws {
                let random = Philox::new(draw, image.index, pixel).draws(0);
                let mut drawn = vec![0.0; values.len()];
                let (input, output) = (graph.input(), graph.output());
                output.sample(parameters, random, &Sampler::default(), input, &mut drawn);
                for value in &mut drawn {
                    *value = input.value(input.code(*value));
                }
                let likelihood = output.log_likelihood(parameters, &drawn, input);
                if likelihood > best {
                    best = likelihood;
                    values.copy_from_slice(&drawn);
                }
            }
        }
        Ok::<(), BackendError>(())
    };
    let mut hooks = Hooks::new().pixel_source(&mut likeliest);
    let chosen = engine.sample_with(&request, &mut hooks)?.to_u8();

    let classes: Vec<usize> = request
        .images
        .iter()
        .filter_map(|image| image.class)
        .collect();
    let sampled = engine.sample(&request)?.to_u8();
    for (what, images) in [("sampled", &sampled), ("likeliest", &chosen)] {
        let bits = engine.score(images, &classes)?;
        let mean = bits.iter().sum::<f64>() / bits.len() as f64;
        println!("{what:>9}: {mean:.3} bits per dimension");
    }
    Ok(())
}
