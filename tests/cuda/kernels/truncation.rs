//! Draws of classes from given logits, truncated in every way, against the CPU.

use fastpix::cuda::parameters::{Input, Output, Request, RowRing};
use fastpix::distribution::{Categorical, Philox, Sampler, Truncation};
use fastpix::network::{Activation, InputEncoding, LONGEST_SEQUENCE};
use test_support::device::on_a_device;

use super::stage::{Gpu, config};

const SEED: u64 = 20_240_229;

/// The random word that decides the draw of a channel of an image in a row of one pixel.
fn word(row: usize, image: usize, channel: usize) -> u32 {
    let philox = Philox::new(SEED, image as u64, row as u32);
    philox.draws(channel).words().next().unwrap()
}

/// Logits of so many classes for one channel of each image, of every kind.
fn logits(kind: usize, classes: usize, numbers: &mut impl Iterator<Item = f32>) -> Vec<f32> {
    let mut each =
        |of: &dyn Fn(f32) -> f32| -> Vec<f32> { numbers.by_ref().take(classes).map(of).collect() };
    match kind {
        // A few units apart.
        0 => each(&|u| 12.0 * u - 6.0),
        // Many equals.
        1 => each(&|u| (6.0 * u).floor() - 3.0),
        // Half of them impossible.
        2 => each(&|u| match u < 0.5 {
            true => f32::NEG_INFINITY,
            false => 8.0 * u,
        }),
        // Huge ones of either sign, and zeros of either.
        3 => each(&|u| match (5.0 * u) as usize {
            0 => -3e38 * u,
            1 => 3e38,
            2 => -0.0,
            3 => 0.0,
            _ => 3e38 - 1e32 * u,
        }),
        // Nearly all weight in few, and weights of 0.
        4 => each(&|u| 300.0 * u.powi(20) - 200.0),
        // Subnormal ones.
        5 => each(&|u| 1e-40 * (u - 0.5)),
        // All equal; all impossible.
        6 => each(&|_| -2.5),
        7 => each(&|_| f32::NEG_INFINITY),
        // No numbers; infinite.
        8 => each(&|u| if u < 0.3 { f32::NAN } else { 4.0 * u }),
        _ => each(&|u| if u < 0.3 { f32::INFINITY } else { 4.0 * u }),
    }
}

const KINDS: usize = 10;

/// Whether rounding cannot change a draw: neither which classes reach the part of `p`, nor which of
/// them has the uniform.
fn is_decided(logits: &[f32], sampler: &Sampler, uniform: f64) -> bool {
    const MARGIN: f64 = 1e-5;
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !largest.is_finite() || logits.iter().any(|logit| logit.is_nan()) {
        return true; // All weights are NaN, or of those that are not nothing is close.
    }
    let weight = |logit: f32| {
        let difference = f64::from(logit) - f64::from(largest);
        (difference / f64::from(sampler.temperature)).exp()
    };
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let total: f64 = sorted.iter().map(|&logit| weight(logit)).sum();
    let mut least = match sampler.truncation {
        Truncation::TopK(k) => sorted[k.min(sorted.len()) - 1],
        _ => f32::NEG_INFINITY,
    };
    if let Truncation::TopP(p) = sampler.truncation
        && p < 1.0
    {
        let mut sum = 0.0;
        for equals in sorted.chunk_by(|a, b| a == b) {
            sum += equals.len() as f64 * weight(equals[0]);
            // Where all are equal, all stay whatever the sums.
            if equals.len() < sorted.len() && (sum / total - f64::from(p)).abs() < MARGIN {
                return false;
            }
            least = equals[0];
            if sum / total > p.into() {
                break;
            }
        }
    }
    let kept = |logit: f32| if logit >= least { weight(logit) } else { 0.0 };
    let total: f64 = logits.iter().map(|&logit| kept(logit)).sum();
    let mut sum = 0.0;
    logits.iter().all(|&logit| {
        sum += kept(logit) / total;
        (sum - uniform).abs() > MARGIN || sum >= 1.0 - 1e-12
    })
}

