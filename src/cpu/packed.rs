//! A model ready for the CPU: the plan with its weights packed for the products.

use super::epilogue::Op;
use super::gemm::{Columns, PANEL, Packed};
use super::isa::Isa;
use super::rows::Element;
use crate::model::{Epilogue, Plan, Step, StepId, Term, Weights};

/// The weights of one step.
#[derive(Debug)]
pub(super) struct PackedStep<E> {
    /// Weights of the row-phase terms.
    pub row: Option<Packed<E>>,
    /// Weights of the pixel-phase terms.
    pub pixel: Option<Packed<E>>,
    /// What the sums start from, in panel order: one row per class (one if unconditional).
    bias: Vec<f32>,
    /// Panels of 16 sums.
    pub panels: usize,
    /// The epilogue.
    pub op: Op,
    /// Channels of the result.
    pub channels: usize,
}

impl<E> PackedStep<E> {
    /// f32 sums per row of accumulators.
    pub fn acc_width(&self) -> usize {
        self.panels * PANEL
    }

    /// The panels that must stay together on one thread.
    pub fn granule(&self) -> usize {
        match self.op {
            Op::Plain => 1,
            Op::Gate => 2,
        }
    }

    /// The sums' starting values for an image of class `class`.
    pub fn bias(&self, class: usize) -> &[f32] {
        &self.bias[class * self.acc_width()..(class + 1) * self.acc_width()]
    }
}

/// The packed weights of a model with its plan.
#[derive(Debug)]
pub(super) struct PackedModel<E> {
    pub plan: Plan,
    pub steps: Vec<PackedStep<E>>,
    pub isa: Isa,
    /// Per list of steps, whether a step needs what an earlier one of the list wrote, so that
    /// the threads must meet before it.
    pub row_phase: [Vec<Scheduled>; 4],
    pub pixel_phase: [Vec<Scheduled>; crate::model::LEVELS],
    pub forward: Vec<Scheduled>,
}

/// A step in a list that all threads walk together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scheduled {
    pub step: StepId,
    /// The threads must meet before it.
    pub barrier: bool,
}

impl<E: Element> PackedModel<E> {
    pub fn new(weights: &Weights, isa: Isa) -> Self {
        let plan = Plan::new(&weights.hyper, &weights.layers);
        let classes = weights.hyper.classes;
        let steps = plan
            .steps
            .iter()
            .map(|step| pack(weights, step, classes, isa))
            .collect();
        let all: Vec<StepId> = (0..plan.steps.len()).collect();
        Self {
            row_phase: std::array::from_fn(|row| schedule(&plan, plan.row_phase(row), false)),
            pixel_phase: [(0, 1), (0, 2), (0, 0)]
                .map(|(row, column)| schedule(&plan, plan.pixel_phase(row, column), true)),
            forward: schedule(&plan, &all, true),
            plan,
            steps,
            isa,
        }
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        let packed = |step: &PackedStep<E>| {
            step.row.as_ref().map_or(0, Packed::bytes)
                + step.pixel.as_ref().map_or(0, Packed::bytes)
        };
        self.steps.iter().map(packed).sum()
    }
}

fn pack<E: Element>(
    weights: &Weights,
    step: &Step,
    classes: Option<usize>,
    isa: Isa,
) -> PackedStep<E> {
    let (op, columns) = match step.epilogue {
        Epilogue::Gate { .. } => (Op::Gate, Columns::Gated),
        _ => (Op::Plain, Columns::Plain),
    };
    let channels = step.channels();
    let pack_terms = |terms: &[Term]| {
        let segments: Vec<usize> = terms.iter().map(|term| term.k).collect();
        (!terms.is_empty()).then(|| {
            Packed::new(isa, &segments, channels, columns, |segment, k, n| {
                Plan::weight(weights, &terms[segment], k, n)
            })
        })
    };
    let groups = channels.div_ceil(PANEL);
    let halves = match op {
        Op::Plain => 1,
        Op::Gate => 2,
    };
    let mut bias = Vec::with_capacity(classes.unwrap_or(1) * groups * halves * PANEL);
    for class in 0..classes.unwrap_or(1) {
        for group in 0..groups {
            for half in 0..halves {
                for channel in group * PANEL..(group + 1) * PANEL {
                    bias.push(if channel < channels {
                        let class = classes.map(|_| class);
                        Plan::bias(weights, step, class, half * channels + channel)
                    } else {
                        0.0
                    });
                }
            }
        }
    }
    PackedStep {
        row: pack_terms(step.row_terms()),
        pixel: pack_terms(step.pixel_terms()),
        bias,
        panels: groups * halves,
        op,
        channels,
    }
}

/// Marks the steps before which the threads must meet: those that read what an earlier one wrote,
/// or overwrite what an earlier one read. `writes` says that every listed step writes its
/// activation; in the row phase, partial steps do not.
fn schedule(plan: &Plan, steps: &[StepId], writes: bool) -> Vec<Scheduled> {
    let mut written = Vec::new();
    let mut read = Vec::new();
    steps
        .iter()
        .map(|&id| {
            let step = &plan.steps[id];
            let residual = match step.epilogue {
                Epilogue::Gate { residual } => Some(residual),
                _ => None,
            };
            let reads: Vec<_> = step
                .terms
                .iter()
                .map(|term| term.source)
                .chain(residual)
                .collect();
            let target = step.to.filter(|_| writes || step.complete_in_row_phase());
            let barrier = reads.iter().any(|source| written.contains(source))
                || target.is_some_and(|target| read.contains(&target));
            if barrier {
                written.clear();
                read.clear();
            }
            written.extend(target);
            read.extend(reads);
            Scheduled { step: id, barrier }
        })
        .collect()
}
