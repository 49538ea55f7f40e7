//! From the layers to the steps of the plan.

use super::{Activation, ActivationId, Epilogue, Form, LEVELS, Phase, Step, StepId, Term};
use crate::model::{Block, Hyperparameters, LayerId, Layers, Stack};

/// The activations and steps of a network as far as it is built.
pub(super) struct Builder<'a> {
    layers: &'a Layers,
    filters: usize,
    pub activations: Vec<Activation>,
    pub steps: Vec<Step>,
    pub image: ActivationId,
    pub output: StepId,
}

impl<'a> Builder<'a> {
    /// The whole network.
    pub fn network(hyper: &Hyperparameters, layers: &'a Layers) -> Self {
        let mut builder = Self {
            layers,
            filters: hyper.nr_filters,
            activations: Vec::new(),
            steps: Vec::new(),
            image: 0,
            output: 0,
        };
        builder.image =
            builder.activation("image".into(), Stack::Horizontal, 0, hyper.channels + 1);
        let ul = builder.up_and_down();
        builder.output(ul);
        builder
    }

    /// The up and the down pass; returns the last activation of the horizontal stack.
    fn up_and_down(&mut self) -> ActivationId {
        let layers = self.layers;
        let mut u = self.init_u(self.image);
        let mut ul = self.init_ul(self.image);
        let mut skips = vec![(u, ul)];
        for level in 0..LEVELS {
            for (index, pair) in layers.up[level].iter().enumerate() {
                u = self.block(&format!("u up {level}.{index}"), &pair.u, u, &[]);
                ul = self.block(&format!("ul up {level}.{index}"), &pair.ul, ul, &[u]);
                skips.push((u, ul));
            }
            if let Some(pair) = layers.downsample.get(level) {
                u = self.downsample(&format!("u downsample {level}"), pair.u, u);
                ul = self.downsample(&format!("ul downsample {level}"), pair.ul, ul);
                skips.push((u, ul));
            }
        }
        // The last output of the up pass is what the down pass starts from.
        skips.pop();
        for level in (0..LEVELS).rev() {
            for (index, pair) in layers.down[level].iter().enumerate() {
                // One skip per block: 3 nr_resnet + 2 of each by construction of `Layers`.
                let Some((u_skip, ul_skip)) = skips.pop() else {
                    break;
                };
                u = self.block(&format!("u down {level}.{index}"), &pair.u, u, &[u_skip]);
                ul = self.block(
                    &format!("ul down {level}.{index}"),
                    &pair.ul,
                    ul,
                    &[u, ul_skip],
                );
            }
            if level > 0 {
                let pair = layers.upsample[LEVELS - 1 - level];
                u = self.upsample(&format!("u upsample {level}"), pair.u, u);
                ul = self.upsample(&format!("ul upsample {level}"), pair.ul, ul);
            }
        }
        ul
    }

    /// The output nin.
    fn output(&mut self, ul: ActivationId) {
        let layer = self.layers.output;
        let terms = vec![Term {
            source: ul,
            form: Form::Elu,
            k: self.filters,
            row_offset: 0,
            column_offset: 0,
            phase: Phase::Current,
            layer,
            tap: (0, 0),
            part: (0, 1),
            bias_on_ones: false,
        }];
        self.step(
            "output".into(),
            Stack::Horizontal,
            0,
            terms,
            vec![layer],
            Epilogue::Output,
            None,
        );
        self.output = self.steps.len() - 1;
    }

    fn activation(
        &mut self,
        name: String,
        stack: Stack,
        level: usize,
        channels: usize,
    ) -> ActivationId {
        self.activations.push(Activation {
            name,
            stack,
            level,
            channels,
            residual: false,
            cache_rows: [0; 3],
        });
        self.activations.len() - 1
    }

    /// One term per tap of a convolution. Offsets follow from the padding of the shifted
    /// convolutions: all rows above, columns left and (3 wide) right.
    fn conv_terms(&self, layer: LayerId, source: ActivationId, form: Form) -> Vec<Term> {
        let (fh, fw) = self.layers.all[layer].filter;
        let horizontal = (fh, fw) == (2, 2);
        let mut terms = Vec::new();
        for i in 0..fh {
            for j in 0..fw {
                let row_offset = i as isize - (fh as isize - 1);
                let column_offset = j as isize - 1;
                let phase = match (horizontal && row_offset == 0, column_offset) {
                    (false, _) => Phase::Row,
                    (true, 0) => Phase::Current,
                    (true, _) => Phase::Left,
                };
                terms.push(Term {
                    source,
                    form,
                    k: self.activations[source].channels_as(form),
                    row_offset,
                    column_offset,
                    phase,
                    layer,
                    tap: (i, j),
                    part: (0, 1),
                    bias_on_ones: false,
                });
            }
        }
        terms
    }

