//! The layer plan: the network as ordered steps, split into the row phase and the pixel phases.
//!
//! A *step* is one product with its epilogue. Its *terms* are the taps that are summed: each
//! multiplies one activation at an offset with one slice of a layer's weights. A term knows when
//! its operand is known: in the row phase (it depends on rows above only), or in the pixel phase
//! (the pixel to the left, or the current pixel). The executors walk these lists and derive
//! nothing about the network themselves. Terms are listed in summation order, row phase first, so
//! that whole-image, naive and cached evaluation add the same numbers in the same order.
//!
//! Two identities keep the list uniform. The bias of the three init convolutions is folded into
//! the weight of the ones channel at the tap that is inside the image exactly where the shifted
//! term is not zero, so a shift is an offset and nothing else. A deconvolution of stride 2 is four
//! steps, one per output parity, each an ordinary convolution of the coarse grid.

mod builder;

use super::{Hyperparameters, LayerId, LayerKind, Layers, Stack, Weights};
use builder::Builder;

/// Index into [`Plan::activations`].
pub type ActivationId = usize;
/// Index into [`Plan::steps`].
pub type StepId = usize;

/// Resolution levels: full, half, quarter.
pub const LEVELS: usize = 3;

/// In which form an activation is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// As it is.
    Plain,
    /// `elu(x)`.
    Elu,
    /// `elu([x, -x])`: twice the channels.
    ConcatElu,
}

/// A tensor of the network that steps write and read.
#[derive(Clone, Debug)]
pub struct Activation {
    /// Place in the network, for messages and tests (`u up 0.1`).
    pub name: String,
    /// The stack it belongs to; the image counts as horizontal: it grows pixel by pixel.
    pub stack: Stack,
    /// Its resolution: height and width are those of the image divided by `2^level`.
    pub level: usize,
    /// Channels, before concat_elu doubles them.
    pub channels: usize,
    /// Whether a later step adds it as a residual.
    pub residual: bool,
    /// Rows of cache per form in which it is multiplied (plain, elu, concat_elu); 0 if none.
    ///
    /// Activations written in the pixel phase overwrite the row above in place once the row phase
    /// has used it, hence one row for a 2x2 tap; those written in the row phase need the row
    /// being written beside it.
    pub cache_rows: [usize; 3],
}

impl Activation {
    /// Channels in one of its forms.
    pub fn channels_as(&self, form: Form) -> usize {
        match form {
            Form::ConcatElu => 2 * self.channels,
            _ => self.channels,
        }
    }
}

/// When the operand of a term is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Before the row's first pixel: it depends on rows above only.
    Row,
    /// Once the pixel to the left is complete.
    Left,
    /// Within the current pixel.
    Current,
}

/// One tap: an activation at an offset times a slice of a layer's weights.
#[derive(Clone, Debug)]
pub struct Term {
    /// What is multiplied.
    pub source: ActivationId,
    /// In which form.
    pub form: Form,
    /// Length of the operand: the source's channels in that form.
    pub k: usize,
    /// Row of the operand: `input_step * R + row_offset` for row `R` of the step's grid.
    pub row_offset: isize,
    /// Column of the operand, likewise.
    pub column_offset: isize,
    /// When it is known.
    pub phase: Phase,
    /// The layer whose weights multiply it.
    pub layer: LayerId,
    /// The tap of the filter.
    pub tap: (usize, usize),
    /// The aux input of a nin may be a concatenation `[u, ul]`; this operand is number `.0` of
    /// `.1` in it. `concat_elu` puts all positive halves before all negative ones.
    pub part: (usize, usize),
    /// Whether the layer's bias is added to the weights of the last channel, the ones channel.
    pub bias_on_ones: bool,
}

/// What becomes of a step's sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Epilogue {
    /// `y = sum`.
    Store,
    /// `y = residual + a * sigmoid(b)` with the sums `[a, b]`.
    Gate {
        /// The activation added.
        residual: ActivationId,
    },
    /// The sums are the mixture parameters of the pixel.
    Output,
}

/// A product with its epilogue.
#[derive(Clone, Debug)]
pub struct Step {
    /// Place in the network, for messages (`ul down 0.2 out`).
    pub name: String,
    /// Which stack it computes.
    pub stack: Stack,
    /// The level of its grid: where its rows `R` and columns `C` are counted.
    pub level: usize,
    /// Operands are read at `input_step * (R, C) + offset`: 2 for stride-2 convolutions.
    pub input_step: usize,
    /// Results are written at `output_step * (R, C) + output_offset`: 2 for deconvolutions.
    pub output_step: usize,
    /// Output parity of a deconvolution, else (0, 0).
    pub output_offset: (usize, usize),
    /// Columns of the product: F, `2F` when gated, the mixture parameters for the output.
    pub sums: usize,
    /// The taps, in summation order.
    pub terms: Vec<Term>,
    /// Layers whose bias starts the sum.
    pub biases: Vec<LayerId>,
    /// Layer whose row of the image's class is added to the bias.
    pub class: Option<LayerId>,
    /// What becomes of the sums.
    pub epilogue: Epilogue,
    /// The activation written; `None` for the output.
    pub to: Option<ActivationId>,
}

impl Step {
    /// Terms of the row phase; the pixel phase has the rest ([`Step::pixel_terms`]).
    pub fn row_terms(&self) -> &[Term] {
        &self.terms[..self.row_term_count()]
    }

    /// Terms of the pixel phase: left, then current.
    pub fn pixel_terms(&self) -> &[Term] {
        &self.terms[self.row_term_count()..]
    }

