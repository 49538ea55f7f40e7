//! Cached, naive and whole-image evaluation of images: the workers share every op.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{At, Caller, Run, TakeParameters, Workspace};
use crate::cpu::gemm::{Gemm, Upcoming, accumulate};
use crate::cpu::packed::Scheduled;
use crate::cpu::profile::Lap;
use crate::cpu::rows::Rows;
use crate::cpu::thread_pool::{ThreadPool, Worker};
use crate::network::{Destination, OpId, Tap};

/// Which taps of an op are summed, and whether the result is finished.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taps {
    /// Those of the row phase; sums stay partial unless there are no others.
    OfRowPhase,
    /// The rest, on top of the partial sums.
    OfPixelPhase,
    /// All of them.
    All,
}

impl<E: Gemm> Run<'_, E> {
    /// Cached generation. Returns whether it went on to the end.
    pub fn cached(&self, pool: &ThreadPool, caller: &dyn Caller) -> bool {
        let stop = AtomicBool::new(false);
        let (height, width) = (self.storage.shape.height, self.storage.shape.width);
        let schedule = &self.model.graph.schedule;
        pool.run(|worker| {
            let mut space = self.workspace();
            let mut watch = self.stopwatch(worker);
            for row in 0..height {
                if self.stop_at(worker, &stop, row, caller) {
                    return;
                }
                self.push_map(worker, &mut space, row..row + 1, row);
                worker.barrier();
                self.image_row(worker, &mut space, row);
                worker.barrier();
                watch.lap(Lap::Row);
                for column in 0..width {
                    let class = schedule.pixel_class(row, column);
                    for (stage, ops) in self.model.pixel_phase[class].iter().enumerate() {
                        self.pixel(worker, &mut space, ops, row, column);
                        worker.barrier();
                        watch.lap(Lap::Pixel);
                        let pixel = (row, column, stage);
                        if !self.draw(worker, &mut space, pixel, (0, 0), &stop, caller) {
                            return;
                        }
                        worker.barrier();
                        watch.lap(Lap::Sampling);
                    }
                }
            }
            self.stop_at(worker, &stop, height, caller);
        });
        !stop.load(Ordering::Relaxed)
    }

    /// The row phase of a row of an image.
    fn image_row(&self, worker: Worker<'_>, space: &mut Workspace<E>, row: usize) {
        let class = self.model.graph.schedule.row_class(row);
        for &scheduled in &self.model.row_phase[class] {
            self.meet(worker, scheduled);
            let stride = self.model.graph.ops[scheduled.op].stride;
            let columns = 0..self.storage.shape.width / stride[1];
            let at = (row / stride[0], columns);
            self.op(worker, space, scheduled.op, at, Taps::OfRowPhase, None);
        }
    }

    /// A stage of the pixel phase up to the parameters.
    fn pixel(
        &self,
        worker: Worker<'_>,
        space: &mut Workspace<E>,
        ops: &[Scheduled],
        row: usize,
        column: usize,
    ) {
        for (index, &scheduled) in ops.iter().enumerate() {
            self.meet(worker, scheduled);
            let stride = self.model.graph.ops[scheduled.op].stride;
            let column = column / stride[1];
            let at = (row / stride[0], column..column + 1);
            let next = ops.get(index + 1).map(|next| next.op);
            self.op(worker, space, scheduled.op, at, Taps::OfPixelPhase, next);
        }
    }

    /// Naive generation: a whole-image evaluation per stage of a pixel. Returns whether it went on
    /// to the end.
    pub fn naive(&self, pool: &ThreadPool, caller: &dyn Caller) -> bool {
        let stop = AtomicBool::new(false);
        let (height, width) = (self.storage.shape.height, self.storage.shape.width);
        pool.run(|worker| {
            let mut space = self.workspace();
            let mut watch = self.stopwatch(worker);
            self.push_map(worker, &mut space, 0..height, 0);
            worker.barrier();
            for row in 0..height {
                if self.stop_at(worker, &stop, row, caller) {
                    return;
                }
                for column in 0..width {
                    for stage in 0..self.model.graph.stages.len() {
                        self.all_ops(worker, &mut space);
                        watch.lap(Lap::Pixel);
                        let pixel = (row, column, stage);
                        if !self.draw(worker, &mut space, pixel, (row, column), &stop, caller) {
                            return;
                        }
                        worker.barrier();
                        watch.lap(Lap::Sampling);
                    }
                }
            }
            self.stop_at(worker, &stop, height, caller);
        });
        !stop.load(Ordering::Relaxed)
    }

    /// Evaluates the network on whole images, whose values `values` gives, and hands the parameters
    /// of every pixel to `take`.
    pub fn whole_image(
        &self,
        pool: &ThreadPool,
        values: &(dyn Fn(At, &mut [f32]) + Sync),
        take: &TakeParameters<'_>,
    ) {
        pool.run(|worker| {
            let mut space = self.workspace();
            self.push_map(worker, &mut space, 0..self.storage.shape.height, 0);
            self.each_stage_of_the_image(worker, |at| {
                let channels = self.model.graph.stages[at.stage].channels.len();
                values(at, &mut space.values[..channels]);
                self.push(&mut space, at);
            });
            self.all_ops(worker, &mut space);
            self.each_stage_of_the_image(worker, |at| {
                take(at, self.parameters(at, (at.row, at.column)));
            });
        });
    }

    /// Visits every stage of every pixel of this worker's images.
    fn each_stage_of_the_image(&self, worker: Worker<'_>, mut visit: impl FnMut(At)) {
        for row in 0..self.storage.shape.height {
            for column in 0..self.storage.shape.width {
                for stage in 0..self.model.graph.stages.len() {
                    for image in worker.partition(self.storage.shape.batch, 1) {
                        visit(At {
                            image,
                            row,
                            column,
                            stage,
                        });
                    }
                }
            }
        }
    }

    /// Runs every op on every row.
    fn all_ops(&self, worker: Worker<'_>, space: &mut Workspace<E>) {
        worker.barrier();
        for &scheduled in &self.model.whole_image {
            self.meet(worker, scheduled);
            let stride = self.model.graph.ops[scheduled.op].stride;
            for row in 0..self.storage.shape.height / stride[0] {
                let columns = 0..self.storage.shape.width / stride[1];
                self.op(worker, space, scheduled.op, (row, columns), Taps::All, None);
            }
        }
        worker.barrier();
    }

    /// Computes this worker's part of an op for some columns of one row of its grid. The weights of
    /// the op that comes `next` in the pixel phase are fetched meanwhile.
    fn op(
        &self,
        worker: Worker<'_>,
        space: &mut Workspace<E>,
        id: OpId,
        (row, columns): (usize, Range<usize>),
        taps: Taps,
        next: Option<OpId>,
    ) {
        let packed = &self.model.ops[id];
        let op = &self.model.graph.ops[id];
        let rows = columns.len() * self.storage.shape.batch;
        let (panels, rows) = partition(worker, packed.panels, packed.granule, rows);
        if panels.is_empty() || rows.is_empty() {
            return;
        }
        let (start, isa) = (columns.start, self.model.isa);
        let acc = match (taps, &self.storage.partials[id], op.destination) {
            (Taps::OfRowPhase | Taps::OfPixelPhase, Some(partial), _) => {
                partial.rows(row as isize, start as isize, 1)
            }
            (Taps::All, _, Destination::Parameters { stage }) => {
                self.storage.parameters[stage].rows(row as isize, start as isize, 1)
            }
            (_, _, Destination::Parameters { stage }) => {
                self.storage.parameters[stage].rows(0, 0, 1)
            }
            _ => self.storage.scratch[worker.index].rows(0, 0, 1),
        };
        // SAFETY: `acc` has one row of outputs per column and image; operands and results are rows
        // of this storage, laid out for this network; workers write disjoint panels or rows, and
        // barriers separate them from the ops that read them.
        unsafe {
            let continues = taps == Taps::OfPixelPhase && !packed.row.is_empty();
            if !continues {
                self.start(&panels, &rows, id, acc);
            }
            if let Taps::OfRowPhase | Taps::All = taps {
                for group in &packed.row {
                    let operands = self.operands(space, &op.taps[group.taps.clone()], row, start);
                    let (panels, rows) = (panels.clone(), rows.clone());
                    accumulate(isa, &group.weights, panels, rows, operands, acc, None);
                }
            }
            if let (Taps::OfPixelPhase | Taps::All, Some(weights)) = (taps, &packed.pixel) {
                let operands = self.operands(space, op.pixel_taps(), row, start);
                let then = next.and_then(|next| self.upcoming(worker, next));
                let (panels, rows) = (panels.clone(), rows.clone());
                accumulate(isa, weights, panels, rows, operands, acc, then);
            }
            let finished = taps != Taps::OfRowPhase || op.complete_in_row_phase;
            if finished && let Some(epilogue) = self.epilogue(op, row, start) {
                epilogue.apply(isa, packed.channels, panels, rows, acc);
            }
        }
    }

    /// The first pixel-phase weights that this worker reads in an op.
    fn upcoming(&self, worker: Worker<'_>, id: OpId) -> Option<Upcoming> {
        let op = &self.model.ops[id];
        let (panels, _) = partition(worker, op.panels, op.granule, self.storage.shape.batch);
        op.pixel
            .as_ref()
            .filter(|_| !panels.is_empty())
            .map(|weights| weights.upcoming(panels.start))
    }

    /// The operands of taps at a grid row, from a grid column on.
    fn operands<'s>(
        &self,
        space: &'s mut Workspace<E>,
        taps: &[Tap],
        row: usize,
        column: usize,
    ) -> &'s [Rows<E>] {
        space.operands.clear();
        let operand = |tap: &Tap| {
            let at = |grid: usize, axis: usize| (grid * tap.step[axis]) as isize + tap.offset[axis];
            self.ring(tap).rows(at(row, 0), at(column, 1), tap.step[1])
        };
        space.operands.extend(taps.iter().map(operand));
        &space.operands
    }
}

/// Splits an op between the workers: by panels, so that each core reads its own part of the
/// weights only; by rows where that balances better and there are many.
fn partition(
    worker: Worker<'_>,
    panels: usize,
    granule: usize,
    rows: usize,
) -> (Range<usize>, Range<usize>) {
    const MANY_ROWS: usize = 32;
    if (panels / granule).is_multiple_of(worker.count) || rows < MANY_ROWS * worker.count {
        (worker.partition(panels, granule), 0..rows)
    } else {
        (0..panels, worker.partition(rows, 1))
    }
}
