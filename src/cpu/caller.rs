//! What runs are made for: sampling a request, and recording the parameters of given images.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::executor::{At, Caller};
use crate::backend::{
    BackendError, Evaluation, Hooks, Images, PixelPosition, SampleRequest, check_values,
};
use crate::distribution::Philox;
use crate::network::{Graph, OutputDistribution};

/// Numbers that several workers write in disjoint places without a lock.
struct Numbers(Vec<AtomicU32>);

impl Numbers {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| AtomicU32::new(0)).collect())
    }

    fn set(&self, at: usize, values: &[f32]) {
        for (to, value) in self.0[at..].iter().zip(values) {
            to.store(value.to_bits(), Ordering::Relaxed);
        }
    }

    fn get(&self, at: usize, values: &mut [f32]) {
        for (to, value) in values.iter_mut().zip(&self.0[at..]) {
            *to = f32::from_bits(value.load(Ordering::Relaxed));
        }
    }

    fn into_vec(self) -> Vec<f32> {
        let bits = self.0.into_iter().map(AtomicU32::into_inner);
        bits.map(f32::from_bits).collect()
    }
}

/// Samples a request.
pub(super) struct Sampling<'a, 'h> {
    graph: &'a Graph,
    request: &'a SampleRequest,
    /// The values of the current row, `[image][column][channel]`.
    row: Numbers,
    /// The current stage, where a pixel source chooses.
    together: Option<Together>,
    /// Held by the worker that started the run.
    leader: Mutex<Leader<'a, 'h>>,
}

/// The parameters and the values of a stage of a pixel of all images.
struct Together {
    parameters: Numbers,
    values: Numbers,
}

/// What only one worker touches.
struct Leader<'a, 'h> {
    hooks: &'a mut Hooks<'h>,
    /// One row of values.
    row: Vec<f32>,
    /// All values, if they are kept.
    images: Option<Vec<f32>>,
    /// Of all images, where a pixel source chooses.
    parameters: Vec<f32>,
    values: Vec<f32>,
    error: Option<BackendError>,
}

impl<'a, 'h> Sampling<'a, 'h> {
    /// `keep` says whether [`Sampling::finish`] is to return the images.
    pub fn new(
        graph: &'a Graph,
        request: &'a SampleRequest,
        hooks: &'a mut Hooks<'h>,
        keep: bool,
    ) -> Self {
        let batch = request.images.len();
        let row = batch * request.size.1 * graph.channels();
        let per_stage = hooks.pixel_source.is_some().then(|| {
            let output = &graph.output;
            (batch * output.parameters(), batch * output.channels())
        });
        let (parameters, values) = per_stage.unwrap_or_default();
        Self {
            graph,
            request,
            row: Numbers::new(row),
            together: per_stage.map(|(parameters, values)| Together {
                parameters: Numbers::new(parameters),
                values: Numbers::new(values),
            }),
            leader: Mutex::new(Leader {
                hooks,
                row: vec![0.0; row],
                images: keep.then(|| vec![0.0; row * request.size.0]),
                parameters: vec![0.0; parameters],
                values: vec![0.0; values],
                error: None,
            }),
        }
    }

    /// The images, or why there are none; `done` says whether the run went on to the end.
    pub fn finish(self, done: bool) -> Result<Vec<f32>, BackendError> {
        let leader = self.leader.into_inner();
        let leader = leader.unwrap_or_else(PoisonError::into_inner);
        match (leader.error, done) {
            (Some(error), _) => Err(error),
            (None, false) => Err(BackendError::Cancelled),
            (None, true) => Ok(leader.images.unwrap_or_default()),
        }
    }

    fn leader(&self) -> MutexGuard<'_, Leader<'a, 'h>> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills in the values of a stage that the request gives; returns whether it does.
    fn prefix(&self, at: At, values: &mut [f32]) -> bool {
        let pixel = at.row * self.request.size.1 + at.column;
        let channels = &self.graph.stages[at.stage].channels;
        let first = pixel * self.graph.channels();
        let prefix = &self.request.images[at.image].prefix;
        for (channel, value) in channels.clone().zip(values) {
            match prefix.value(first + channel, &self.graph.input) {
                Some(given) => *value = given,
                None => return false,
            }
        }
        true
    }
}

impl Caller for Sampling<'_, '_> {
    fn draw(&self, at: At, parameters: &[f32], values: &mut [f32]) {
        let (graph, request) = (self.graph, self.request);
        let channels = &graph.stages[at.stage].channels;
        if !self.prefix(at, values) {
            match &self.together {
                Some(together) => together.values.get(at.image * values.len(), values),
                None => {
                    let pixel = (at.row * request.size.1 + at.column) as u32;
                    let philox = Philox::new(request.seed, request.images[at.image].index, pixel);
                    let draws = philox.draws(at.stage * graph.output.draws());
                    let (input, sampler) = (&graph.input, &request.sampler);
                    graph
                        .output
                        .sample(parameters, draws, sampler, input, values);
                    let mixture = matches!(graph.output, OutputDistribution::LogisticMixture(_));
                    if mixture && !request.continuous {
                        for value in &mut *values {
                            *value = input.value(input.code(*value));
                        }
                    }
                }
            }
        }
        let column = at.image * request.size.1 + at.column;
        self.row
            .set(column * graph.channels() + channels.start, values);
    }

