//! Classes drawn from their logits by inversion of the cumulative distribution.

/// Parts into which the classes are cut when their weights are added up: a fixed order that a warp
/// of a GPU can follow too.
const RUNS: usize = 32;

/// A categorical distribution over as many classes as there are logits.
#[derive(Clone, Copy, Debug)]
pub struct Categorical<'a> {
    /// The logits, at least one.
    pub logits: &'a [f32],
}

impl Categorical<'_> {
    /// The first class whose cumulative weight exceeds `u` times the total, where the weight of a
    /// class is `exp((logit - largest) / temperature)` and `u` in `[0, 1)` is made of the upper
    /// 24 bits of a random word.
    ///
    /// Weights are added in f32: the classes in 32 neighbouring runs of equal length (the
    /// last ones may be shorter or empty), each in order, then the totals of the runs in order.
    /// Where rounding leaves no such class, it is the last one of any weight.
    pub fn sample(&self, word: u32, temperature: f32) -> usize {
        let largest = self
            .logits
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max);
        let largest = largest / temperature;
        let weight = |logit: f32| (logit / temperature - largest).exp();
        let run = self.logits.len().div_ceil(RUNS).max(1);
        let mut totals = [0.0f32; RUNS];
        for (total, logits) in totals.iter_mut().zip(self.logits.chunks(run)) {
            *total = logits.iter().fold(0.0, |sum, &logit| sum + weight(logit));
        }
        let total = totals.iter().fold(0.0f32, |sum, total| sum + total);
        let threshold = unit_uniform(word) * total;
        let mut before = 0.0f32;
        for (index, (logits, total)) in self.logits.chunks(run).zip(totals).enumerate() {
            if before + total > threshold {
                let mut sum = 0.0f32;
                for (class, &logit) in logits.iter().enumerate() {
                    sum += weight(logit);
                    if before + sum > threshold {
                        return index * run + class;
                    }
                }
            }
            before += total;
        }
        let weighty = self.logits.iter().rposition(|&logit| weight(logit) > 0.0);
        weighty.unwrap_or(0)
    }

    /// Log-probability of a class in nats; of the last class for numbers beyond it.
    pub fn log_likelihood(&self, class: usize) -> f64 {
        let logits = self.logits.iter().map(|&logit| f64::from(logit));
        let largest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.map(|logit| (logit - largest).exp()).sum();
        let class = class.min(self.logits.len().saturating_sub(1));
        f64::from(self.logits[class]) - largest - sum.ln()
    }
}

/// The uniform in `[0, 1)` made of the upper 24 bits of a random word.
fn unit_uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The word whose uniform is nearest to `u`.
    fn word(u: f64) -> u32 {
        ((u * f64::from(1 << 24)) as u32) << 8
    }

    #[test]
    fn a_draw_is_where_the_cumulative_distribution_passes_the_uniform() {
        let probabilities = [0.125f64, 0.5, 0.25, 0.125];
        let logits = probabilities.map(|p| p.ln() as f32 + 3.0);
        let categorical = Categorical { logits: &logits };
        for (u, class) in [
            (0.0, 0),
            (0.12, 0),
            (0.13, 1),
            (0.62, 1),
            (0.63, 2),
            (0.87, 2),
            (0.88, 3),
            (0.999_999, 3),
        ] {
            assert_eq!(categorical.sample(word(u), 1.0), class, "{u}");
        }
        assert_eq!(
            categorical.sample(word(0.999), 0.01),
            1,
            "the likeliest when cold"
        );
    }

    #[test]
    fn draws_of_many_classes_follow_their_probabilities() {
        let logits: Vec<f32> = (0..1000).map(|i| (i % 7) as f32 * 0.3).collect();
        let categorical = Categorical { logits: &logits };
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let mut sum = 0.0;
        for (class, &logit) in logits.iter().enumerate() {
            let next = sum + f64::from(logit).exp() / total;
            // The middle of the class's interval, far from its ends in f32.
            assert_eq!(categorical.sample(word((sum + next) / 2.0), 1.0), class);
            sum = next;
        }
    }

    #[test]
    fn classes_without_weight_are_never_drawn() {
        let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        for word in [0, u32::MAX] {
            assert_eq!(Categorical { logits: &logits }.sample(word, 1.0), 1);
        }
    }

    #[test]
    fn likelihoods_are_those_of_the_softmax() {
        let logits = [1.0f32, -2.0, 0.5];
        let categorical = Categorical { logits: &logits };
        let sum: f64 = (0..3)
            .map(|class| categorical.log_likelihood(class).exp())
            .sum();
        assert!((sum - 1.0).abs() < 1e-12);
        let ratio = categorical.log_likelihood(0) - categorical.log_likelihood(1);
        assert!((ratio - 3.0).abs() < 1e-12);
    }
}
