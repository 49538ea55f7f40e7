//! Buffers of one batch, as [`Layout`] lists them.

use std::marker::PhantomData;

use super::cache_line::CacheLine;
use super::element::Element;
use super::packed::{PackedNetwork, Stored};
use super::rows::Rows;
use crate::network::Activation;
use crate::network::layout::{self, Extent, Layout, Shape, Storage as _};

/// The rows of one tensor under one activation.
pub(super) struct RowRing<T> {
    /// Owns the memory.
    #[allow(dead_code)]
    lines: Vec<CacheLine>,
    base: *mut T,
    layout: layout::Rows,
    batch: usize,
}

// SAFETY: the buffer is plain memory owned by the ring; the executor's barriers order accesses.
unsafe impl<T: Send> Send for RowRing<T> {}
// SAFETY: as above; shared access hands out addresses only.
unsafe impl<T: Sync> Sync for RowRing<T> {}

impl<T: Element> RowRing<T> {
    /// All zeros.
    pub fn new(layout: layout::Rows, batch: usize) -> Self {
        debug_assert_eq!(layout.number_bytes, size_of::<T>());
        let mut lines = CacheLine::zeros(layout.bytes(batch));
        let base = lines.as_mut_ptr().cast();
        Self {
            lines,
            base,
            layout,
            batch,
        }
    }

    /// The images' rows of `row` from `column` on, every `column_step` columns. Rows as far back
    /// as the ring reaches, and the columns of the halo, exist as padding.
    pub fn rows(&self, row: isize, column: isize, column_step: usize) -> Rows<T> {
        let layout = &self.layout;
        let pixel = self.batch * layout.channels;
        let slot = (row + 1).rem_euclid(layout.rows as isize) as usize;
        let column = (column + layout.left as isize) as usize;
        debug_assert!(column < layout.columns);
        Rows {
            // In bounds: slot < rows, and the halo has every column that a tap looks at.
            base: self
                .base
                .wrapping_add((slot * layout.columns + column) * pixel),
            row_stride: layout.channels,
            group: self.batch,
            group_stride: column_step * pixel,
        }
    }
}

impl<T: Element> RowRing<T> {
    /// Neighbouring rows of images of one column, from `row` on, and how many of them lie one after
    /// the other before the ring begins again.
    pub fn block(&self, row: isize, column: isize) -> (Rows<T>, usize) {
        let rows = self.rows(row, column, 1);
        let slot = (row + 1).rem_euclid(self.layout.rows as isize) as usize;
        let rows = Rows {
            group_stride: self.layout.columns * self.batch * self.layout.channels,
            ..rows
        };
        (rows, self.layout.rows - slot)
    }
}

/// The rings of one tensor.
struct TensorRings<E> {
    residual: Option<RowRing<f32>>,
    /// By [`Activation`].
    operands: [Option<RowRing<E>>; Activation::COUNT],
}

/// All buffers of a batch.
pub(super) struct Storage<E> {
    pub shape: Shape,
    tensors: Vec<TensorRings<E>>,
    /// By op: sums that the row phase begins and the pixel phase finishes.
    pub partials: Vec<Option<RowRing<f32>>>,
    /// Outputs in flight, one buffer per worker.
    pub scratch: Vec<RowRing<f32>>,
    /// By stage: parameters of the current pixel, or of the whole image.
    pub parameters: Vec<RowRing<f32>>,
}

impl<E: Element> Storage<E> {
    pub fn new(model: &PackedNetwork<E>, shape: Shape, extent: Extent, workers: usize) -> Self {
        let layout = Layout::new(&model.graph, shape, extent, &Stored::<E>(PhantomData));
        let batch = shape.batch;
        let tensors = layout.tensors.iter().map(|rows| TensorRings {
            residual: rows.residual.map(|rows| RowRing::new(rows, batch)),
            operands: rows
                .operands
                .map(|rows| rows.map(|rows| RowRing::new(rows, batch))),
        });
        let ring = |rows: &layout::Rows| RowRing::new(*rows, batch);
        Self {
            shape,
            tensors: tensors.collect(),
            partials: layout
                .partials
                .iter()
                .map(|rows| rows.as_ref().map(ring))
                .collect(),
            scratch: (0..workers).map(|_| ring(&layout.scratch)).collect(),
            parameters: layout.parameters.iter().map(ring).collect(),
        }
    }

    /// Bytes of the buffers of cached evaluation.
    pub fn bytes(model: &PackedNetwork<E>, shape: Shape, workers: usize) -> usize {
        let storage = Stored::<E>(PhantomData);
        let layout = Layout::new(&model.graph, shape, Extent::Rings, &storage);
        let parameters = layout.parameters.iter();
        let others = parameters.chain(std::iter::repeat_n(&layout.scratch, workers));
        let others = others.map(|rows| storage.buffer_bytes(rows.bytes(shape.batch)));
        layout.cache_bytes(&storage) + others.sum::<usize>()
    }

    /// The f32 residual of a tensor, if it is kept.
    pub fn residual(&self, tensor: usize) -> Option<&RowRing<f32>> {
        self.tensors[tensor].residual.as_ref()
    }

    /// A tensor as operands, by [`Activation`], where some tap reads it so.
    pub fn operands(&self, tensor: usize) -> &[Option<RowRing<E>>; Activation::COUNT] {
        &self.tensors[tensor].operands
    }
}
