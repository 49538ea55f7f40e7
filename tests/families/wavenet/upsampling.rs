use fastpix::checkpoint::Checkpoint;
use fastpix::families::wavenet::{
    self, FrameEncoder, Hyperparameters, Upsampling, UpsamplingActivation, UpsamplingNetwork,
    Vocoder,
};
use fastpix::network::{Map, MapEncoder};
use test_support::allocator::PerThread;
use test_support::reference::{assert_close, npz};

use super::parity::whole;
use super::{checkpoint, file, frames, item};

fn all_rows(map: &Map) -> Vec<f32> {
    let [rows, _, channels] = map.shape();
    let mut values = vec![f32::NAN; rows * channels];
    map.rows(0..rows, &mut values);
    values
}

/// Models with the frames of their first item and what the original, or its restatement, makes of
/// them.
fn references() -> Vec<(&'static str, Checkpoint, Vec<f32>, Vec<f64>)> {
    [
        ("mol", "mol/checkpoint_step000000100_ema.pth", false),
        ("mulaw", "mulaw/checkpoint_ema.safetensors", false),
        ("older", "older/model.npz", true),
        ("stretch", "stretch/model.npz", true),
    ]
    .into_iter()
    .map(|(name, model, single)| {
        let io = npz(&file(&format!("{name}/io.npz")));
        let c = if single {
            whole(&io["c"])
        } else {
            io["c"].clone()
        };
        let (frames, expected) = (item(&c, 0), io["c_up"].values.clone());
        (name, checkpoint(model), frames, expected)
    })
    .collect()
}

#[test]
fn rows_are_the_originals() {
    for (name, model, given, expected) in references() {
        let map = frames(&model).encode_padded(given).unwrap();
        let [rows, width, channels] = map.shape();
        assert_eq!((rows * channels, width), (expected.len(), 1), "{name}");
        // Sums of a few dozen products, rounded once per layer here and everywhere there.
        assert_close(name, &all_rows(&map), &expected, 1e-6, 1e-6);
    }
}

#[test]
fn rows_are_the_same_however_they_are_asked_for() {
    for (name, model, given, _) in references() {
        let map = frames(&model).encode_padded(given).unwrap();
        let expected = all_rows(&map);
        let [rows, _, channels] = map.shape();
        for step in [1, 2, 3, 7, 8, 31, rows] {
            let mut found = vec![f32::NAN; rows * channels];
            for first in (0..rows).step_by(step) {
                let end = (first + step).min(rows);
                map.rows(first..end, &mut found[first * channels..end * channels]);
            }
            assert!(
                found
                    .iter()
                    .map(|x| x.to_bits())
                    .eq(expected.iter().map(|x| x.to_bits())),
                "{name}, {step} at a time"
            );
        }
    }
}

#[test]
fn frames_without_context_have_their_ends_repeated() {
    for (name, model, given, _) in references() {
        let encoder = frames(&model);
        let channels = encoder.channels();
        let pad = super::vocoder(&model).upsampling.unwrap().cin_pad;
        let padded = [
            given[..channels].repeat(pad),
            given.clone(),
            given[given.len() - channels..].repeat(pad),
        ]
        .concat();
        let found = encoder.encode(given.clone()).unwrap();
        let expected = encoder.encode_padded(padded).unwrap();
        assert_eq!(found.shape()[0], encoder.rows(given.len() / channels));
        assert_eq!(all_rows(&found), all_rows(&expected), "{name}");
        // The network's own encoder does the same.
        let network = model.into_network().unwrap();
        let own = network.map_encoder().unwrap().encode(given).unwrap();
        assert_eq!(all_rows(&own), all_rows(&expected), "{name}");
    }
}

/// An encoder of random weights.
fn random(hyper: Vocoder) -> FrameEncoder {
    let hyper = Hyperparameters::from(hyper);
    let tensors = wavenet::random_tensors(&hyper, 3).unwrap();
    wavenet::frame_encoder(&hyper, &tensors).unwrap().unwrap()
}

#[test]
fn a_frame_of_one_is_enough_and_none_is_not() {
    let encoder = random(Vocoder::mol());
    assert_eq!(encoder.encode(vec![0.5; 80]).unwrap().shape(), [256, 1, 80]);
    let error = |frames: Vec<f32>| encoder.encode(frames).unwrap_err().to_string();
    let expected = "frames: expected whole frames of 80 numbers, at least 1, found ";
    assert_eq!(error(vec![]), format!("{expected}0 numbers"));
    assert_eq!(error(vec![0.0; 81]), format!("{expected}81 numbers"));
    let nan = error([vec![0.0; 79], vec![f32::NAN]].concat());
    assert_eq!(nan, "frames: expected finite numbers, found NaN");
    let error = encoder.encode_padded(vec![0.0; 4 * 80]).unwrap_err();
    let expected = "frames: expected whole frames of 80 numbers, at least 5, found 320 numbers";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_map_longer_than_any_sequence_is_refused() {
    let mut hyper = Vocoder::mol();
    hyper.cin_channels = 1;
    hyper.upsampling = Some(Upsampling {
        network: UpsamplingNetwork::Repeat,
        upsample_scales: vec![1 << 10, 1 << 10],
        freq_axis_kernel_size: 1,
        activation: UpsamplingActivation::None,
        cin_pad: 0,
    });
    let encoder = random(hyper);
    let error = encoder.encode(vec![0.0; 2048]).unwrap_err().to_string();
    assert_eq!(error, "frames: expected at most 2047 frames, found 2048");
    assert_eq!(
        encoder.encode(vec![0.0; 2047]).unwrap().shape()[0],
        2047 << 20
    );
}

#[test]
fn frames_that_no_network_upsamples_are_repeated() {
    let mut hyper = Vocoder::mol();
    hyper.cin_channels = 3;
    hyper.upsampling = Some(Upsampling {
        network: UpsamplingNetwork::Repeat,
        upsample_scales: vec![4],
        freq_axis_kernel_size: 1,
        activation: UpsamplingActivation::None,
        cin_pad: 0,
    });
    let given: Vec<f32> = (0..6).map(|at| at as f32 - 2.5).collect();
    let map = random(hyper).encode(given.clone()).unwrap();
    let expected: Vec<f32> = given.chunks(3).flat_map(|frame| frame.repeat(4)).collect();
    assert_eq!(all_rows(&map), expected);
}

#[test]
fn memory_is_that_of_the_frames_not_of_the_samples() {
    let encoder = random(Vocoder::mol());
    let frames: Vec<f32> = (0..2000 * 80).map(|at| (at % 97) as f32 / 97.0).collect();
    let bytes = (frames.len() * size_of::<f32>()) as isize;
    let ((), peak) = PerThread::peak(|| {
        let map = encoder.encode(frames).unwrap();
        assert_eq!(map.shape(), [2000 * 256, 1, 80]);
        let mut rows = vec![0.0; 64 * 80];
        for block in [0, 1, 4000, 7999] {
            map.rows(block * 64..(block + 1) * 64, &mut rows);
            assert!(rows.iter().all(|x| x.is_finite()));
        }
    });
    // The frames with their context, and what the convolution makes of them: 256 times less than
    // the rows.
    assert!(peak < 4 * bytes, "{peak} bytes for frames of {bytes}");
}
