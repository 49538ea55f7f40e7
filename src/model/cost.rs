//! What an image costs: the multiply-adds that the plan asks for, and the weights they read.

use super::{Plan, Term};

/// Multiply-adds per image, each one product and one addition (two operations).
///
/// Only what the plan's products need is counted: neither padding to whole registers nor
/// epilogues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MultiplyAdds {
    /// Of the row phase.
    pub row_phase: u64,
    /// Of the pixel phase.
    pub pixel_phase: u64,
}

impl MultiplyAdds {
    /// Of both phases: those of one whole-image evaluation, and of one cached generation.
    pub fn total(self) -> u64 {
        self.row_phase.saturating_add(self.pixel_phase)
    }
}

impl Plan {
    /// Multiply-adds for one image of this (height, width): over all steps, the lengths of the
    /// operands times the sums times the positions of the step's grid. Saturates at `u64::MAX`.
    pub fn multiply_adds(&self, (height, width): (usize, usize)) -> MultiplyAdds {
        let mut total = MultiplyAdds::default();
        for step in &self.steps {
            let positions =
                ((height >> step.level) as u64).saturating_mul((width >> step.level) as u64);
            let count = |terms: &[Term]| weights(terms, step.sums).saturating_mul(positions);
            total.row_phase = total.row_phase.saturating_add(count(step.row_terms()));
            total.pixel_phase = total.pixel_phase.saturating_add(count(step.pixel_terms()));
        }
        total
    }

    /// Weights that the pixel phase multiplies by, each counted once: what must stay near the
    /// cores from pixel to pixel. The coarser levels' are read at some of the pixels only.
    pub fn pixel_phase_weights(&self) -> u64 {
        self.steps
            .iter()
            .map(|step| weights(step.pixel_terms(), step.sums))
            .sum()
    }
}

/// Weights of some terms of a step.
fn weights(terms: &[Term], sums: usize) -> u64 {
    terms.iter().map(|term| (term.k * sums) as u64).sum()
}

#[cfg(test)]
mod tests {
    use crate::model::{Hyperparameters, Layers, Plan};

    fn plan(nr_resnet: usize, nr_filters: usize, nr_mix: usize) -> Plan {
        let hyper = Hyperparameters {
            nr_resnet,
            nr_filters,
            nr_mix,
            channels: 3,
            classes: None,
            image_size: None,
        };
        Plan::new(&hyper, &Layers::new(&hyper))
    }

    #[test]
    fn one_resnet_costs_what_counting_by_hand_gives() {
        let (f, m) = (6, 3);
        let cost = plan(1, f as usize, m as usize).multiply_adds((8, 4));
        // Positions of the three levels of an 8x4 image.
        let (full, half, quarter) = (32, 8, 2);
        // Taps times inputs times outputs: first convolution and second one of a block, and its
        // nin, which has 2f inputs per aux input.
        let u = 6 * 2 * f * f + 6 * 2 * f * 2 * f;
        let ul = 4 * 2 * f * f + 4 * 2 * f * 2 * f;
        let nin = 2 * f * f;
        let up = u + ul + nin;
        let down = u + nin + ul + 2 * nin;
        // 2x3 and 2x2; a deconvolution of the coarse grid costs as much as a convolution to it.
        let resample = (6 + 4) * f * f;
        // Three channels and the ones, 2x3, 1x3 and 2x1 taps.
        let init = (6 + 3 + 2) * 4 * f;
        let total = full * (init + up + 2 * down + f * 10 * m)
            + half * (2 * resample + up + 2 * down)
            + quarter * (2 * resample + up + down);
        assert_eq!(cost.total(), total);

        // The pixel phase has half of the taps of 2x2, the horizontal skip's nin, one tap of
        // 2x1, and the output.
        let up = ul / 2;
        let down = ul / 2 + nin;
        let resample = 2 * f * f;
        let pixel = full * (4 * f + up + 2 * down + f * 10 * m)
            + half * (2 * resample + up + 2 * down)
            + quarter * (2 * resample + up + down);
        assert_eq!(cost.pixel_phase, pixel);
        assert_eq!(cost.row_phase, total - pixel);
    }

    #[test]
    fn weights_of_the_pixel_phase_are_those_of_one_position_per_level() {
        let plan = plan(2, 5, 1);
        // A 4x4 image has 16, 4 and 1 positions; a 4x8 one twice as many: no constant part.
        let (small, large) = (plan.multiply_adds((4, 4)), plan.multiply_adds((4, 8)));
        assert_eq!(large.pixel_phase, 2 * small.pixel_phase);
        let (f, nin) = (5, 2 * 5 * 5);
        let ul = 4 * 2 * f * f + 4 * 2 * f * 2 * f;
        // Blocks up: 2 per level; down: 2, 3, 3.
        let blocks = (6 + 8) * (ul / 2) + 8 * nin;
        let rest = 4 * f + 4 * 2 * f * f + f * 10;
        assert_eq!(plan.pixel_phase_weights(), blocks + rest);
    }

    #[test]
    fn the_published_model_takes_about_24_million_per_pixel() {
        let hyper = Hyperparameters::published_cifar();
        let plan = Plan::new(&hyper, &Layers::new(&hyper));
        let total = plan.multiply_adds((32, 32)).total();
        let per_pixel = total as f64 / 1024.0;
        assert!((per_pixel - 24e6).abs() < 0.5e6, "{per_pixel}");
    }
}