/// Draws from logits `[image][channel][class]` in a row of one pixel; returns the classes. Their values
/// must be where they belong, and the position in the next row.
fn drawn(
    gpu: &Gpu,
    logits: &[f32],
    [images, channels, classes]: [usize; 3],
    threads: usize,
    sampler: &Sampler,
    row: usize,
) -> Vec<usize> {
    // No power of two.
    const RING: usize = 3;
    let encoding = InputEncoding::Scaled {
        codes: classes,
        limit: 1.0,
        ones: false,
    };
    let count = channels * classes;
    let width = count.next_multiple_of(4);
    let rows = logits.chunks(count);
    let bias: Vec<f32> = rows
        .flat_map(|row| [row, &vec![0.0; width - count]].concat())
        .collect();
    let bias = gpu.upload(&bias);
    let of_image: Vec<i32> = (0..images as i32).collect();
    let index: Vec<u64> = (0..images as u64).collect();
    let (of_image, index) = (gpu.upload(&of_image), gpu.upload(&index));
    let request = gpu.upload(&[Request::new(SEED, sampler, false)]);
    let position = gpu.upload(&[row as i32, 0].repeat(images));
    let prefix_rows = gpu.upload(&vec![0; images]);
    let stored = channels.next_multiple_of(4);
    let ring = gpu.upload(&vec![f32::NAN; RING * images * stored]);
    let values = gpu.upload(&vec![f32::NAN; images * channels]);
    let weights = channels.min(threads / 32) * classes.next_multiple_of(32);
    let scratch = gpu.upload(&vec![f32::NAN; images * (width + weights)]);
    let slices = threads / (width / 4);
    let sums = if slices > 1 { slices * width } else { 0 };
    let shared = 4 * (sums.max(weights) + width + channels);
    let fits = shared <= 48 * 1024;
    let mut input = Input {
        codes: (&encoding).into(),
        channels: channels as i32,
        ..Input::default()
    };
    input.tensor.channels = stored as i32;
    input.tensor.activations[Activation::Identity as usize] = RowRing {
        base: gpu.address(&ring),
        rows: RING as i32,
        columns: 1,
        left: 0,
        channels: stored as i32,
    };
    let parameters = Output {
        position: gpu.address(&position),
        bias: gpu.address(&bias),
        classes: gpu.address(&of_image),
        index: gpu.address(&index),
        request: gpu.address(&request),
        prefix_rows: gpu.address(&prefix_rows),
        values: gpu.address(&values),
        scratch: if fits { 0 } else { gpu.address(&scratch) },
        value_image: channels as u64,
        // No taps: the logits are the bias.
        input,
        width: width as i32,
        count: count as i32,
        class_count: classes as i32,
        channels: channels as i32,
        image_channels: channels as i32,
        batch: images as i32,
        columns: 1,
        last: 1,
        ..Output::default()
    };
    let shared = if fits { shared } else { 4 * (sums + channels) };
    let config = config((1, images), threads, shared);
    gpu.launch(("output", "output_categorical"), config, &parameters, 1);
    assert_eq!(gpu.download(&position), [row as i32 + 1, 0].repeat(images));
    let values = gpu.download(&values);
    let ring = gpu.download(&ring);
    for (at, &number) in ring.iter().enumerate() {
        let (slot, image, channel) = (at / stored / images, at / stored % images, at % stored);
        if slot == (row + 1) % RING && channel < channels {
            assert_eq!(number, values[image * channels + channel]);
        } else {
            assert!(number.is_nan(), "slot {slot}, image {image}, {channel}");
        }
    }
    let code = |&value: &f32| {
        let code = encoding.code(value);
        assert_eq!(value, encoding.value(code));
        code.into()
    };
    values.iter().map(code).collect()
}

fn samplers(classes: usize) -> Vec<Sampler> {
    let truncations = [1, 2, 5, classes / 2, classes, classes + 10]
        .map(|k| Truncation::TopK(k.max(1)))
        .into_iter()
        .chain([1e-6, 0.1, 0.5, 0.9, 0.999, 1.0].map(Truncation::TopP))
        .chain([Truncation::None, Truncation::Greedy]);
    let temperatures = [1.0, 0.3, 2.0].into_iter().cycle();
    let samplers = truncations.zip(temperatures);
    samplers
        .map(|(truncation, temperature)| {
            let mut sampler = Sampler::default();
            sampler.truncation = truncation;
            sampler.temperature = temperature;
            sampler
        })
        .collect()
}

#[test]
fn draws_are_those_of_the_cpu_however_they_are_truncated() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for (classes, channels, threads, images) in [
            (2, 1, 32, 40),
            (31, 3, 64, 20),
            (32, 1, 256, 40),
            (33, 2, 96, 30),
            (256, 11, 256, 10),
            (1000, 1, 256, 40),
            // Weights need more room than the sums; logits and weights more than there is.
            (4096, 1, 64, 10),
            (16384, 1, 256, 10),
        ] {
            let mut numbers = Philox::new(3, classes as u64, 0).uniforms();
            let all: Vec<f32> = (0..images * channels)
                .flat_map(|at| logits(at % KINDS, classes, &mut numbers))
                .collect();
            let (mut decided, mut total) = (0, 0);
            for sampler in samplers(classes) {
                let shape = [images, channels, classes];
                let found = drawn(&gpu, &all, shape, threads, &sampler, 0);
                for (at, (&found, logits)) in found.iter().zip(all.chunks(classes)).enumerate() {
                    let word = word(0, at / channels, at % channels);
                    let uniform = f64::from(word >> 8) / f64::from(1 << 24);
                    total += 1;
                    if !is_decided(logits, &sampler, uniform) {
                        continue;
                    }
                    decided += 1;
                    let expected = Categorical { logits }.sample(word, &sampler);
                    assert_eq!(
                        found,
                        expected,
                        "{classes} classes of kind {}, {sampler:?}, uniform {uniform}",
                        at % KINDS
                    );
                }
            }
            assert!(2 * decided > total, "{classes}: {decided} of {total}");
        }
    });
}

#[test]
fn the_last_rows_of_the_longest_sequence_are_drawn_as_by_the_cpu() {
    on_a_device(|| {
        let gpu = Gpu::new();
        let (images, classes) = (40, 50);
        let mut numbers = Philox::new(4, 0, 0).uniforms();
        let all = logits(0, images * classes, &mut numbers);
        let sampler = Sampler::default();
        for row in [1 << 30, LONGEST_SEQUENCE - 2, LONGEST_SEQUENCE - 1] {
            let found = drawn(&gpu, &all, [images, 1, classes], 64, &sampler, row);
            let expected = all.chunks(classes).enumerate();
            let expected = expected.map(|(image, logits)| {
                Categorical { logits }.sample(word(row, image, 0), &sampler)
            });
            assert!(found.into_iter().eq(expected), "{row}");
        }
    });
}
