//! What pixels are drawn from: the discretized logistic mixture and categorical distributions, and
//! the random numbers.
//!
//! [`OutputDistribution`] says which one, and how many
//! parameters and draws it takes; here are its sampler and its likelihood.

mod categorical;
mod logistic;
mod philox;

pub use categorical::Categorical;
pub use logistic::Mixture;
pub use philox::{Draws, Philox, uniform};

use crate::network::{Graph, InputEncoding, OutputDistribution};

impl OutputDistribution {
    /// Draws the values of a stage of a pixel into `values`, one per channel.
    ///
    /// `temperature` (positive, 1 for the model's own distribution) divides the logits and
    /// multiplies the scales. Values of a mixture are in `[-1, 1]`; a categorical distribution gives
    /// the numbers of classes, which are codes: [`InputEncoding::value`] makes values of them.
    pub fn sample(&self, parameters: &[f32], draws: Draws, temperature: f32, values: &mut [f32]) {
        match *self {
            Self::LogisticMixture { mixtures, channels } => {
                let mixture = Mixture {
                    nr_mix: mixtures,
                    channels,
                };
                mixture.sample_into(parameters, draws.uniforms(), temperature, values);
            }
            Self::Categorical { classes, .. } => {
                let logits = parameters.chunks(classes);
                for ((value, logits), word) in values.iter_mut().zip(logits).zip(draws.words()) {
                    *value = Categorical { logits }.sample(word, temperature) as f32;
                }
            }
        }
    }

    /// Log-likelihood of the codes of a stage of a pixel, in nats; codes have the values that
    /// `input` gives them.
    pub fn log_likelihood(&self, parameters: &[f32], codes: &[u16], input: &InputEncoding) -> f64 {
        match *self {
            Self::LogisticMixture { mixtures, channels } => {
                let mixture = Mixture {
                    nr_mix: mixtures,
                    channels,
                };
                mixture.log_likelihood(parameters, codes, input.codes())
            }
            Self::Categorical { classes, .. } => {
                let logits = parameters.chunks(classes);
                let each = logits.zip(codes);
                each.map(|(logits, &code)| Categorical { logits }.log_likelihood(code.into()))
                    .sum()
            }
        }
    }
}

impl Graph {
    /// Log-likelihood of the codes of a pixel in nats, from the parameters of all of its stages.
    pub fn log_likelihood(&self, parameters: &[f32], codes: &[u16]) -> f64 {
        let of_stages = parameters.chunks(self.output.parameters());
        let stages = of_stages.zip(&self.stages);
        stages
            .map(|(parameters, stage)| {
                let codes = &codes[stage.channels.clone()];
                self.output.log_likelihood(parameters, codes, &self.input)
            })
            .sum()
    }
}
