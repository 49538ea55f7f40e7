//! Walks a network's schedule: whole-image, cached and naive evaluation, all by the same products
//! in the same summation order, so all three give the same bits.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::condition::Conditions;
use super::epilogue::Epilogue;
use super::gemm::{Gemm, PANEL, Upcoming, accumulate};
use super::input::{push, push_channels};
use super::packed::{PackedNetwork, Scheduled};
use super::profile::{Lap, ProfileClock, Stopwatch};
use super::rows::Rows;
use super::storage::{RowRing, Storage};
use super::thread_pool::{ThreadPool, Worker};
use crate::network::{Activation, Destination, Op, OpId, Tap};

/// A stage of a pixel of an image of the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub image: usize,
    pub row: usize,
    pub column: usize,
    pub stage: usize,
}

/// What a run asks of its caller.
pub(super) trait Caller: Sync {
    /// Gives the values of a stage of a pixel, one per channel of the stage, from its parameters.
    /// Called from several workers, for different images.
    fn draw(&self, at: At, parameters: &[f32], values: &mut [f32]);

    /// Whether [`Caller::draw`] first needs [`Caller::gather`] to have seen all images.
    fn draws_together(&self) -> bool {
        false
    }

    /// Is told the parameters of every image, by any worker; then [`Caller::draw_together`] is
    /// called once, by the worker that started the run, then [`Caller::draw`] for every image.
    fn gather(&self, _at: At, _parameters: &[f32]) {}

    /// See [`Caller::gather`]. Returns whether to go on.
    fn draw_together(&self, _row: usize, _column: usize, _stage: usize) -> bool {
        true
    }

    /// Is told that rows up to `row` (exclusive) are complete, before the next one starts and after
    /// the last, by the worker that started the run. Returns whether to go on.
    fn rows_done(&self, row: usize) -> bool;
}

/// Receives the parameters of a stage of a pixel, from several workers.
pub(super) type TakeParameters<'a> = dyn Fn(At, &[f32]) + Sync + 'a;

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

/// One batch in progress.
pub(super) struct Run<'a, E> {
    pub model: &'a PackedNetwork<E>,
    pub storage: &'a Storage<E>,
    /// Those of the images of the batch.
    pub conditions: &'a Conditions,
    /// Where the time goes, if anyone wants to know.
    pub clock: Option<&'a ProfileClock>,
}

/// What a worker works with, made before the first row.
pub(super) struct Workspace<E> {
    /// Operands of the taps of an op.
    pub operands: Vec<Rows<E>>,
    /// Values of a stage of a pixel.
    pub values: Vec<f32>,
    /// The same as channels of the input, or those of the map, padded to whole panels.
    encoded: Vec<f32>,
    /// Rows of the map.
    map: Vec<f32>,
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

    pub(super) fn workspace(&self) -> Workspace<E> {
        let graph = &self.model.graph;
        let values = graph.output.channels();
        let map = graph.map_channels().unwrap_or(0);
        let channels = graph.input.channels(values).max(map);
        Workspace {
            operands: Vec::with_capacity(self.model.most_taps),
            values: vec![0.0; values],
            encoded: vec![0.0; channels.next_multiple_of(PANEL)],
            map: Vec::new(),
        }
    }

