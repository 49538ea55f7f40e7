//! The discretized logistic mixture, its likelihood and its sampler, and the random numbers.

mod logistic;
mod philox;

pub use logistic::{Mixture, round_to_grid, to_grid_value};
pub use philox::{Philox, uniform};
