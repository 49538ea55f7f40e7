//! The CUDA backend in f16 and bf16 on the emulator: against the original's numbers, the CPU's bf16, and
//! itself in other batches and by other paths.

mod device;
mod reference;

use device::on_a_device;
use fastpix::{
    Control, DeviceChoice, Engine, EngineOptions, Images, Item, Launches, LevelImages, Path,
    Precision, Request,
};
use reference::{assert_close, npy, npz, oracle, weights};

const MODELS: [&str; 2] = ["tiny", "tiny_cond"];
const HALVES: [Precision; 2] = [Precision::F16, Precision::Bf16];

fn engine(model: &str, precision: Precision, device: DeviceChoice, launches: Launches) -> Engine {
    let options = EngineOptions {
        device,
        precision,
        threads: Some(2),
        launches,
        ..EngineOptions::default()
    };
    let file = format!("{model}/weights_ema.npz");
    Engine::new(&weights(&oracle(&file)), &options).unwrap()
}

fn cuda(model: &str, precision: Precision) -> Engine {
    engine(model, precision, DeviceChoice::Cuda(vec![0]), Launches::Graph)
}

fn inputs(model: &str) -> (LevelImages, Vec<usize>) {
    let io = npz(&oracle(&format!("{model}/io.npz")));
    let x = &io["x_u8"];
    let images = LevelImages {
        shape: x.shape.clone().try_into().unwrap(),
        levels: x.u8(),
    };
    let labels = io.get("labels").map_or(vec![], |labels| {
        labels.values.iter().map(|&label| label as usize).collect()
    });
    (images, labels)
}

fn params(model: &str, engine: &Engine, path: Path) -> Vec<f32> {
    let (images, labels) = inputs(model);
    let params = engine.params(&images, &labels, path, &Control::default());
    params.unwrap()
}

fn request(model: &str, count: usize, size: (usize, usize)) -> Request {
    let class = |image: usize| (model == "tiny_cond").then_some(image * 3 % 10);
    Request {
        size,
        items: (0..count)
            .map(|image| Item {
                index: 5 + image as u64,
                class: class(image),
                given: vec![],
            })
            .collect(),
        seed: 0x1234_5678_9abc,
        temperature: 1.0,
        // Unrounded, so that no difference is rounded away.
        continuous: true,
        path: Path::Cached,
    }
}

fn generate(engine: &Engine, request: &Request) -> Images {
    engine.generate(request, &Control::default()).unwrap()
}

fn largest_difference(a: &[f32], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max)
}

#[test]
fn measure() {
    on_a_device(|| {
        for model in MODELS {
            let expected = npy(&oracle(&format!("{model}/logits_ema.npy")));
            let max = expected.values.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            let cpu = engine(model, Precision::Bf16, DeviceChoice::Cpu, Launches::Graph);
            let cpu: Vec<f32> = params(model, &cpu, Path::Cached);
            println!("{model} max {max} cpu bf16 {}", largest_difference(&cpu, &expected.values));
            let cpu: Vec<f64> = cpu.into_iter().map(f64::from).collect();
            for precision in HALVES {
                for path in [Path::Forward, Path::Cached] {
                    let found = params(model, &cuda(model, precision), path);
                    println!(
                        "{model} {precision} {path:?}: original {} cpu bf16 {}",
                        largest_difference(&found, &expected.values),
                        largest_difference(&found, &cpu)
                    );
                }
            }
        }
    });
}
