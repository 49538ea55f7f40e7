//! Options that say which classes can be drawn at all.

use clap::Args;
use fastpix::distribution::Truncation;

/// Which classes can be drawn, of models that draw classes.
#[derive(Debug, Args)]
pub struct ChoiceArguments {
    /// Draw one of the K likeliest classes only, for models that draw classes.
    #[arg(long, value_name = "K", conflicts_with_all = ["top_p", "greedy"])]
    top_k: Option<usize>,
    /// Draw one of the likeliest classes only, as many as it takes to reach the probability P.
    #[arg(long, value_name = "P", conflicts_with = "greedy")]
    top_p: Option<f32>,
    /// Always take the likeliest class.
    #[arg(long)]
    greedy: bool,
}

impl ChoiceArguments {
    /// What they ask of the sampler.
    pub fn truncation(&self) -> Truncation {
        match (self.top_k, self.top_p, self.greedy) {
            (Some(k), ..) => Truncation::TopK(k),
            (_, Some(p), _) => Truncation::TopP(p),
            (_, _, true) => Truncation::Greedy,
            (None, None, false) => Truncation::None,
        }
    }

    /// The same in words; none for all classes.
    pub fn in_words(&self) -> Option<String> {
        match (self.top_k, self.top_p, self.greedy) {
            (Some(k), ..) => Some(format!("top-k {k}")),
            (_, Some(p), _) => Some(format!("top-p {p}")),
            (_, _, true) => Some("greedy".to_owned()),
            (None, None, false) => None,
        }
    }
}