    /// Only one worker looks at the time.
    pub(super) fn stopwatch(&self, worker: Worker<'_>) -> Stopwatch<'_> {
        Stopwatch::start(self.clock.filter(|_| worker.index == 0))
    }

    pub(super) fn meet(&self, worker: Worker<'_>, scheduled: Scheduled) {
        if scheduled.barrier {
            worker.barrier();
        }
    }

    /// One worker decides for all whether to stop.
    pub(super) fn stop_at(
        &self,
        worker: Worker<'_>,
        stop: &AtomicBool,
        row: usize,
        caller: &dyn Caller,
    ) -> bool {
        if worker.index == 0 && !caller.rows_done(row) {
            stop.store(true, Ordering::Relaxed);
        }
        worker.barrier();
        stop.load(Ordering::Relaxed)
    }

    /// The parameters of a stage of a pixel of an image.
    pub(super) fn parameters(&self, at: At, (row, column): (usize, usize)) -> &[f32] {
        let ring = &self.storage.parameters[at.stage];
        let rows = ring.rows(row as isize, column as isize, 1);
        // SAFETY: the parameters of this pixel are complete (a barrier lies between) and there are
        // as many as the distribution has per image of the batch.
        unsafe {
            std::slice::from_raw_parts(rows.row(at.image), self.model.graph.output.parameters())
        }
    }

    /// Draws the values of a stage of a pixel of this worker's images and pushes them into the input.
    /// Returns false when the run stops.
    pub(super) fn draw(
        &self,
        worker: Worker<'_>,
        space: &mut Workspace<E>,
        pixel: (usize, usize, usize),
        parameters_at: (usize, usize),
        stop: &AtomicBool,
        caller: &dyn Caller,
    ) -> bool {
        let push = |space: &mut Workspace<E>, at| self.push(space, at);
        self.draw_and(worker, space, pixel, parameters_at, (stop, caller), push)
    }

    /// Draws the values of a stage of a pixel of this worker's images into the workspace; `then` is
    /// called after each. Returns false when the run stops.
    pub(super) fn draw_and(
        &self,
        worker: Worker<'_>,
        space: &mut Workspace<E>,
        (row, column, stage): (usize, usize, usize),
        parameters_at: (usize, usize),
        (stop, caller): (&AtomicBool, &dyn Caller),
        mut then: impl FnMut(&mut Workspace<E>, At),
    ) -> bool {
        let images = worker.partition(self.storage.shape.batch, 1);
        let of = |image: usize| At {
            image,
            row,
            column,
            stage,
        };
        if caller.draws_together() {
            for image in images.clone() {
                caller.gather(of(image), self.parameters(of(image), parameters_at));
            }
            worker.barrier();
            if worker.index == 0 && !caller.draw_together(row, column, stage) {
                stop.store(true, Ordering::Relaxed);
            }
            worker.barrier();
            if stop.load(Ordering::Relaxed) {
                return false;
            }
        }
        let channels = self.model.graph.stages[stage].channels.len();
        for image in images {
            let parameters = self.parameters(of(image), parameters_at);
            caller.draw(of(image), parameters, &mut space.values[..channels]);
            then(space, of(image));
        }
        true
    }

    /// Writes rows of the maps of this worker's images into the network's map, if it has one, from its
    /// row `to` on.
    pub(super) fn push_map(
        &self,
        worker: Worker<'_>,
        space: &mut Workspace<E>,
        rows: Range<usize>,
        to: usize,
    ) {
        let Some(map) = self.model.graph.map else {
            return;
        };
        let channels = self.model.graph.tensors[map].channels;
        let rings = self.storage.operands(map);
        let width = self.storage.shape.width;
        for image in worker.partition(self.storage.shape.batch, 1) {
            space.map.resize(rows.len() * width * channels, 0.0);
            self.conditions.maps[image].rows(rows.clone(), &mut space.map);
            for (position, values) in space.map.chunks(channels).enumerate() {
                let (row, column) = (to + position / width, position % width);
                space.encoded[..channels].copy_from_slice(values);
                let to = rings.each_ref().map(|ring| {
                    let row = ring.as_ref()?.rows(row as isize, column as isize, 1);
                    Some(Rows {
                        // SAFETY: the ring has a row per image of the batch.
                        base: unsafe { row.row(image) },
                        ..row
                    })
                });
                // SAFETY: the ring's rows hold the map's channels, and only this worker writes this
                // image's until the next barrier.
                unsafe { push_channels(self.model, channels, &mut space.encoded, to) }
            }
        }
    }

    /// Writes the values in the workspace into the input of a stage.
    pub(super) fn push(&self, space: &mut Workspace<E>, at: At) {
        let input = self.model.graph.stages[at.stage].input;
        let rings = self.storage.operands(input);
        // SAFETY: the ring's rows hold the input's channels, and only this worker writes this
        // image's pixels until the next barrier.
        unsafe {
            push(
                self.model,
                &space.values,
                &mut space.encoded,
                rings.each_ref().map(|ring| {
                    let row = ring.as_ref()?.rows(at.row as isize, at.column as isize, 1);
                    Some(Rows {
                        base: row.row(at.image),
                        ..row
                    })
                }),
            );
        }
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

    /// What becomes of an op's outputs from a column of its grid on; nothing of parameters.
    pub(super) fn epilogue(&self, op: &Op, row: usize, column: usize) -> Option<Epilogue<E>> {
        let Destination::Tensor {
            tensor,
            step,
            offset,
        } = op.destination
        else {
            return None;
        };
        let row = (row * step[0] + offset[0]) as isize;
        let column = (column * step[1] + offset[1]) as isize;
        let residual = |tensor: usize| {
            let ring = self.storage.residual(tensor)?;
            Some(ring.rows(row, column, step[1]))
        };
        let mut to_operands = [None; Activation::COUNT];
        for (to, ring) in to_operands.iter_mut().zip(self.storage.operands(tensor)) {
            *to = ring.as_ref().map(|ring| ring.rows(row, column, step[1]));
        }
        Some(Epilogue {
            gate: op.epilogue.gate,
            residual: op.epilogue.residual.and_then(residual),
            to_residual: residual(tensor),
            scale: op.epilogue.scale,
            to_operands,
        })
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

    /// Starts sums from the bias, the class term included.
    ///
    /// # Safety
    /// `acc` must address `rows` rows of the op's outputs that no other thread touches.
    pub(super) unsafe fn start(
        &self,
        panels: &Range<usize>,
        rows: &Range<usize>,
        id: OpId,
        acc: Rows<f32>,
    ) {
        let outputs = panels.start * PANEL..panels.end * PANEL;
        for row in rows.clone() {
            let image = row % self.storage.shape.batch;
            let bias = &self.conditions.bias(self.model, id, image)[outputs.clone()];
            // SAFETY: the caller vouches for the row.
            unsafe {
                let to = acc.row(row).add(outputs.start);
                std::ptr::copy_nonoverlapping(bias.as_ptr(), to, bias.len());
            }
        }
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
            let ring = self.storage.operands(tap.source)[tap.activation as usize].as_ref();
            // `GraphBuilder` derives a ring from every tap.
            ring.map(|ring| {
                let at =
                    |grid: usize, axis: usize| (grid * tap.step[axis]) as isize + tap.offset[axis];
                RowRing::rows(ring, at(row, 0), at(column, 1), tap.step[1])
            })
        };
        space.operands.extend(taps.iter().filter_map(operand));
        assert_eq!(space.operands.len(), taps.len(), "every tap has a ring");
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
