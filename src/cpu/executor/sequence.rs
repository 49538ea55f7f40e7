//! Cached evaluation of sequences: images of width 1.
//!
//! There is little to multiply in a row, so that meeting costs more than sharing an op wins: each
//! worker has sequences of its own, and they meet once per row only, to tell the caller.
//!
//! A tap that looks back d rows is known for d rows at once, and a map for all. So such taps are
//! multiplied for a block of rows where the block begins, a matrix product in place of as many
//! products with a vector; what is left for each row is added to their sums when its turn comes.
//! Taps are listed by lead, so that the sums are the same as those of other evaluations, to the bit.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Caller, Run, Workspace};
use crate::cpu::gemm::{Gemm, accumulate};
use crate::cpu::profile::Lap;
use crate::cpu::rows::Rows;
use crate::cpu::thread_pool::ThreadPool;
use crate::network::{Destination, OpId, Tap};

impl<E: Gemm> Run<'_, E> {
    /// Cached generation of sequences, each by one worker. Returns whether it went on to the end.
    pub(in crate::cpu) fn sequences(&self, pool: &ThreadPool, caller: &dyn Caller) -> bool {
        let stop = AtomicBool::new(false);
        let height = self.storage.shape.height;
        pool.run(|worker| {
            let mut space = self.workspace();
            let mut watch = self.stopwatch(worker);
            let images = worker.partition(self.storage.shape.batch, 1);
            self.push_preceding(worker, &mut space);
            for row in 0..height {
                worker.barrier();
                if self.stop_at(worker, &stop, row, caller) {
                    return;
                }
                if row.is_multiple_of(Tap::LONGEST_LEAD) {
                    let rows = row..height.min(row + Tap::LONGEST_LEAD);
                    self.push_map(worker, &mut space, rows, row);
                }
                for scheduled in &self.model.row_phase[0] {
                    self.row_of(&mut space, scheduled.op, row, &images);
                }
                watch.lap(Lap::Row);
                for (stage, ops) in self.model.pixel_phase[0].iter().enumerate() {
                    for scheduled in ops {
                        self.pixel_of(&mut space, scheduled.op, row, &images);
                    }
                    watch.lap(Lap::Pixel);
                    if !self.draw(worker, &mut space, (row, 0, stage), (0, 0), &stop, caller) {
                        return;
                    }
                    watch.lap(Lap::Sampling);
                }
            }
            worker.barrier();
            self.stop_at(worker, &stop, height, caller);
        });
        !stop.load(Ordering::Relaxed)
    }

    /// The row phase of an op for some images: blocks that begin at this row, then what is left for
    /// the row.
    fn row_of(&self, space: &mut Workspace<E>, id: OpId, row: usize, images: &Range<usize>) {
        for group in 0..self.model.ops[id].row.len() {
            self.block_of(space, id, group, row, images);
        }
        if self.model.graph.ops[id].complete_in_row_phase {
            self.finish(id, row, images);
        }
    }

    /// The taps of a group, if a block of them begins at this row.
    fn block_of(
        &self,
        space: &mut Workspace<E>,
        id: OpId,
        index: usize,
        row: usize,
        images: &Range<usize>,
    ) {
        let (op, packed) = (&self.model.graph.ops[id], &self.model.ops[id]);
        let group = &packed.row[index];
        if !row.is_multiple_of(group.block) {
            return;
        }
        let count = group.block.min(self.storage.shape.height - row);
        let mut done = 0;
        while done < count {
            // As many rows as lie one after the other in every ring.
            let (acc, length) = self.sums(id, row + done);
            let mut rows = length.min(count - done);
            space.operands.clear();
            for tap in &op.taps[group.taps.clone()] {
                let (operand, length) = self.operand_of(tap, row + done, images);
                rows = rows.min(length);
                space.operands.push(operand);
            }
            if index == 0 {
                self.begin(id, acc, rows, images);
            }
            let (panels, acc) = (0..packed.panels, of(acc, images));
            let products = 0..rows * images.len();
            // SAFETY: operands and sums are rows of this storage, laid out for this network, none
            // beyond the end of its ring; no other worker has these images.
            unsafe {
                let (weights, operands) = (&group.weights, &space.operands);
                accumulate(
                    self.model.isa,
                    weights,
                    panels,
                    products,
                    operands,
                    acc,
                    None,
                );
            }
            done += rows;
        }
    }

    /// The pixel phase of an op for some images.
    fn pixel_of(&self, space: &mut Workspace<E>, id: OpId, row: usize, images: &Range<usize>) {
        let (op, packed) = (&self.model.graph.ops[id], &self.model.ops[id]);
        let (acc, _) = self.sums(id, row);
        if packed.row.is_empty() {
            self.begin(id, acc, 1, images);
        }
        if let Some(weights) = &packed.pixel {
            space.operands.clear();
            for tap in op.pixel_taps() {
                space.operands.push(self.operand_of(tap, row, images).0);
            }
            let (panels, acc) = (0..packed.panels, of(acc, images));
            // SAFETY: as in `block_of`.
            unsafe {
                let (rows, operands) = (0..images.len(), &space.operands);
                accumulate(self.model.isa, weights, panels, rows, operands, acc, None);
            }
        }
        self.finish(id, row, images);
    }

    /// Starts the sums of some rows from the bias.
    fn begin(&self, id: OpId, acc: Rows<f32>, rows: usize, images: &Range<usize>) {
        let batch = self.storage.shape.batch;
        for row in 0..rows {
            let of_row = row * batch + images.start..row * batch + images.end;
            // SAFETY: there are that many rows of sums; no other worker has these images.
            unsafe { self.start(&(0..self.model.ops[id].panels), &of_row, id, acc) };
        }
    }

    /// Turns the finished sums of a row into the result of the op.
    fn finish(&self, id: OpId, row: usize, images: &Range<usize>) {
        let packed = &self.model.ops[id];
        let Some(mut epilogue) = self.epilogue(&self.model.graph.ops[id], row, 0) else {
            return;
        };
        epilogue.residual = epilogue.residual.map(|rows| of(rows, images));
        epilogue.to_residual = epilogue.to_residual.map(|rows| of(rows, images));
        epilogue.to_operands = epilogue.to_operands.map(|rows| Some(of(rows?, images)));
        let (acc, _) = self.sums(id, row);
        let rows = 0..images.len();
        // SAFETY: as in `block_of`; the sums are complete.
        unsafe {
            let panels = 0..packed.panels;
            epilogue.apply(
                self.model.isa,
                packed.channels,
                panels,
                rows,
                of(acc, images),
            );
        }
    }

    /// Where the sums of an op begin for a row, and how many rows follow.
    fn sums(&self, id: OpId, row: usize) -> (Rows<f32>, usize) {
        match (
            &self.storage.partials[id],
            self.model.graph.ops[id].destination,
        ) {
            (Some(partial), _) => partial.block(row as isize, 0),
            (None, Destination::Parameters { stage }) => {
                (self.storage.parameters[stage].rows(0, 0, 1), 1)
            }
            // Each worker has columns of its own in what one has to itself elsewhere.
            (None, Destination::Tensor { .. }) => (self.storage.scratch[0].rows(0, 0, 1), 1),
        }
    }

    /// The operand of a tap from a row on, for some images, and how many rows follow.
    fn operand_of(&self, tap: &Tap, row: usize, images: &Range<usize>) -> (Rows<E>, usize) {
        let (rows, length) = self
            .ring(tap)
            .block(row as isize + tap.offset[0], tap.offset[1]);
        (of(rows, images), length)
    }
}

/// The rows of some of the images of a batch.
fn of<T>(rows: Rows<T>, images: &Range<usize>) -> Rows<T> {
    Rows {
        // The images' rows lie within those of the batch.
        base: rows.base.wrapping_add(images.start * rows.row_stride),
        group: images.len().max(1),
        ..rows
    }
}
