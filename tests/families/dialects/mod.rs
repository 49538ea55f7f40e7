//! What the originals and a reference in float64 made (`tests/golden/families/pixelcnnpp`), against engines.

/// Conditions: vectors, classes and maps, and what says which.
mod conditions;
/// flax' example and the published checkpoints that flax wrote.
mod flax;
/// Two channels, values that are no codes, and a condition of one number.
mod hawc;
/// Files that are wrong in one known way.
mod mutations;
/// Models of all choices at once.
mod properties;
/// TensorFlow Probability and alibi-detect.
mod tensorflow_probability;

use std::collections::BTreeMap;
use std::path::Path;

use fastpix::backend::{BackendError, Images, Values};
use fastpix::checkpoint::{Checkpoint, LoadOptions};
use fastpix::network::Map;
use fastpix::{
    Codes, Dtype, Engine, EvaluationRequest, Hooks, ImageRequest, Network, PixelPosition,
    SampleRequest,
};
use test_support::device::on_a_device;
use test_support::devices::Device;
use test_support::engine::{MODES, Mode, cpu, engine};
use test_support::reference::{Array, assert_close, golden, npz};

/// Where all dialects run.
const DEVICES: &[Device] = &[
    Device::Cpu,
    Device::CpuBf16,
    Device::CudaGraph,
    Device::CudaF16,
    Device::CudaBf16,
];

/// Runs a test on all devices.
fn on_all_devices(test: impl Fn(Device)) {
    for &device in DEVICES {
        match device.is_cpu() {
            true => test(device),
            false => on_a_device(|| test(device)),
        }
    }
}

/// A file of `tests/golden/families/pixelcnnpp`.
fn family(name: &str) -> std::path::PathBuf {
    golden("families/pixelcnnpp").join(name)
}

fn arrays(name: &str) -> BTreeMap<String, Array> {
    npz(&family(name))
}

fn open(path: &Path, options: &LoadOptions) -> Checkpoint {
    Checkpoint::open(path, options).unwrap_or_else(|error| panic!("{error}"))
}

fn from_bytes(name: &str, bytes: &[u8], options: &LoadOptions) -> Checkpoint {
    Checkpoint::from_bytes(name, bytes, options).unwrap_or_else(|error| panic!("{error}"))
}

fn network(checkpoint: &Checkpoint) -> Network {
    checkpoint.clone().into_network().unwrap()
}

/// Codes of an array of images.
fn codes(array: &Array) -> Codes {
    Codes {
        shape: array.shape.clone().try_into().unwrap(),
        values: array.values.iter().map(|&code| code as u16).collect(),
    }
}

/// Values of an array of images.
fn values(array: &Array) -> Values {
    Values {
        shape: array.shape.clone().try_into().unwrap(),
        values: array.f32(),
    }
}

/// What images are conditioned on, beside a class.
#[derive(Clone, Debug, Default)]
struct Given {
    vectors: Vec<f32>,
    maps: Vec<Map>,
    classes: Vec<usize>,
}

impl Given {
    fn vectors(array: &Array) -> Self {
        Self {
            vectors: array.f32(),
            ..Self::default()
        }
    }
}

/// The parameters of all pixels of given images, and their log-likelihoods in nats.
fn evaluate(
    engine: &Engine,
    images: Images<'_>,
    given: &Given,
    mode: Mode,
) -> (Vec<f32>, Vec<f64>) {
    let request = EvaluationRequest::new(images)
        .vectors(&given.vectors)
        .maps(&given.maps)
        .classes(&given.classes)
        .mode(mode)
        .likelihoods(true);
    let (mut parameters, mut nats) = (Vec::new(), Vec::new());
    let evaluated = engine.evaluate(&request, &mut Hooks::new(), &mut |part| {
        parameters.extend(part.parameters);
        nats.extend(part.nats);
    });
    evaluated.unwrap_or_else(|error| panic!("{error}"));
    (parameters, nats)
}

