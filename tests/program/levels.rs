use fastpix::families::pixelcnnpp::Hyperparameters;
use test_support::checkpoint_files::{checkpoint, npz, smallest};

use crate::process::{Sandbox, read_npy};

/// Writes a model of so many levels, as saved with the image size that it was trained at and as
/// tensors alone.
fn model(sandbox: &Sandbox, levels: usize, image_size: (usize, usize)) {
    let hyper = Hyperparameters {
        levels,
        image_size: Some(image_size),
        ..smallest(None)
    };
    let model = checkpoint(&hyper, 1);
    model
        .save(&sandbox.path("saved.safetensors"))
        .expect("a file");
    sandbox.write("bare.npz", &npz(&model.tensors, false));
}

#[test]
fn inspect_says_the_levels_with_and_without_metadata() {
    for levels in 1..=4 {
        let sandbox = Sandbox::new();
        model(&sandbox, levels, (8, 16));
        let arguments = ["convert", "bare.npz", "converted.safetensors"];
        sandbox.run(&arguments).succeeded();
        let unit = if levels == 1 { "level" } else { "levels" };
        let line = format!("stacks           vertical and horizontal, {levels} {unit} each");
        for (file, from_metadata) in [
            ("saved.safetensors", true),
            ("bare.npz", false),
            ("converted.safetensors", true),
        ] {
            let json = sandbox.run(&["inspect", file, "--json"]).json();
            let hyper = &json["hyperparameters"];
            assert_eq!(hyper["levels"], levels, "{file}: {hyper}");
            assert_eq!(json["from_metadata"], from_metadata, "{file}");
            let ended = sandbox.run(&["inspect", file]);
            ended.succeeded();
            let found = ended.out.lines().find(|found| found.starts_with("stacks"));
            assert_eq!(found, Some(line.as_str()), "{file}");
        }
    }
}

#[test]
fn sides_are_multiples_of_what_the_levels_ask_for() {
    for levels in 1..=4 {
        let sandbox = Sandbox::new();
        let multiple = 1 << (levels - 1);
        let stated = [3 * multiple, 2 * multiple];
        model(&sandbox, levels, stated.into());
        let run = |model: &str, more: &[&str]| {
            let common = ["--model", model, "--count", "2", "--npy", "all.npy"];
            let ended = sandbox.run(&[&common[..], more].concat());
            ended.succeeded();
            read_npy::<u8>(&sandbox.path("all.npy"))
        };
        let shape = |[height, width]: [usize; 2]| [2, height as u64, width as u64, 1];
        let (found, values) = run("saved.safetensors", &[]);
        assert_eq!(found, shape(stated));
        let size = format!("{}x{}", stated[0], stated[1]);
        let (_, again) = run("bare.npz", &["--size", &size, "--naive"]);
        assert_eq!(values, again);
        let size = format!("{multiple}x{multiple}");
        assert_eq!(run("bare.npz", &["--size", &size]).0, shape([multiple; 2]));

        let expected = match multiple {
            1 => "expected 1 to 65536".to_owned(),
            _ => format!("expected a multiple of {multiple} from {multiple} to 65536"),
        };
        for (height, width, message) in [
            (0, 2 * multiple, format!("height: {expected}, found 0")),
            (multiple, 65537, format!("width: {expected}, found 65537")),
            // Half of a multiple; of one level the smallest side is 1.
            (
                multiple / 2,
                8,
                format!("height: {expected}, found {}", multiple / 2),
            ),
        ] {
            let size = format!("{height}x{width}");
            let arguments = ["--model", "bare.npz", "--size", &size];
            sandbox
                .run(&arguments)
                .failed_with(&[&format!("image size: {message}")]);
        }
    }
}