    /// Adds a step on its result's own grid; sorts the terms by phase.
    #[allow(clippy::too_many_arguments)]
    fn step(
        &mut self,
        name: String,
        stack: Stack,
        level: usize,
        mut terms: Vec<Term>,
        biases: Vec<LayerId>,
        epilogue: Epilogue,
        to: Option<ActivationId>,
    ) -> &mut Step {
        terms.sort_by_key(|term| term.phase);
        let sums = terms
            .first()
            .map_or(0, |term| self.layers.all[term.layer].cout);
        self.steps.push(Step {
            name,
            stack,
            level,
            input_step: 1,
            output_step: 1,
            output_offset: (0, 0),
            sums,
            terms,
            biases,
            class: None,
            epilogue,
            to,
        });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    /// A gated resnet block: `x + gate(conv(concat_elu(conv(concat_elu(x)) + nin(aux))))`.
    fn block(
        &mut self,
        place: &str,
        block: &Block,
        x: ActivationId,
        aux: &[ActivationId],
    ) -> ActivationId {
        let Activation { stack, level, .. } = self.activations[x];
        let t = self.activation(format!("{place} t"), stack, level, self.filters);
        let y = self.activation(place.to_owned(), stack, level, self.filters);
        let mut terms = self.conv_terms(block.conv_in, x, Form::ConcatElu);
        let mut biases = vec![block.conv_in];
        if let Some(nin) = block.nin {
            biases.push(nin);
            for (part, &source) in aux.iter().enumerate() {
                let phase = match (stack, self.activations[source].stack) {
                    (Stack::Horizontal, Stack::Horizontal) => Phase::Current,
                    _ => Phase::Row,
                };
                terms.push(Term {
                    source,
                    form: Form::ConcatElu,
                    k: 2 * self.filters,
                    row_offset: 0,
                    column_offset: 0,
                    phase,
                    layer: nin,
                    tap: (0, 0),
                    part: (part, aux.len()),
                    bias_on_ones: false,
                });
            }
        }
        self.step(
            format!("{place} in"),
            stack,
            level,
            terms,
            biases,
            Epilogue::Store,
            Some(t),
        );
        let terms = self.conv_terms(block.conv_out, t, Form::ConcatElu);
        self.step(
            format!("{place} out"),
            stack,
            level,
            terms,
            vec![block.conv_out],
            Epilogue::Gate { residual: x },
            Some(y),
        )
        .class = block.class;
        y
    }

    /// `u0 = down_shift(conv2x3(x))`.
    fn init_u(&mut self, image: ActivationId) -> ActivationId {
        let layer = self.layers.u_init;
        let mut terms = self.conv_terms(layer, image, Form::Plain);
        for term in &mut terms {
            term.row_offset -= 1;
            term.bias_on_ones = term.tap == (1, 1);
        }
        let u = self.activation("u init".into(), Stack::Vertical, 0, self.filters);
        self.step(
            "u init".into(),
            Stack::Vertical,
            0,
            terms,
            vec![],
            Epilogue::Store,
            Some(u),
        );
        u
    }

    /// `ul0 = down_shift(conv1x3(x)) + right_shift(conv2x1(x))`.
    fn init_ul(&mut self, image: ActivationId) -> ActivationId {
        let mut terms = self.conv_terms(self.layers.ul_init_above, image, Form::Plain);
        for term in &mut terms {
            term.row_offset -= 1;
            term.bias_on_ones = term.tap == (0, 1);
        }
        for mut term in self.conv_terms(self.layers.ul_init_left, image, Form::Plain) {
            term.bias_on_ones = term.tap == (1, 0);
            if term.bias_on_ones {
                term.phase = Phase::Left;
            }
            terms.push(term);
        }
        let ul = self.activation("ul init".into(), Stack::Horizontal, 0, self.filters);
        self.step(
            "ul init".into(),
            Stack::Horizontal,
            0,
            terms,
            vec![],
            Epilogue::Store,
            Some(ul),
        );
        ul
    }

    /// A stride-2 convolution to the next coarser level.
    fn downsample(&mut self, place: &str, layer: LayerId, x: ActivationId) -> ActivationId {
        let Activation { stack, level, .. } = self.activations[x];
        let y = self.activation(place.to_owned(), stack, level + 1, self.filters);
        let terms = self.conv_terms(layer, x, Form::Plain);
        self.step(
            place.to_owned(),
            stack,
            level + 1,
            terms,
            vec![layer],
            Epilogue::Store,
            Some(y),
        )
        .input_step = 2;
        y
    }

    /// A stride-2 deconvolution to the next finer level, one step per output parity.
    fn upsample(&mut self, place: &str, layer: LayerId, x: ActivationId) -> ActivationId {
        let Activation { stack, level, .. } = self.activations[x];
        let y = self.activation(place.to_owned(), stack, level - 1, self.filters);
        for i in 0..2 {
            for j in 0..2 {
                // (column tap, column offset on the coarse grid). The 2x3 deconvolution drops
                // its first column, so an odd output column lies between two coarse ones.
                let taps: &[(usize, isize)] = match (stack, j) {
                    (Stack::Horizontal, _) => &[(j, 0)],
                    (Stack::Vertical, 0) => &[(1, 0)],
                    (Stack::Vertical, _) => &[(2, 0), (0, 1)],
                };
                let phase = match (stack, i) {
                    // The odd rows of the upsampled horizontal stack are known a row earlier.
                    (Stack::Horizontal, 0) => Phase::Current,
                    _ => Phase::Row,
                };
                let terms = taps
                    .iter()
                    .map(|&(tap, column_offset)| Term {
                        source: x,
                        form: Form::Plain,
                        k: self.filters,
                        row_offset: 0,
                        column_offset,
                        phase,
                        layer,
                        tap: (i, tap),
                        part: (0, 1),
                        bias_on_ones: false,
                    })
                    .collect();
                let step = self.step(
                    format!("{place} {i}{j}"),
                    stack,
                    level,
                    terms,
                    vec![layer],
                    Epilogue::Store,
                    Some(y),
                );
                step.output_step = 2;
                step.output_offset = (i, j);
            }
        }
        y
    }
}
