/// Tensors that are no model, and those that are one in other words.
mod bad_files;
/// tomlepaine/fast-wavenet.
mod fast;
/// Sequences drawn by given uniforms, streams, speakers.
mod generation;
/// What tensors and the JSON beside them show, and what they must not.
mod hyperparameters;
/// Damaged files and JSON.
mod mutations;
/// r9y9/wavenet_vocoder: parameters and likelihoods of given sequences.
mod parity;
/// Random models of many shapes, against a restatement in float64.
mod properties;
/// The restatement.
mod restated;
/// Rows of the map out of frames.
mod upsampling;

use std::path::PathBuf;

use fastpix::backend::{Evaluation, Values};
use fastpix::checkpoint::{Checkpoint, CheckpointError, LoadOptions, read_hparams};
use fastpix::families::wavenet::{self, FrameEncoder, Output, Vocoder};
use fastpix::network::Map;
use fastpix::{Engine, EvaluationMode, EvaluationRequest, Hooks, Network, Nhwc};
use serde_json::Value;
use test_support::reference::{Array, golden};

/// The averaged weights of a mixture, as the original saves them.
const MOL: &str = "mol/checkpoint_step000000100_ema.pth";
/// Those of a model of classes.
const MULAW: &str = "mulaw/checkpoint_ema.safetensors";

/// A file of the references.
fn file(name: &str) -> PathBuf {
    golden("families/wavenet").join(name)
}

/// A model file of the references, with the JSON beside it.
fn checkpoint(name: &str) -> Checkpoint {
    let opened = Checkpoint::open(&file(name), &LoadOptions::default());
    opened.unwrap_or_else(|error| panic!("{error}"))
}

/// The JSON beside a reference.
fn hparams(name: &str) -> Value {
    read_hparams(&file(&format!("{name}/hparams.json"))).unwrap()
}

/// Opens bytes with this JSON, or none.
fn open_bytes(bytes: &[u8], hparams: Option<Value>) -> Result<Checkpoint, CheckpointError> {
    let mut options = LoadOptions::new();
    options.hparams = hparams;
    Checkpoint::from_bytes("model", bytes, &options)
}

/// With some of its numbers replaced; null takes one away.
fn with(mut json: Value, changes: Value) -> Value {
    let object = json.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        object.insert(name.clone(), value.clone());
    }
    json
}

/// The numbers of a vocoder.
fn vocoder(checkpoint: &Checkpoint) -> Vocoder {
    let hyper = checkpoint.hyperparameters.wavenet();
    hyper.and_then(|hyper| hyper.vocoder()).unwrap().clone()
}

/// The network of a checkpoint with some of its numbers changed.
fn changed(checkpoint: &Checkpoint, change: impl FnOnce(&mut Vocoder)) -> Network {
    let mut hyper = vocoder(checkpoint);
    change(&mut hyper);
    let hyper = wavenet::Hyperparameters::from(hyper);
    wavenet::network(&hyper, checkpoint.tensors.clone()).unwrap()
}

/// The network whose sequences begin after this sample, or class.
fn after(checkpoint: &Checkpoint, before: f32) -> Network {
    changed(checkpoint, |hyper| match &mut hyper.output {
        Output::Raw { initial, .. } => *initial = before,
        Output::MulawQuantize { initial, .. } => *initial = before as usize,
        _ => panic!("another output"),
    })
}

/// What makes maps of frames that bring their context.
fn frames(checkpoint: &Checkpoint) -> FrameEncoder {
    let hyper = checkpoint.hyperparameters.wavenet().unwrap();
    let encoder = wavenet::frame_encoder(hyper, &checkpoint.tensors);
    encoder.unwrap().expect("the model takes frames")
}

/// The map of item `index` of frames with their context, `[item][frame][channel]`.
fn map(checkpoint: &Checkpoint, frames_of_items: &Array, index: usize) -> Map {
    let encoder = frames(checkpoint);
    encoder
        .encode_padded(item(frames_of_items, index))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// An item of an array whose first axis counts them.
fn item(array: &Array, index: usize) -> Vec<f32> {
    let length = array.values.len() / array.shape[0];
    array.f32()[index * length..][..length].to_vec()
}

/// As [`item`], of f64.
fn item_f64(array: &Array, index: usize) -> &[f64] {
    let length = array.values.len() / array.shape[0];
    &array.values[index * length..][..length]
}

/// One sequence.
fn sequence(values: Vec<f32>) -> Values {
    Nhwc {
        shape: [1, values.len(), 1, 1],
        values,
    }
}

/// Both modes.
const MODES: [EvaluationMode; 2] = test_support::engine::MODES;

/// Parameters and log-likelihoods of given sequences, of speakers if the model has them, with a map
/// for each if it takes maps.
fn evaluate(
    engine: &Engine,
    sequences: &Values,
    classes: &[usize],
    maps: &[Map],
    mode: EvaluationMode,
) -> Evaluation {
    let request = EvaluationRequest::new(sequences)
        .classes(classes)
        .maps(maps)
        .mode(mode)
        .likelihoods(true);
    collect(engine, &request)
}

/// What an evaluation gives, in one piece.
fn collect(engine: &Engine, request: &EvaluationRequest<'_>) -> Evaluation {
    let mut all = Evaluation::default();
    let evaluated = engine.evaluate(request, &mut Hooks::new(), &mut |part| {
        all.parameters.extend(part.parameters);
        all.nats.extend(part.nats);
    });
    evaluated.unwrap_or_else(|error| panic!("{error}"));
    all
}
