//! Buffers of one image batch: caches, residuals and partial sums, one row of the image (or a few)
//! per activation.
//!
//! Rows are stored `[slot][column][batch][channels]` with a zero column on either side, so a tap
//! is an address and padding needs no code. A row lives in slot `(row + 1) % slots`; nothing is
//! ever moved: writing a row overwrites the oldest one.

use std::marker::PhantomData;

use super::packed::PackedModel;
use super::rows::{Element, Rows};
use crate::model::{Activation, Form};

/// One cache line; keeps every buffer aligned to 64 bytes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Rows of one activation in one form.
pub(super) struct Plane<T> {
    /// Owns the memory.
    lines: Vec<Line>,
    base: *mut T,
    slots: usize,
    columns: usize,
    batch: usize,
    channels: usize,
    element: PhantomData<T>,
}

// SAFETY: the buffer is plain memory owned by the plane; the executor's barriers order accesses.
unsafe impl<T: Send> Send for Plane<T> {}
// SAFETY: as above; shared access hands out addresses only.
unsafe impl<T: Sync> Sync for Plane<T> {}

impl<T: Element> Plane<T> {
    /// All zeros. `channels` is padded as products of `T` need it.
    pub fn new(slots: usize, columns: usize, batch: usize, channels: usize) -> Self {
        let channels = channels.next_multiple_of(T::PAD);
        let bytes = slots * (columns + 2) * batch * channels * size_of::<T>();
        let mut lines = vec![Line([0; 64]); bytes.div_ceil(64)];
        let base = lines.as_mut_ptr().cast();
        Self {
            lines,
            base,
            slots,
            columns,
            batch,
            channels,
            element: PhantomData,
        }
    }

    /// The batch rows of `row` from `column` on, every `column_step` columns. Rows down to -2 and
    /// columns -1 and `columns` exist as padding.
    pub fn rows(&self, row: isize, column: isize, column_step: usize) -> Rows<T> {
        let pixel = self.batch * self.channels;
        let slot = (row + 1).rem_euclid(self.slots as isize) as usize;
        let column = (column + 1) as usize;
        debug_assert!(column < self.columns + 2);
        Rows {
            // In bounds: slot < slots and column < columns + 2.
            base: self
                .base
                .wrapping_add((slot * (self.columns + 2) + column) * pixel),
            row_stride: self.channels,
            group: self.batch,
            group_stride: column_step * pixel,
        }
    }

    pub fn bytes(&self) -> usize {
        std::mem::size_of_val(self.lines.as_slice())
    }
}

/// The forms of one activation that some step needs.
struct Forms<E> {
    /// The residual stream, always f32.
    raw: Option<Plane<f32>>,
    /// By [`Form`].
    operands: [Option<Plane<E>>; 3],
}

/// How many rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// What the caches need: memory grows with the width only.
    Cache,
    /// The whole image.
    Image,
}

/// All buffers of a batch.
pub(super) struct Storage<E> {
    pub height: usize,
    pub width: usize,
    pub batch: usize,
    activations: Vec<Forms<E>>,
    /// Partial sums per step that the row phase begins and the pixel phase finishes.
    pub partials: Vec<Option<Plane<f32>>>,
    /// Sums in flight, one buffer per thread.
    pub scratch: Vec<Plane<f32>>,
    /// Mixture parameters: of the current pixel, or of the whole image.
    pub params: Plane<f32>,
}

impl<E: Element> Storage<E> {
    pub fn new(
        model: &PackedModel<E>,
        (height, width): (usize, usize),
        batch: usize,
        keep: Keep,
        threads: usize,
    ) -> Self {
        let forms = |activation: &Activation| {
            let columns = width >> activation.level;
            // Two zero rows above the image: the vertical init looks two rows up.
            let image = (height >> activation.level) + 2;
            let slots = |cache: usize| match keep {
                Keep::Cache => cache,
                Keep::Image => image,
            };
            let operand = |form: Form| {
                let rows = activation.cache_rows[form as usize];
                let channels = activation.channels_as(form);
                (rows > 0).then(|| Plane::new(slots(rows), columns, batch, channels))
            };
            Forms {
                raw: activation
                    .residual
                    .then(|| Plane::new(slots(1), columns, batch, activation.channels)),
                operands: [Form::Plain, Form::Elu, Form::ConcatElu].map(operand),
            }
        };
        let partials = model
            .steps
            .iter()
            .zip(&model.plan.steps)
            .map(|(packed, step)| {
                let kept = keep == Keep::Cache && packed.row.is_some() && packed.pixel.is_some();
                kept.then(|| Plane::new(1, width >> step.level, batch, packed.acc_width()))
            })
            .collect();
        let widest = model.steps.iter().map(|step| step.acc_width()).max();
        let output = model.steps[model.plan.output].acc_width();
        Self {
            height,
            width,
            batch,
            activations: model.plan.activations.iter().map(forms).collect(),
            partials,
            scratch: (0..threads)
                .map(|_| Plane::new(1, width, batch, widest.unwrap_or(0)))
                .collect(),
            params: match keep {
                Keep::Cache => Plane::new(1, 1, batch, output),
                Keep::Image => Plane::new(height + 2, width, batch, output),
            },
        }
    }

    /// The f32 residual stream of an activation, if one is kept.
    pub fn raw(&self, activation: usize) -> Option<&Plane<f32>> {
        self.activations[activation].raw.as_ref()
    }

    /// An activation as operand, if some step multiplies it in this form.
    pub fn operand(&self, activation: usize, form: Form) -> Option<&Plane<E>> {
        self.activations[activation].operands[form as usize].as_ref()
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> usize {
        let activations = self.activations.iter().map(|forms| {
            forms.raw.as_ref().map_or(0, Plane::bytes)
                + forms
                    .operands
                    .iter()
                    .flatten()
                    .map(Plane::bytes)
                    .sum::<usize>()
        });
        let partials = self.partials.iter().flatten().map(Plane::bytes);
        let scratch = self.scratch.iter().map(Plane::bytes);
        activations.sum::<usize>()
            + partials.sum::<usize>()
            + scratch.sum::<usize>()
            + self.params.bytes()
    }
}
