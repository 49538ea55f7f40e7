//! Streams of values and of samples, with the filter and the gain that a network was trained behind.

use crate::network::{Companding, InputEncoding, Medium};

/// What belongs to a network of sound.
#[derive(Clone, Debug)]
struct Codec {
    companding: Companding,
    emphasis: f64,
    gain: f64,
    input: InputEncoding,
    /// The sample before, on the side of people.
    before: f64,
}

impl Codec {
    fn new(medium: &Medium, input: &InputEncoding) -> Option<Self> {
        let Medium::Audio {
            companding,
            emphasis,
            gain,
            ..
        } = *medium
        else {
            return None;
        };
        Some(Self {
            companding,
            emphasis: emphasis.into(),
            gain: gain.into(),
            input: input.clone(),
            before: 0.0,
        })
    }
}

/// Makes samples of a network's values, one sequence from its beginning on.
#[derive(Clone, Debug)]
pub struct Decoder(Codec);

impl Decoder {
    /// For a network with this medium and this input; none if it is not one of sound.
    pub fn new(medium: &Medium, input: &InputEncoding) -> Option<Self> {
        Codec::new(medium, input).map(Self)
    }

    /// The next sample, -1 to 1: expanded, filtered back (`y[t] = x[t] + emphasis y[t - 1]`), divided
    /// by the gain, and clipped.
    pub fn sample(&mut self, value: f32) -> f32 {
        let codec = &mut self.0;
        let sample = f64::from(codec.companding.sample(value, &codec.input));
        codec.before = sample + codec.emphasis * codec.before;
        (codec.before / codec.gain).clamp(-1.0, 1.0) as f32
    }
}

/// Makes a network's values of samples, one sequence from its beginning on.
#[derive(Clone, Debug)]
pub struct Encoder(Codec);

impl Encoder {
    /// For a network with this medium and this input; none if it is not one of sound.
    pub fn new(medium: &Medium, input: &InputEncoding) -> Option<Self> {
        Codec::new(medium, input).map(Self)
    }

    /// The next value: filtered (`y[t] = x[t] - emphasis x[t - 1]`), multiplied by the gain, clipped to
    /// -1 to 1, and companded.
    pub fn value(&mut self, sample: f32) -> f32 {
        let codec = &mut self.0;
        let sample = f64::from(sample);
        let filtered = sample - codec.emphasis * codec.before;
        codec.before = sample;
        codec.companding.value(filtered * codec.gain, &codec.input)
    }
}