    fn draws_together(&self) -> bool {
        self.together.is_some()
    }

    fn gather(&self, at: At, parameters: &[f32]) {
        if let Some(together) = &self.together {
            together
                .parameters
                .set(at.image * parameters.len(), parameters);
        }
    }

    fn draw_together(&self, row: usize, column: usize, stage: usize) -> bool {
        let Some(together) = &self.together else {
            return true;
        };
        let mut leader = self.leader();
        let Leader {
            hooks,
            parameters,
            values,
            error,
            ..
        } = &mut *leader;
        let Some(source) = &mut hooks.pixel_source else {
            return true;
        };
        let position = PixelPosition { row, column, stage };
        let first = (row * self.request.size.1 + column) * self.graph.channels();
        let given = |image: usize| self.request.images[image].prefix.len() > first;
        if (0..self.request.images.len()).all(given) {
            return true;
        }
        together.parameters.get(0, parameters);
        let check = |values: &[f32]| {
            // What is chosen for the pixels of a prefix is not used.
            let of_images = values.chunks(self.graph.output.channels()).enumerate();
            let mut used = of_images.filter(|&(image, _)| !given(image));
            used.try_for_each(|(_, values)| check_values(&self.graph.input, values, position))
        };
        let chosen = source.choose(position, parameters, values);
        match chosen.and_then(|()| check(values)) {
            Ok(()) => {
                together.values.set(0, values);
                true
            }
            Err(failed) => {
                *error = Some(failed);
                false
            }
        }
    }

    fn rows_done(&self, row: usize) -> bool {
        let mut leader = self.leader();
        let Leader {
            hooks,
            row: values,
            images,
            ..
        } = &mut *leader;
        let (height, width) = self.request.size;
        if let Some(done) = row.checked_sub(1) {
            self.row.get(0, values);
            hooks.row(done, values);
            if let Some(images) = images {
                let length = width * self.graph.channels();
                let rows = images.chunks_mut(length).skip(done).step_by(height);
                for (to, from) in rows.zip(values.chunks(length)) {
                    to.copy_from_slice(from);
                }
            }
        }
        hooks.report(row * width, height * width);
        row == height || !hooks.cancelled()
    }
}

/// Records the parameters of some of the given images.
pub(super) struct Recording<'a> {
    graph: &'a Graph,
    given: Images<'a>,
    images: Range<usize>,
    cancel: Option<&'a AtomicBool>,
    /// `[image][row][column][stage][parameter]`.
    parameters: Numbers,
}

impl<'a> Recording<'a> {
    pub fn new(
        graph: &'a Graph,
        given: Images<'a>,
        images: Range<usize>,
        cancel: Option<&'a AtomicBool>,
    ) -> Self {
        let (height, width) = given.size();
        let pixels = images.len() * height * width;
        Self {
            graph,
            given,
            images,
            cancel,
            parameters: Numbers::new(pixels * graph.parameters()),
        }
    }

    /// The index of a pixel among those recorded.
    fn pixel(&self, at: At) -> usize {
        let (height, width) = self.given.size();
        (at.image * height + at.row) * width + at.column
    }

    /// The given values of a recorded pixel.
    fn given(&self, pixel: usize) -> impl Iterator<Item = f32> {
        let [_, height, width, channels] = self.given.shape();
        let first = (self.images.start * height * width + pixel) * channels;
        (first..first + channels).map(|index| self.given.value(index, &self.graph.input))
    }

    /// The given values of a stage of a pixel.
    pub fn values(&self, at: At, values: &mut [f32]) {
        let first = self.graph.stages[at.stage].channels.start;
        let given = self.given(self.pixel(at)).skip(first);
        for (value, given) in values.iter_mut().zip(given) {
            *value = given;
        }
    }

    /// Takes the parameters of a stage of a pixel.
    pub fn record(&self, at: At, parameters: &[f32]) {
        let stages = self.graph.stages.len();
        let place = self.pixel(at) * stages + at.stage;
        self.parameters.set(place * parameters.len(), parameters);
    }

    /// What was recorded.
    pub fn finish(mut self, likelihoods: bool) -> Evaluation {
        let parameters = std::mem::replace(&mut self.parameters, Numbers::new(0)).into_vec();
        let mut nats = Vec::new();
        if likelihoods {
            let mut values = Vec::with_capacity(self.graph.channels());
            let pixels = parameters.chunks(self.graph.parameters()).enumerate();
            nats.extend(pixels.map(|(pixel, parameters)| {
                values.clear();
                values.extend(self.given(pixel));
                self.graph.log_likelihood(parameters, &values)
            }));
        }
        Evaluation { parameters, nats }
    }
}

impl Caller for Recording<'_> {
    fn draw(&self, at: At, parameters: &[f32], values: &mut [f32]) {
        self.record(at, parameters);
        self.values(at, values);
    }

    fn rows_done(&self, _row: usize) -> bool {
        !self
            .cancel
            .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}
