//! Between samples and values.

use crate::network::{Companding, InputEncoding};

impl Companding {
    /// The value of a sample; samples beyond -1 to 1 count as these, NaN as 0. `input` is the
    /// encoding of the network's input.
    ///
    /// Classes are computed in f64, as the originals do where edges matter: the first class of the
    /// mu-law has the sample -1 alone, the last one 1 alone.
    pub fn value(self, sample: f64, input: &InputEncoding) -> f32 {
        let sample = match sample.is_nan() {
            true => 0.0,
            false => sample.clamp(-1.0, 1.0),
        };
        let last = (input.codes() - 1) as f64;
        match self {
            Self::None => sample as f32,
            Self::MuLawValues { mu } => compress(sample, mu) as f32,
            Self::MuLaw { mu } => {
                let class = ((compress(sample, mu) + 1.0) / 2.0 * f64::from(mu)).floor();
                // With as many classes as mu, 1 would be in one more.
                class.clamp(0.0, last) as f32
            }
            Self::Linear => input.value(linear_code(sample, input.codes())),
        }
    }

    /// The sample of a value.
    pub fn sample(self, value: f32, input: &InputEncoding) -> f32 {
        match self {
            Self::None => value,
            Self::MuLawValues { mu } => expand(f64::from(value), mu) as f32,
            Self::MuLaw { mu } => {
                let class = f64::from(input.code(value));
                expand(2.0 * class / f64::from(mu) - 1.0, mu) as f32
            }
            Self::Linear => input.value(input.code(value)),
        }
    }
}

/// `sign(x) log(1 + mu |x|) / log(1 + mu)`.
fn compress(x: f64, mu: u32) -> f64 {
    let mu = f64::from(mu);
    let size = (mu * x.abs()).ln_1p() / mu.ln_1p();
    match x {
        0.0 => 0.0,
        x => x.signum() * size,
    }
}

/// `sign(y) ((1 + mu)^|y| - 1) / mu`.
fn expand(y: f64, mu: u32) -> f64 {
    let mu = f64::from(mu);
    let size = (1.0 / mu) * ((1.0 + mu).powf(y.abs()) - 1.0);
    match y {
        0.0 => 0.0,
        y => y.signum() * size,
    }
}

/// The last of the edges `linspace(-1, 1, codes)` that a sample reaches.
fn linear_code(sample: f64, codes: usize) -> u16 {
    let last = codes - 1;
    // As NumPy computes them.
    let step = 2.0 / last as f64;
    let edge = |code: usize| match code == last {
        true => 1.0,
        false => code as f64 * step - 1.0,
    };
    // Rounding may have put it next to where it belongs.
    let mut code = (((sample + 1.0) / step) as usize).min(last);
    while code > 0 && edge(code) > sample {
        code -= 1;
    }
    while code < last && edge(code + 1) <= sample {
        code += 1;
    }
    code as u16
}

/// Stretches samples to the whole range from -1 to 1, as tomlepaine/fast-wavenet does with the file
/// that it is trained on: the smallest becomes -1, the largest 1. Samples that are all equal become 0.
pub fn full_range(samples: &mut [f32]) {
    let smallest = samples.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = samples.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for sample in samples {
        *sample = match largest > smallest {
            true => ((*sample - smallest) / (largest - smallest) - 0.5) * 2.0,
            false => 0.0,
        };
    }
}
