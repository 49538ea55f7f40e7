//! Classes drawn from their logits by inversion of the cumulative distribution.

use super::Sampler;

/// Parts into which the classes are cut when their weights are added up: a fixed order that a warp
/// of a GPU can follow too.
const RUNS: usize = 32;

/// A categorical distribution over as many classes as there are logits.
#[derive(Clone, Copy, Debug)]
pub struct Categorical<'a> {
    /// The logits, at least one.
    pub logits: &'a [f32],
}

/// Which classes can be drawn at all.
///
/// Classes are compared by their logits, so that equal ones stay or go together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Truncation {
    /// All of them.
    #[default]
    None,
    /// Those whose logit is at least that of the k-th likeliest (at least 1).
    TopK(usize),
    /// The likeliest ones, as many as it takes for their weights to reach this part of the total
    /// (above 0, at most 1); at least the likeliest. Weights are those at the temperature asked for.
    TopP(f32),
    /// Only the likeliest: the first of equals.
    Greedy,
}

impl Categorical<'_> {
    /// The first class whose cumulative weight exceeds `u` times the total, where the weight of a
    /// class is `exp((logit - largest) / temperature)`, or 0 where it is truncated, and `u` in `[0,
    /// 1)` is made of the upper 24 bits of a random word.
    ///
    /// Weights are added in f32: the classes in 32 neighbouring runs of equal length (the
    /// last ones may be shorter or empty), each in order, then the totals of the runs in order.
    /// Where rounding leaves no such class, it is the last one of any weight.
    pub fn sample(&self, word: u32, sampler: &Sampler) -> usize {
        let temperature = sampler.temperature;
        let largest = self
            .logits
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max);
        if sampler.truncation == Truncation::Greedy {
            let first = self.logits.iter().position(|&logit| logit == largest);
            return first.unwrap_or(0);
        }
        let least = self.least(sampler, largest);
        let largest = largest / temperature;
        let weight = |logit: f32| match logit >= least {
            true => (logit / temperature - largest).exp(),
            false => 0.0,
        };
        let run = self.run();
        let totals = self.totals(weight);
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

    /// Classes of a run.
    fn run(&self) -> usize {
        self.logits.len().div_ceil(RUNS).max(1)
    }

    /// The weights of each run.
    fn totals(&self, weight: impl Fn(f32) -> f32) -> [f32; RUNS] {
        let mut totals = [0.0f32; RUNS];
        for (total, logits) in totals.iter_mut().zip(self.logits.chunks(self.run())) {
            *total = logits.iter().fold(0.0, |sum, &logit| sum + weight(logit));
        }
        totals
    }

    /// The smallest logit that can be drawn.
    ///
    /// It is searched for bit by bit among all numbers in their order, which a warp of a GPU can do
    /// as well: a sort would not follow the same steps there.
    fn least(&self, sampler: &Sampler, largest: f32) -> f32 {
        // Whether enough classes have at least this logit.
        let enough: &dyn Fn(f32) -> bool = match sampler.truncation {
            Truncation::None | Truncation::Greedy => return f32::NEG_INFINITY,
            Truncation::TopK(k) => &move |least: f32| {
                let kept = self.logits.iter().filter(|&&logit| logit >= least);
                kept.count() >= k
            },
            Truncation::TopP(p) => {
                let temperature = sampler.temperature;
                let sum = move |least: f32| {
                    let weight = |logit: f32| match logit >= least {
                        true => (logit / temperature - largest / temperature).exp(),
                        false => 0.0,
                    };
                    let totals = self.totals(weight);
                    totals.iter().fold(0.0f32, |sum, total| sum + total)
                };
                let wanted = p * sum(f32::NEG_INFINITY);
                &move |least: f32| sum(least) >= wanted
            }
        };
        let mut key = 0u32;
        for bit in (0..u32::BITS).rev() {
            let higher = key | 1 << bit;
            let least = number(higher);
            // Nothing is at least NaN; the largest stays whatever the sums say.
            if least <= largest && enough(least) {
                key = higher;
            }
        }
        match key {
            0 => f32::NEG_INFINITY,
            key => number(key).min(largest),
        }
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

/// The number of a key: keys are ordered as their numbers are.
fn number(key: u32) -> f32 {
    const SIGN: u32 = 1 << 31;
    f32::from_bits(match key & SIGN {
        0 => !key,
        _ => key & !SIGN,
    })
}

/// The uniform in `[0, 1)` made of the upper 24 bits of a random word.
fn unit_uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(temperature: f32) -> Sampler {
        Sampler {
            temperature,
            ..Sampler::default()
        }
    }

    fn truncated(truncation: Truncation) -> Sampler {
        Sampler {
            truncation,
            ..Sampler::default()
        }
    }

    /// The classes that are drawn by uniforms spread evenly.
    fn drawn(logits: &[f32], sampler: &Sampler) -> Vec<usize> {
        let words = (0..4096).map(|i| i << 20);
        let mut drawn: Vec<usize> = words
            .map(|word| Categorical { logits }.sample(word, sampler))
            .collect();
        drawn.sort_unstable();
        drawn.dedup();
        drawn
    }

    #[test]
    fn keys_are_ordered_as_their_numbers() {
        let numbers = [
            f32::NEG_INFINITY,
            -2.0,
            -0.0,
            0.0,
            1e-40,
            3.0,
            f32::INFINITY,
        ];
        let key = |x: f32| match x.to_bits() >> 31 {
            0 => x.to_bits() | 1 << 31,
            _ => !x.to_bits(),
        };
        for pair in numbers.windows(2) {
            assert!(key(pair[0]) < key(pair[1]));
        }
        for x in numbers {
            assert_eq!(number(key(x)).to_bits(), x.to_bits());
        }
    }

    #[test]
    fn top_k_keeps_the_likeliest_and_their_equals() {
        let logits = [0.5, -1.0, 0.5, 2.0, -0.25, -1.0];
        for (k, expected) in [
            (1, vec![3]),
            (2, vec![0, 2, 3]),
            (3, vec![0, 2, 3]),
            (4, vec![0, 2, 3, 4]),
            (5, vec![0, 1, 2, 3, 4, 5]),
            (100, vec![0, 1, 2, 3, 4, 5]),
        ] {
            assert_eq!(
                drawn(&logits, &truncated(Truncation::TopK(k))),
                expected,
                "{k}"
            );
        }
    }

    #[test]
    fn top_p_keeps_as_many_as_reach_the_part_asked_for() {
        let logits = [0.1f32, 0.4, 0.2, 0.3].map(f32::ln);
        for (p, expected) in [
            (1e-6, vec![1]),
            (0.39, vec![1]),
            (0.41, vec![1, 3]),
            (0.69, vec![1, 3]),
            (0.71, vec![1, 2, 3]),
            (0.91, vec![0, 1, 2, 3]),
            (1.0, vec![0, 1, 2, 3]),
        ] {
            assert_eq!(
                drawn(&logits, &truncated(Truncation::TopP(p))),
                expected,
                "{p}"
            );
        }
    }

    #[test]
    fn greedy_takes_the_first_of_the_likeliest() {
        let logits = [0.0, 3.0, -1.0, 3.0];
        assert_eq!(drawn(&logits, &truncated(Truncation::Greedy)), [1]);
    }

    #[test]
    fn what_is_left_keeps_its_proportions() {
        // Of 0.4 and 0.3, the first has the uniforms below 4/7.
        let logits = [0.1f32, 0.4, 0.2, 0.3].map(f32::ln);
        let sampler = truncated(Truncation::TopK(2));
        let draw = |u: f64| Categorical { logits: &logits }.sample(word(u), &sampler);
        assert_eq!((draw(0.56), draw(0.58)), (1, 3));
    }

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
            assert_eq!(categorical.sample(word(u), &at(1.0)), class, "{u}");
        }
        assert_eq!(
            categorical.sample(word(0.999), &at(0.01)),
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
            assert_eq!(
                categorical.sample(word((sum + next) / 2.0), &at(1.0)),
                class
            );
            sum = next;
        }
    }

    #[test]
    fn classes_without_weight_are_never_drawn() {
        let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        for word in [0, u32::MAX] {
            assert_eq!(Categorical { logits: &logits }.sample(word, &at(1.0)), 1);
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
