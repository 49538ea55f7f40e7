//! The row phase of sequences, for blocks of rows.
//!
//! A tap that looks back d rows is known for d rows at once, and a map for all. So such taps are
//! multiplied for a block of rows where the block begins, a matrix product in place of as many
//! products with a vector; what is left for each row is added to their sums when its turn comes.
//! Taps are listed by lead, so that the sums are the same as those of other evaluations, to the bit.

use super::executor::{Run, Workspace};
use super::gemm::{Gemm, accumulate};
use super::thread_pool::Worker;
use crate::network::OpId;

impl<E: Gemm> Run<'_, E> {
    /// The row phase of a row of a sequence.
    pub(super) fn sequence_row(&self, worker: Worker<'_>, space: &mut Workspace<E>, row: usize) {
        for &scheduled in &self.model.row_phase[0] {
            self.meet(worker, scheduled);
            self.op_of_a_row(worker, space, scheduled.op, row);
        }
    }

    /// This worker's part of an op: blocks that begin at this row, then what is left for the row.
    fn op_of_a_row(&self, worker: Worker<'_>, space: &mut Workspace<E>, id: OpId, row: usize) {
        let packed = &self.model.ops[id];
        let op = &self.model.graph.ops[id];
        let isa = self.model.isa;
        let batch = self.storage.shape.batch;
        // By panels always: sums are gone on with by the worker that began them.
        let panels = worker.partition(packed.panels, packed.granule);
        if panels.is_empty() {
            return;
        }
        let partial = self.storage.partials[id].as_ref();
        let scratch = self.storage.scratch[worker.index].rows(0, 0, 1);
        for (index, group) in packed.row.iter().enumerate() {
            if row % group.block != 0 {
                continue;
            }
            let count = group.block.min(self.storage.shape.height - row);
            let mut done = 0;
            while done < count {
                let at = (row + done) as isize;
                // As many rows as lie one after the other in every ring.
                let (acc, mut run) = match partial {
                    Some(partial) => partial.block(at, 0),
                    None => (scratch, 1),
                };
                run = run.min(count - done);
                space.operands.clear();
                for tap in &op.taps[group.taps.clone()] {
                    let ring = self.storage.operands(tap.source)[tap.activation as usize].as_ref();
                    // `GraphBuilder` derives a ring from every tap.
                    space.operands.extend(ring.map(|ring| {
                        let (rows, length) = ring.block(at + tap.offset[0], tap.offset[1]);
                        run = run.min(length);
                        rows
                    }));
                }
                assert_eq!(
                    space.operands.len(),
                    group.taps.len(),
                    "every tap has a ring"
                );
                let rows = 0..run * batch;
                // SAFETY: operands and sums are rows of this storage, laid out for this network, and
                // each run ends before its rings do; workers have disjoint panels, and barriers
                // separate them from the ops that read the result.
                unsafe {
                    if index == 0 {
                        self.start(&panels, &rows, id, acc);
                    }
                    let (panels, operands) = (panels.clone(), &space.operands);
                    accumulate(isa, &group.weights, panels, rows, operands, acc, None);
                }
                done += run;
            }
        }
        if !op.complete_in_row_phase {
            return;
        }
        if let Some(epilogue) = self.epilogue(op, row, 0) {
            let acc = partial.map_or(scratch, |partial| partial.rows(row as isize, 0, 1));
            // SAFETY: as above; the sums of this row are complete.
            unsafe { epilogue.apply(isa, packed.channels, panels, 0..batch, acc) }
        }
    }
}