    fn row_term_count(&self) -> usize {
        self.terms.partition_point(|term| term.phase == Phase::Row)
    }

    /// Whether the row phase finishes this step (otherwise it leaves partial sums).
    pub fn complete_in_row_phase(&self) -> bool {
        self.pixel_terms().is_empty()
    }

    /// Channels of the result: half of the sums when gated.
    pub fn channels(&self) -> usize {
        match self.epilogue {
            Epilogue::Gate { .. } => self.sums / 2,
            _ => self.sums,
        }
    }

    /// The level of its result: one finer than the grid for a deconvolution.
    pub fn output_level(&self) -> usize {
        self.level - (self.output_step - 1)
    }
}

/// The ordered steps of a model.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All activations; the image is [`Plan::image`].
    pub activations: Vec<Activation>,
    /// All steps in an order in which a whole-image evaluation can run them.
    pub steps: Vec<Step>,
    /// The input image with its ones channel.
    pub image: ActivationId,
    /// The last step.
    pub output: StepId,
    /// Steps of the row phase by `row % 4`.
    row_phase: [Vec<StepId>; 4],
    /// Steps of the pixel phase by the number of levels that are active.
    pixel_phase: [Vec<StepId>; LEVELS],
}

impl Plan {
    /// The plan of the model with these hyperparameters, whatever the image size.
    pub fn new(hyper: &Hyperparameters, layers: &Layers) -> Self {
        let network = Builder::network(hyper, layers);
        let mut plan = Self {
            activations: network.activations,
            steps: network.steps,
            image: network.image,
            output: network.output,
            row_phase: Default::default(),
            pixel_phase: Default::default(),
        };
        plan.size_caches();
        for row in 0..4 {
            plan.row_phase[row] = plan.select(|step| {
                let stride = 1 << step.output_level();
                let output_row = row / stride;
                let runs = row % stride == 0
                    && (step.output_step == 1 || output_row % 2 == step.output_offset.0);
                runs && !step.row_terms().is_empty()
            });
            // An upsampled row overwrites the row above, which the partial sums still need.
            let steps = &plan.steps;
            plan.row_phase[row].sort_by_key(|&id| {
                steps[id].stack == Stack::Horizontal && steps[id].complete_in_row_phase()
            });
        }
        for levels in 1..=LEVELS {
            plan.pixel_phase[levels - 1] =
                plan.select(|step| step.level < levels && !step.complete_in_row_phase());
        }
        plan
    }

    fn select(&self, runs: impl Fn(&Step) -> bool) -> Vec<StepId> {
        (0..self.steps.len())
            .filter(|&id| runs(&self.steps[id]))
            .collect()
    }

    /// Steps of the row phase of image row `row`, in order: complete for the vertical stack,
    /// partial sums for the horizontal one ([`Step::complete_in_row_phase`] tells).
    pub fn row_phase(&self, row: usize) -> &[StepId] {
        &self.row_phase[row % 4]
    }

    /// Steps of the pixel phase of pixel (`row`, `column`), in order.
    pub fn pixel_phase(&self, row: usize, column: usize) -> &[StepId] {
        &self.pixel_phase[Self::active_levels(row, column) - 1]
    }

    /// Levels that compute a new column at this pixel, 1 to 3: those whose stride divides both
    /// row and column.
    pub fn active_levels(row: usize, column: usize) -> usize {
        match (row | column) % 4 {
            0 => 3,
            2 => 2,
            _ => 1,
        }
    }

    /// The weight that multiplies channel `k` of the operand of `term` into sum `n`.
    pub fn weight(weights: &Weights, term: &Term, k: usize, n: usize) -> f32 {
        let layer = &weights.layers.all[term.layer];
        let folded = &weights.folded[term.layer];
        let (part, parts) = term.part;
        let half = term.k / 2;
        let cin = match term.form {
            Form::ConcatElu if k >= half => (parts + part) * half + k - half,
            Form::ConcatElu => part * half + k,
            _ => k,
        };
        let tap = term.tap.0 * layer.filter.1 + term.tap.1;
        let index = match layer.kind {
            LayerKind::Deconv => (tap * layer.cout + n) * layer.cin + cin,
            _ => (tap * layer.cin + cin) * layer.cout + n,
        };
        let weight = folded.weight[index];
        if term.bias_on_ones && k + 1 == term.k {
            weight + folded.bias[n]
        } else {
            weight
        }
    }

    /// What sum `n` of `step` starts from, for an image of class `class`.
    pub fn bias(weights: &Weights, step: &Step, class: Option<usize>, n: usize) -> f32 {
        let bias = step
            .biases
            .iter()
            .map(|&layer| weights.folded[layer].bias[n])
            .sum::<f32>();
        match (step.class, class) {
            (Some(layer), Some(class)) => {
                bias + weights.folded[layer].weight[class * step.sums + n]
            }
            _ => bias,
        }
    }

    /// Derives from the terms how many rows of each activation a cache must hold.
    fn size_caches(&mut self) {
        for step in &self.steps {
            for term in &step.terms {
                let source = &mut self.activations[term.source];
                let back = term.row_offset.unsigned_abs();
                let rows = match source.stack {
                    Stack::Vertical => back + 1,
                    Stack::Horizontal => back.max(1),
                };
                let kept = &mut source.cache_rows[term.form as usize];
                *kept = rows.max(*kept);
            }
            if let Epilogue::Gate { residual } = step.epilogue {
                self.activations[residual].residual = true;
            }
        }
    }
}
