//! Evaluation of given sequences, and naive generation of them, by chunks of rows: op by op, each for
//! all rows of the chunk. Rings hold a chunk and the rows that taps look back beyond it, so memory
//! does not depend on the length of the sequence.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{At, Caller, Run, TakeParameters, Workspace};
use crate::cpu::epilogue::Epilogue;
use crate::cpu::gemm::{Gemm, accumulate};
use crate::cpu::profile::Lap;
use crate::cpu::rows::Rows;
use crate::cpu::storage::RowRing;
use crate::cpu::thread_pool::{ThreadPool, Worker};
use crate::network::{Destination, Graph, OpId, Tap};

/// Rows of a chunk of a given sequence.
const CHUNK: usize = 256;

/// Rows that are held at once of given sequences of this length.
pub(in crate::cpu) fn rows_of_given(height: usize) -> usize {
    height.min(CHUNK)
}

/// Rows that are held at once in naive generation of sequences of this length.
pub(in crate::cpu) fn rows_of_naive(graph: &Graph, height: usize) -> usize {
    height.min(graph.receptive_rows())
}

impl<E: Gemm> Run<'_, E> {
    /// Evaluates sequences of this length, whose values `values` gives, and hands the parameters of
    /// every row to `take`. Returns whether it went on to the end: `go_on` is asked before each chunk.
    pub(in crate::cpu) fn given_sequences(
        &self,
        pool: &ThreadPool,
        height: usize,
        values: &(dyn Fn(At, &mut [f32]) + Sync),
        take: &TakeParameters<'_>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> bool {
        let stop = AtomicBool::new(false);
        pool.run(|worker| {
            let mut space = self.workspace();
            self.push_preceding(worker, &mut space);
            for first in (0..height).step_by(self.storage.shape.height) {
                if worker.index == 0 && !go_on() {
                    stop.store(true, Ordering::Relaxed);
                }
                let rows = first..height.min(first + self.storage.shape.height);
                let images = worker.partition(self.storage.shape.batch, 1);
                self.push_map(worker, &mut space, rows.clone(), rows.start);
                for at in self.stages_of(rows.clone(), images.clone()) {
                    let channels = self.model.graph.stages[at.stage].channels.len();
                    values(at, &mut space.values[..channels]);
                    self.push(&mut space, at);
                }
                self.chunk(worker, &mut space, rows.clone());
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                for at in self.stages_of(rows, images) {
                    take(at, self.parameters(at, (at.row, 0)));
                }
                worker.barrier();
            }
        });
        !stop.load(Ordering::Relaxed)
    }

    /// Naive generation of sequences of this length: for every draw, all that it depends on is
    /// evaluated again. Returns whether it went on to the end.
    pub(in crate::cpu) fn naive_sequences(
        &self,
        pool: &ThreadPool,
        height: usize,
        caller: &dyn Caller,
    ) -> bool {
        let stop = AtomicBool::new(false);
        let window = self.storage.shape.height;
        let channels = self.model.graph.channels();
        pool.run(|worker| {
            let mut space = self.workspace();
            let mut watch = self.stopwatch(worker);
            let images = worker.partition(self.storage.shape.batch, 1);
            // Of the last rows, `[row modulo the window][image][channel]`.
            let mut drawn = vec![0.0; window * images.len() * channels];
            let of = |row: usize, image: usize| {
                (row % window * images.len() + image - images.start) * channels
            };
            for row in 0..height {
                worker.barrier();
                if self.stop_at(worker, &stop, row, caller) {
                    return;
                }
                // The window ends with this row. What is computed of its first rows is not that of
                // the whole sequence, but nothing that this draw depends on.
                let first = (row + 1).saturating_sub(window);
                for stage in 0..self.model.graph.stages.len() {
                    self.push_map(worker, &mut space, first..row + 1, 0);
                    for at in self.stages_of(first..row + 1, images.clone()) {
                        let given = self.model.graph.stages[at.stage].channels.clone();
                        let from = &drawn[of(at.row, at.image)..][..channels];
                        space.values[..given.len()].copy_from_slice(&from[given]);
                        let row = at.row - first;
                        self.push(&mut space, At { row, ..at });
                    }
                    self.chunk(worker, &mut space, 0..row + 1 - first);
                    watch.lap(Lap::Pixel);
                    let pixel = (row, 0, stage);
                    let parameters = (row - first, 0);
                    let keep = |space: &mut Workspace<E>, at: At| {
                        let given = self.model.graph.stages[at.stage].channels.clone();
                        let values = &space.values[..given.len()];
                        drawn[of(at.row, at.image)..][given].copy_from_slice(values);
                    };
                    let run = (&stop, caller);
                    if !self.draw_and(worker, &mut space, pixel, parameters, run, keep) {
                        return;
                    }
                    worker.barrier();
                    watch.lap(Lap::Sampling);
                }
            }
            worker.barrier();
            self.stop_at(worker, &stop, height, caller);
        });
        !stop.load(Ordering::Relaxed)
    }

    /// Every stage of some rows of some images.
    fn stages_of(&self, rows: Range<usize>, images: Range<usize>) -> impl Iterator<Item = At> {
        let stages = self.model.graph.stages.len();
        rows.flat_map(move |row| {
            let images = images.clone();
            images.flat_map(move |image| {
                (0..stages).map(move |stage| At {
                    image,
                    row,
                    column: 0,
                    stage,
                })
            })
        })
    }

    /// Runs every op on some rows; the workers meet before and after.
    fn chunk(&self, worker: Worker<'_>, space: &mut Workspace<E>, rows: Range<usize>) {
        worker.barrier();
        for &scheduled in &self.model.whole_image {
            self.meet(worker, scheduled);
            self.op_of_chunk(worker, space, scheduled.op, rows.clone());
        }
        worker.barrier();
    }

    /// This worker's part of an op for some rows.
    fn op_of_chunk(
        &self,
        worker: Worker<'_>,
        space: &mut Workspace<E>,
        id: OpId,
        rows: Range<usize>,
    ) {
        let (op, packed) = (&self.model.graph.ops[id], &self.model.ops[id]);
        let (isa, batch) = (self.model.isa, self.storage.shape.batch);
        let panels = worker.partition(packed.panels, packed.granule);
        if panels.is_empty() {
            return;
        }
        let mut row = rows.start;
        while row < rows.end {
            // As many rows as lie one after the other in every ring.
            let mut count = rows.end - row;
            let mut shorter = |length: usize| count = count.min(length);
            let acc = match op.destination {
                Destination::Parameters { stage } => {
                    let (acc, length) = self.storage.parameters[stage].block(row as isize, 0);
                    shorter(length);
                    acc
                }
                Destination::Tensor { .. } => {
                    // From its first row on: nothing looks back at scratch.
                    let (acc, length) = self.storage.scratch[worker.index].block(-1, 0);
                    shorter(length);
                    acc
                }
            };
            let operands = |taps: &[Tap], to: &mut Vec<Rows<E>>, shorter: &mut dyn FnMut(usize)| {
                to.clear();
                for tap in taps {
                    let at = row as isize + tap.offset[0];
                    let (rows, length) = self.ring(tap).block(at, tap.offset[1]);
                    shorter(length);
                    to.push(rows);
                }
            };
            let epilogue = self.epilogue_of_rows(id, row, &mut shorter);
            operands(&op.taps, &mut space.operands, &mut shorter);
            let products = 0..count * batch;
            // SAFETY: operands, sums and results are rows of this storage, laid out for this network,
            // none beyond the end of its ring; workers have disjoint panels, and barriers separate
            // them from the ops that read the result.
            unsafe {
                self.start(&panels, &products, id, acc);
                for group in &packed.row {
                    let operands = &space.operands[group.taps.clone()];
                    let (panels, products) = (panels.clone(), products.clone());
                    accumulate(isa, &group.weights, panels, products, operands, acc, None);
                }
                if let Some(weights) = &packed.pixel {
                    let operands = &space.operands[op.row_taps().len()..];
                    let (panels, products) = (panels.clone(), products.clone());
                    accumulate(isa, weights, panels, products, operands, acc, None);
                }
                if let Some(epilogue) = epilogue {
                    epilogue.apply(isa, packed.channels, panels.clone(), products, acc);
                }
            }
            row += count;
        }
    }

    /// What becomes of an op's outputs from a row on; tells how many rows lie one after the other.
    fn epilogue_of_rows(
        &self,
        id: OpId,
        row: usize,
        shorter: &mut dyn FnMut(usize),
    ) -> Option<Epilogue<E>> {
        let op = &self.model.graph.ops[id];
        let tensor = op.tensor()?;
        let mut epilogue = self.epilogue(op, row, 0)?;
        let mut of_residual = |ring: Option<&RowRing<f32>>| {
            let (rows, length) = ring?.block(row as isize, 0);
            shorter(length);
            Some(rows)
        };
        let residual = op.epilogue.residual;
        epilogue.residual = residual.and_then(|id| of_residual(self.storage.residual(id)));
        epilogue.to_residual = of_residual(self.storage.residual(tensor));
        let rings = self.storage.operands(tensor);
        for (to, ring) in epilogue.to_operands.iter_mut().zip(rings) {
            *to = ring.as_ref().map(|ring| {
                let (rows, length) = ring.block(row as isize, 0);
                shorter(length);
                rows
            });
        }
        Some(epilogue)
    }
}