/// What an original made of given images.
struct Expected<'a> {
    images: Images<'a>,
    given: Given,
    /// Its parameters, in the order of its network.
    parameters: &'a [f64],
    /// Nats per image: log-likelihoods.
    nats: Option<&'a [f64]>,
    /// How much f32 loses of a parameter, absolute and relative.
    tolerance: (f64, f64),
    /// How much f32 loses of an image's nats.
    nats_tolerance: f64,
}

/// Compares whole images and cached pixels with what the original made, on all devices.
fn assert_parity(what: &str, network: &Network, expected: &Expected<'_>) {
    let square = |sum: f64, x: &f64| sum + x * x;
    let size = expected.parameters.iter().fold(0.0, square) / expected.parameters.len() as f64;
    on_all_devices(|device| {
        let engine = engine(network, &device.target());
        let ((abs, rel), nats_abs, nats_rel) = match device.dtype() {
            Dtype::F32 => (expected.tolerance, expected.nats_tolerance, 0.0),
            // Operands are rounded to 8 or 11 bits in every layer, and errors cancel for the most part:
            // a few units of a parameter's own size and of the others' are left of them, and some
            // percent of a likelihood.
            _ => {
                let unit = device.unit();
                ((8.0 * unit * size.sqrt(), 4.0 * unit), 0.5, 0.02)
            }
        };
        for mode in MODES {
            let what = format!("{what} {device:?} {mode:?}");
            let (found, nats) = evaluate(&engine, expected.images, &expected.given, mode);
            assert_close(&what, &found, expected.parameters, abs, rel);
            if let Some(expected) = expected.nats {
                let per_image = nats.chunks(nats.len() / expected.len());
                let found: Vec<f32> = per_image
                    .map(|nats| nats.iter().sum::<f64>() as f32)
                    .collect();
                assert_close(&what, &found, expected, nats_abs, nats_rel);
            }
        }
    });
}

/// Chooses the values of a pixel: from its parameters, the draws of its component and those of its
/// channels.
type Rule = dyn Fn(&[f32], &[f32], &[f32], &mut [f32]) + Sync;

/// Generates images on the CPU in f32, each pixel chosen by a rule.
fn generate(
    network: &Network,
    u_mix: &Array,
    u_log: &Array,
    given: &Given,
    mode: Mode,
    rule: &Rule,
) -> fastpix::Samples {
    let &[count, height, width, channels] = u_log.shape.as_slice() else {
        panic!("draws of shape {:?}", u_log.shape);
    };
    let mixtures = u_mix.shape[3];
    let (u_mix, u_log) = (u_mix.f32(), u_log.f32());
    let length = given.vectors.len() / count;
    let image = |index: usize| ImageRequest {
        vector: given.vectors[index * length..][..length].to_vec(),
        map: given.maps.get(index).cloned(),
        class: given.classes.get(index).copied(),
        ..ImageRequest::new(index as u64)
    };
    let request = SampleRequest::of((height, width), (0..count).map(image).collect());
    let request = request.continuous(true).mode(mode);
    let mut source = |at: PixelPosition, parameters: &[f32], values: &mut [f32]| {
        let per_image = parameters.len() / count;
        for index in 0..count {
            let pixel = (index * height + at.row) * width + at.column;
            rule(
                &parameters[index * per_image..][..per_image],
                &u_mix[pixel * mixtures..][..mixtures],
                &u_log[pixel * channels..][..channels],
                &mut values[index * channels..][..channels],
            );
        }
        Ok::<(), BackendError>(())
    };
    let engine = engine(network, &cpu());
    let mut hooks = Hooks::new().pixel_source(&mut source);
    let samples = engine.sample_with(&request, &mut hooks);
    samples.unwrap_or_else(|error| panic!("{error}"))
}

/// The rule of most originals: channels unrounded, each clipped before the next one sees it. This is
/// what the library's sampler does with given uniforms.
fn by_the_library(network: &Network) -> Box<Rule> {
    let fastpix::network::OutputDistribution::LogisticMixture(mixture) = *network.graph().output()
    else {
        panic!("a mixture");
    };
    let limit = network.graph().input().limit();
    Box::new(move |parameters, u_mix, u_log, values| {
        let uniforms = [u_mix, u_log].concat();
        mixture.sample_into(parameters, uniforms, 1.0, limit, values);
    })
}
