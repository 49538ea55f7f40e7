//! Walks the plan: whole-image forward, cached and naive generation, all by the same products in
//! the same summation order, so all three give the same bits.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::epilogue::{Destination, finish};
use super::gemm::{PANEL, Upcoming, accumulate, accumulate_then};
use super::packed::{PackedModel, Scheduled};
use super::profile::{Lap, ProfileClock, Stopwatch};
use super::rows::{Element, Rows};
use super::storage::{Plane, Storage};
use super::thread_pool::{ThreadPool, Worker};
use crate::engine::Control;
use crate::model::{Epilogue, Form, Phase, Step, StepId, Term};

/// Chooses the value of a pixel: (image of the batch, row, column, its mixture parameters) to
/// values in `[-1, 1]`. Called from several threads, for different images.
pub(super) type NextPixel<'a> = dyn Fn(usize, usize, usize, &[f32]) -> [f32; 3] + Sync + 'a;

/// Receives the mixture parameters of a pixel: (image of the batch, row, column, parameters).
pub(super) type TakeParams<'a> = dyn Fn(usize, usize, usize, &[f32]) + Sync + 'a;

/// Which terms of a step are summed, and whether the result is finished.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Row-phase terms; the sums stay partial unless there are no others.
    Row,
    /// The rest, on top of the partial sums.
    Pixel,
    /// All of them, partial sums staying in scratch.
    Whole,
}

/// One batch in progress.
pub(super) struct Run<'a, E> {
    pub model: &'a PackedModel<E>,
    pub storage: &'a Storage<E>,
    /// The class of each image of the batch (0 if unconditional).
    pub classes: &'a [usize],
    pub control: &'a Control<'a>,
    /// Where the time goes, if anyone wants to know.
    pub clock: Option<&'a ProfileClock>,
    pub channels: usize,
    pub params_per_pixel: usize,
}

