//! What pixels are drawn from: logistic mixtures and categorical distributions, and the random numbers.
//!
//! [`OutputDistribution`] says which one, and how many parameters and draws it takes; here are its
//! sampler and its likelihood.

mod categorical;
mod logistic;
mod philox;

pub use categorical::{Categorical, Truncation};
pub use philox::{Draws, Philox, uniform};

use crate::network::{Graph, InputEncoding, OutputDistribution};

/// How values are drawn, beside the network's own distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sampler {
    /// Positive; 1 samples the model's own distribution. Divides logits and multiplies scales.
    pub temperature: f32,
    /// Which classes of a categorical distribution can be drawn at all.
    pub truncation: Truncation,
}

impl Default for Sampler {
    /// The model's own distribution.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            truncation: Truncation::None,
        }
    }
}

impl OutputDistribution {
    /// Draws the values of a stage of a pixel into `values`, one per channel: those of a mixture
    /// within the limits of `input`, or the numbers of classes.
    pub fn sample(
        &self,
        parameters: &[f32],
        draws: Draws,
        sampler: &Sampler,
        input: &InputEncoding,
        values: &mut [f32],
    ) {
        match *self {
            Self::LogisticMixture(mixture) => mixture.sample_into(
                parameters,
                draws.uniforms(),
                sampler.temperature,
                input.limit(),
                values,
            ),
            Self::Categorical { classes, .. } => {
                let logits = parameters.chunks(classes);
                for ((value, logits), word) in values.iter_mut().zip(logits).zip(draws.words()) {
                    // The number of a class is a code.
                    let code = Categorical { logits }.sample(word, sampler);
                    *value = input.value(code as u16);
                }
            }
        }
    }

    /// Log-likelihood of the values of a stage of a pixel, in nats.
    pub fn log_likelihood(&self, parameters: &[f32], values: &[f32], input: &InputEncoding) -> f64 {
        match *self {
            Self::LogisticMixture(mixture) => mixture.log_likelihood(parameters, values, input),
            Self::Categorical { classes, .. } => {
                let logits = parameters.chunks(classes);
                let each = logits.zip(values);
                each.map(|(logits, &value)| {
                    Categorical { logits }.log_likelihood(input.code(value).into())
                })
                .sum()
            }
        }
    }
}

impl Graph {
    /// Log-likelihood of the values of a pixel in nats, from the parameters of all of its stages.
    pub fn log_likelihood(&self, parameters: &[f32], values: &[f32]) -> f64 {
        let of_stages = parameters.chunks(self.output.parameters());
        let stages = of_stages.zip(&self.stages);
        stages
            .map(|(parameters, stage)| {
                let values = &values[stage.channels.clone()];
                self.output.log_likelihood(parameters, values, &self.input)
            })
            .sum()
    }
}
