//! Walks a network's schedule: whole-image, cached and naive evaluation, all by the same products
//! in the same summation order, so all three give the same bits. Here is what they have in common.

mod chunk;
mod image;
mod sequence;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) use chunk::{rows_of_given, rows_of_naive};

use crate::cpu::condition::Conditions;
use crate::cpu::epilogue::Epilogue;
use crate::cpu::gemm::{Gemm, PANEL};
use crate::cpu::input::{push, push_channels};
use crate::cpu::packed::{PackedNetwork, Scheduled};
use crate::cpu::profile::{ProfileClock, Stopwatch};
use crate::cpu::rows::Rows;
use crate::cpu::storage::{RowRing, Storage};
use crate::cpu::thread_pool::Worker;
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
    fn workspace(&self) -> Workspace<E> {
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
    fn stopwatch(&self, worker: Worker<'_>) -> Stopwatch<'_> {
        Stopwatch::start(self.clock.filter(|_| worker.index == 0))
    }

    fn meet(&self, worker: Worker<'_>, scheduled: Scheduled) {
        if scheduled.barrier {
            worker.barrier();
        }
    }

    /// One worker decides for all whether to stop.
    fn stop_at(
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

    /// The ring in which a tap's source lies under its activation.
    fn ring(&self, tap: &Tap) -> &RowRing<E> {
        let ring = &self.storage.operands(tap.source)[tap.activation as usize];
        // The storage is laid out for this graph, and `GraphBuilder` derives a ring from every tap.
        ring.as_ref().expect("every tap has a ring")
    }

    /// The parameters of a stage of a pixel of an image.
    fn parameters(&self, at: At, (row, column): (usize, usize)) -> &[f32] {
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
    fn draw(
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
    fn draw_and(
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
    fn push_map(
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

    /// Writes what comes before the first row of this worker's sequences, if anything does, into the
    /// inputs.
    fn push_preceding(&self, worker: Worker<'_>, space: &mut Workspace<E>) {
        let graph = &self.model.graph;
        let preceding = self.conditions.preceding.chunks(graph.channels());
        let images = worker.partition(self.storage.shape.batch, 1);
        for (image, values) in preceding.enumerate().skip(images.start).take(images.len()) {
            for (stage, described) in graph.stages.iter().enumerate() {
                let channels = described.channels.clone();
                space.values[..channels.len()].copy_from_slice(&values[channels]);
                self.push_at_row(space, (image, stage), -1, 0);
            }
        }
    }

    /// Writes the values in the workspace into the input of a stage.
    fn push(&self, space: &mut Workspace<E>, at: At) {
        self.push_at_row(space, (at.image, at.stage), at.row as isize, at.column);
    }

    /// [`Self::push`], also above the first row.
    fn push_at_row(
        &self,
        space: &mut Workspace<E>,
        (image, stage): (usize, usize),
        row: isize,
        column: usize,
    ) {
        let input = self.model.graph.stages[stage].input;
        let rings = self.storage.operands(input);
        // SAFETY: the ring's rows hold the input's channels, and only this worker writes this
        // image's pixels until the next barrier.
        unsafe {
            push(
                self.model,
                &space.values,
                &mut space.encoded,
                rings.each_ref().map(|ring| {
                    let row = ring.as_ref()?.rows(row, column as isize, 1);
                    Some(Rows {
                        base: row.row(image),
                        ..row
                    })
                }),
            );
        }
    }

    /// What becomes of an op's outputs from a column of its grid on; nothing of parameters.
    fn epilogue(&self, op: &Op, row: usize, column: usize) -> Option<Epilogue<E>> {
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

    /// Starts sums from the bias, the class term included.
    ///
    /// # Safety
    /// `acc` must address `rows` rows of the op's outputs that no other thread touches.
    unsafe fn start(&self, panels: &Range<usize>, rows: &Range<usize>, id: OpId, acc: Rows<f32>) {
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
}