impl<E: Element> Run<'_, E> {
    /// Cached generation. Returns false if cancelled.
    pub fn cached(&self, pool: &ThreadPool, next: &NextPixel<'_>) -> bool {
        let stop = AtomicBool::new(false);
        let (height, width) = (self.storage.height, self.storage.width);
        pool.run(|worker| {
            let mut watch = self.stopwatch(worker);
            for row in 0..height {
                if self.stop_at(worker, &stop, row) {
                    return;
                }
                for &scheduled in &self.model.row_phase[row % 4] {
                    self.meet(worker, scheduled);
                    let step = &self.model.plan.steps[scheduled.step];
                    let grid_row = (row >> step.output_level()) / step.output_step;
                    let columns = 0..width >> step.level;
                    self.step(worker, scheduled.step, (grid_row, columns), Part::Row, None);
                }
                worker.barrier();
                watch.lap(Lap::Row);
                for column in 0..width {
                    self.pixel(worker, row, column);
                    worker.barrier();
                    watch.lap(Lap::Pixel);
                    self.choose(worker, row, column, (0, 0), next);
                    worker.barrier();
                    watch.lap(Lap::Sampling);
                }
            }
        });
        !stop.load(Ordering::Relaxed)
    }

    /// The pixel phase up to the mixture parameters.
    fn pixel(&self, worker: Worker<'_>, row: usize, column: usize) {
        let levels = crate::model::Plan::active_levels(row, column);
        let steps = &self.model.pixel_phase[levels - 1];
        for (index, &scheduled) in steps.iter().enumerate() {
            self.meet(worker, scheduled);
            let level = self.model.plan.steps[scheduled.step].level;
            let at = column >> level;
            let place = (row >> level, at..at + 1);
            let next = steps.get(index + 1).map(|next| next.step);
            self.step(worker, scheduled.step, place, Part::Pixel, next);
        }
    }

    /// Naive generation: a whole-image evaluation per pixel. Returns false if cancelled.
    pub fn naive(&self, pool: &ThreadPool, next: &NextPixel<'_>) -> bool {
        let stop = AtomicBool::new(false);
        pool.run(|worker| {
            let mut watch = self.stopwatch(worker);
            for row in 0..self.storage.height {
                for column in 0..self.storage.width {
                    if self.stop_at(worker, &stop, row) {
                        return;
                    }
                    self.whole_image(worker);
                    watch.lap(Lap::Pixel);
                    self.choose(worker, row, column, (row, column), next);
                    worker.barrier();
                    watch.lap(Lap::Sampling);
                }
            }
        });
        !stop.load(Ordering::Relaxed)
    }

    /// Evaluates the network on the image in storage and hands the mixture parameters of every
    /// pixel to `take`.
    pub fn forward(&self, pool: &ThreadPool, take: &TakeParams<'_>) {
        pool.run(|worker| {
            self.whole_image(worker);
            for row in 0..self.storage.height {
                for column in 0..self.storage.width {
                    self.each_image(worker, (row, column), |image, params| {
                        take(image, row, column, params);
                    });
                }
            }
        });
    }

    /// Runs every step on every row.
    fn whole_image(&self, worker: Worker<'_>) {
        worker.barrier();
        for &scheduled in &self.model.forward {
            self.meet(worker, scheduled);
            let level = self.model.plan.steps[scheduled.step].level;
            for row in 0..self.storage.height >> level {
                let columns = 0..self.storage.width >> level;
                self.step(worker, scheduled.step, (row, columns), Part::Whole, None);
            }
        }
        worker.barrier();
    }

    /// Only one thread looks at the time.
    fn stopwatch(&self, worker: Worker<'_>) -> Stopwatch<'_> {
        Stopwatch::start(self.clock.filter(|_| worker.index == 0))
    }

    fn meet(&self, worker: Worker<'_>, scheduled: Scheduled) {
        if scheduled.barrier {
            worker.barrier();
        }
    }

    /// One thread decides for all whether to stop; also reports progress.
    fn stop_at(&self, worker: Worker<'_>, stop: &AtomicBool, row: usize) -> bool {
        if worker.index == 0 {
            let pixels = self.storage.height * self.storage.width;
            self.control.report(row * self.storage.width, pixels);
            stop.store(self.control.cancelled(), Ordering::Relaxed);
        }
        worker.barrier();
        stop.load(Ordering::Relaxed)
    }

    /// Calls `visit` with the mixture parameters of this worker's images at a pixel.
    fn each_image(
        &self,
        worker: Worker<'_>,
        (row, column): (usize, usize),
        mut visit: impl FnMut(usize, &[f32]),
    ) {
        let rows = self.storage.params.rows(row as isize, column as isize, 1);
        for image in worker.share(self.storage.batch, 1) {
            // SAFETY: the parameters of this pixel are complete (a barrier lies between) and
            // hold `params_per_pixel` numbers per image of the batch.
            let params =
                unsafe { std::slice::from_raw_parts(rows.row(image), self.params_per_pixel) };
            visit(image, params);
        }
    }

    /// Lets `next` choose this worker's images' pixels and pushes them into the image's cache.
    fn choose(
        &self,
        worker: Worker<'_>,
        row: usize,
        column: usize,
        params_at: (usize, usize),
        next: &NextPixel<'_>,
    ) {
        self.each_image(worker, params_at, |image, params| {
            let pixel = next(image, row, column, params);
            self.set_pixel(image, row, column, pixel);
        });
    }

    /// Writes a pixel of the input image with its ones channel.
    pub fn set_pixel(&self, image: usize, row: usize, column: usize, pixel: [f32; 3]) {
        let Some(plane) = self.storage.operand(self.model.plan.image, Form::Plain) else {
            return;
        };
        let rows = plane.rows(row as isize, column as isize, 1);
        // SAFETY: the plane has `channels + 1` channels per pixel, and only this worker writes
        // this image's pixels until the next barrier.
        unsafe {
            let to = rows.row(image);
            for (channel, &value) in pixel[..self.channels].iter().enumerate() {
                *to.add(channel) = E::from_f32(value);
            }
            *to.add(self.channels) = E::from_f32(1.0);
        }
    }

    /// Computes this worker's share of a step for some columns of one row of its grid. The
    /// weights of the step that comes `next` in the pixel phase are fetched meanwhile.
    fn step(
        &self,
        worker: Worker<'_>,
        id: StepId,
        (row, columns): (usize, Range<usize>),
        part: Part,
        next: Option<StepId>,
    ) {
        let packed = &self.model.steps[id];
        let step = &self.model.plan.steps[id];
        let rows = columns.len() * self.storage.batch;
        let (panels, rows) = share(worker, packed.panels, packed.granule(), rows);
        if panels.is_empty() || rows.is_empty() {
            return;
        }
        let partial = self.storage.partials[id].as_ref();
        let acc = match (part, partial) {
            (Part::Row | Part::Pixel, Some(partial)) => partial.rows(0, columns.start as isize, 1),
            _ if step.to.is_none() => {
                let (row, column) = match part {
                    Part::Whole => (row, columns.start),
                    _ => (0, 0),
                };
                self.storage.params.rows(row as isize, column as isize, 1)
            }
            _ => self.storage.scratch[worker.index].rows(0, 0, 1),
        };
        // SAFETY: `acc` has one row of `acc_width` sums per column and image; operands and
        // results are rows of this storage, laid out for this model; workers write disjoint
        // panels or rows, and barriers separate them from the steps that read them.
        unsafe {
            let continues = part == Part::Pixel && packed.row.is_some();
            if !continues {
                self.start(&panels, &rows, id, acc);
            }
            if let (Part::Row | Part::Whole, Some(weights)) = (part, &packed.row) {
                let segments = self.segments(step, step.row_terms(), row, columns.start);
                let segments = &segments[..step.row_terms().len()];
                accumulate(
                    self.model.isa,
                    weights,
                    panels.clone(),
                    rows.clone(),
                    segments,
                    acc,
                );
            }
            if let (Part::Pixel | Part::Whole, Some(weights)) = (part, &packed.pixel) {
                let segments = self.segments(step, step.pixel_terms(), row, columns.start);
                let segments = &segments[..step.pixel_terms().len()];
                let then = next.and_then(|next| self.upcoming(worker, next));
                accumulate_then(
                    self.model.isa,
                    weights,
                    panels.clone(),
                    rows.clone(),
                    segments,
                    acc,
                    then,
                );
            }
            let finished = part != Part::Row || step.complete_in_row_phase();
            if let (true, Some(to)) = (finished, step.to) {
                let column = (columns.start * step.output_step + step.output_offset.1) as isize;
                let row_out = (row * step.output_step + step.output_offset.0) as isize;
                let at = |plane: Option<&Plane<E>>| {
                    plane.map(|plane| plane.rows(row_out, column, step.output_step))
                };
                let raw = |activation: usize| {
                    self.storage
                        .raw(activation)
                        .map(|plane| plane.rows(row_out, column, step.output_step))
                };
                let residual = match step.epilogue {
                    Epilogue::Gate { residual } => raw(residual),
                    _ => None,
                };
                let destination = Destination {
                    raw: raw(to),
                    operand: at(self.storage.operand(to, Form::Plain)),
                    elu: at(self.storage.operand(to, Form::Elu)),
                    concat_elu: at(self.storage.operand(to, Form::ConcatElu)),
                };
                finish(
                    self.model.isa,
                    packed.op,
                    packed.channels,
                    panels,
                    rows,
                    acc,
                    residual,
                    &destination,
                );
            }
        }
    }

    /// The first pixel-phase weights that this worker reads in a step.
    fn upcoming(&self, worker: Worker<'_>, id: StepId) -> Option<Upcoming> {
        let step = &self.model.steps[id];
        let (panels, _) = share(worker, step.panels, step.granule(), self.storage.batch);
        step.pixel
            .as_ref()
            .filter(|_| !panels.is_empty())
            .map(|weights| weights.upcoming(panels.start))
    }

    /// Starts sums from the bias, the class term included.
    ///
    /// # Safety
    /// `acc` must address `rows` rows of the step's accumulators that no other thread touches.
    unsafe fn start(&self, panels: &Range<usize>, rows: &Range<usize>, id: StepId, acc: Rows<f32>) {
        let sums = panels.start * PANEL..panels.end * PANEL;
        for row in rows.clone() {
            let class = self.classes[row % self.storage.batch];
            let bias = &self.model.steps[id].bias(class)[sums.clone()];
            // SAFETY: the caller vouches for the row.
            unsafe {
                let to = acc.row(row).add(sums.start);
                std::ptr::copy_nonoverlapping(bias.as_ptr(), to, bias.len());
            }
        }
    }

    /// The operands of terms at a grid row, from a grid column on.
    fn segments(
        &self,
        step: &Step,
        terms: &[Term],
        row: usize,
        column: usize,
    ) -> [Rows<E>; MAX_TERMS] {
        let nowhere = Rows {
            base: std::ptr::null_mut(),
            row_stride: 0,
            group: 1,
            group_stride: 0,
        };
        let mut segments = [nowhere; MAX_TERMS];
        for (segment, term) in segments.iter_mut().zip(terms) {
            if let Some(plane) = self.storage.operand(term.source, term.form) {
                let at = |grid: usize, offset: isize| (grid * step.input_step) as isize + offset;
                *segment = plane.rows(
                    at(row, term.row_offset),
                    at(column, term.column_offset),
                    step.input_step,
                );
            }
            debug_assert!(term.phase != Phase::Row || term.row_offset <= 0);
        }
        segments
    }
}

/// The most terms a step has in one phase: six taps and an aux input.
const MAX_TERMS: usize = 8;

/// Splits a step between the workers: by panels, so that each core reads its own part of the
/// weights only; by rows where that balances better and there are many.
fn share(
    worker: Worker<'_>,
    panels: usize,
    granule: usize,
    rows: usize,
) -> (Range<usize>, Range<usize>) {
    const MANY_ROWS: usize = 32;
    if (panels / granule).is_multiple_of(worker.count) || rows < MANY_ROWS * worker.count {
        (worker.share(panels, granule), 0..rows)
    } else {
        (0..panels, worker.share(rows, 1))
    }
}
