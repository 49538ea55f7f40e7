//! Prints a face while it is drawn: each row as it is finished, and nothing held but that row.
//!
//! `cargo run --release --example stream [SEED]`

use std::io::Write;

use fastpix::{Engine, EngineOptions, Hooks, SampledRow};

fn main() -> anyhow::Result<()> {
    let seed = std::env::args().nth(1).map_or(Ok(1), |seed| seed.parse())?;
    let network = fastpix::embedded("avatars")?;
    let engine = Engine::new(&network, &EngineOptions::new())?;
    let input = network.graph().input().clone();
    let mut print = |row: SampledRow<'_>| {
        let mut line = String::new();
        for pixel in row.values.chunks(3) {
            let [r, g, b] = [0, 1, 2].map(|channel| input.code(pixel[channel]));
            line.push_str(&format!("\x1b[48;2;{r};{g};{b}m  "));
        }
        // Whoever closes the pipe has seen enough.
        let _ = writeln!(std::io::stdout(), "{line}\x1b[0m");
    };
    let mut hooks = Hooks::new().row_done(&mut print);
    engine.stream(&engine.request(1).seed(seed), &mut hooks)?;
    Ok(())
}
