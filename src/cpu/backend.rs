//! The CPU backend: a packed network and a pool of threads.

use half::bf16;

use super::caller::{Recording, Sampling};
use super::condition::Conditions;
use super::element::WideBf16;
use super::executor::{At, Caller, Run, rows_of_given, rows_of_naive};
use super::gemm::Gemm;
use super::isa::{Isa, IsaError};
use super::packed::PackedNetwork;
use super::profile::ProfileClock;
use super::storage::Storage;
use super::thread_pool::ThreadPool;
use crate::backend::{
    Backend, BackendError, Evaluation, EvaluationMode, EvaluationRequest, Hooks, ImageRequest,
    SampleRequest,
};
use crate::network::layout::{Extent, Shape, in_row_blocks};
use crate::network::{Dtype, Graph, Network};

/// Images whose activations are held whole at the same time: few, so that they stay in the caches
/// of the processor (16 at once take 1.7 times as long per image at the shape of the published
/// CIFAR model).
pub const WHOLE_IMAGES: usize = 4;

/// Given images that go through cached evaluation together.
const CACHED_IMAGES: usize = 16;

/// How the CPU backend is set up.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub(crate) struct CpuOptions {
    /// Threads; all cores when `None`.
    pub threads: Option<usize>,
    /// Instruction set of the inner loops; the best one when `None`, or what the variable
    /// `FASTPIX_CPU_FEATURES` names.
    pub isa: Option<Isa>,
    /// What weights and activations are stored as: f32 or bf16.
    pub dtype: Dtype,
}

/// A network ready on the CPU.
#[derive(Debug)]
pub(crate) struct CpuBackend {
    pool: ThreadPool,
    /// Whether fewer threads may be used where more would not help: nobody has asked for this many.
    chooses_threads: bool,
    isa: Isa,
    model: Model,
}

#[derive(Debug)]
enum Model {
    F32(PackedNetwork<f32>),
    Bf16(PackedNetwork<bf16>),
    /// bf16 where there are no instructions for it.
    WideBf16(PackedNetwork<WideBf16>),
}

impl From<IsaError> for BackendError {
    fn from(error: IsaError) -> Self {
        Self::Device(Box::new(error))
    }
}

/// Does the same with the model in whichever type it is.
macro_rules! with_model {
    ($self:ident, $model:ident => $what:expr) => {
        match &$self.model {
            Model::F32($model) => $what,
            Model::Bf16($model) => $what,
            Model::WideBf16($model) => $what,
        }
    };
}

impl CpuBackend {
    /// Packs the weights of a network and starts the threads.
    ///
    /// # Errors
    /// If this machine lacks the instruction set, or the CPU does not compute in the dtype.
    pub fn new(network: &Network, options: &CpuOptions) -> Result<Self, BackendError> {
        let isa = match options.isa {
            Some(isa) => Isa::from_name(isa.name())?,
            None => Isa::detect()?,
        };
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or_else(available);
        let mut backend = Self::with_isa(network, isa, threads, options.dtype)?;
        backend.chooses_threads = options.threads.is_none();
        Ok(backend)
    }

    /// A backend for an instruction set that this machine must have.
    ///
    /// # Errors
    /// If the CPU does not compute in the dtype.
    pub(super) fn with_isa(
        network: &Network,
        isa: Isa,
        threads: usize,
        dtype: Dtype,
    ) -> Result<Self, BackendError> {
        let model = match dtype {
            Dtype::F32 => Model::F32(PackedNetwork::new(network, isa)),
            Dtype::Bf16 if isa.computes_in_bf16() => Model::Bf16(PackedNetwork::new(network, isa)),
            Dtype::Bf16 => Model::WideBf16(PackedNetwork::new(network, isa)),
            found @ Dtype::F16 => {
                return Err(BackendError::Unsupported {
                    backend: "cpu",
                    what: "precision",
                    expected: "f32 or bf16".into(),
                    found: found.to_string(),
                });
            }
        };
        Ok(Self {
            pool: ThreadPool::new(threads),
            chooses_threads: false,
            isa,
            model,
        })
    }

    /// Cached evaluation, on as many threads as have something to do.
    fn cached<E: Gemm>(&self, run: &Run<'_, E>, caller: &dyn Caller) -> bool {
        let (graph, shape) = (&run.model.graph, run.storage.shape);
        let sequences = in_row_blocks(graph, shape);
        let threads = match sequences {
            true => self.pool.size().min(shape.batch),
            false if self.chooses_threads && is_little_work(graph, shape.batch) => 1,
            false => self.pool.size(),
        };
        let own = (threads < self.pool.size()).then(|| ThreadPool::new(threads));
        let pool = own.as_ref().unwrap_or(&self.pool);
        match sequences {
            true => run.sequences(pool, caller),
            false => run.cached(pool, caller),
        }
    }

    fn sample_with<E: Gemm>(
        &self,
        model: &PackedNetwork<E>,
        request: &SampleRequest,
        hooks: &mut Hooks<'_>,
        keep: bool,
        clock: Option<&ProfileClock>,
    ) -> Result<Vec<f32>, BackendError> {
        let shape = shape(request.size, request.images.len());
        let naive = request.mode == EvaluationMode::WholeImage;
        let together = hooks.row_done.is_some() || hooks.pixel_source.is_some();
        if naive && !together && shape.batch > WHOLE_IMAGES {
            return self.sample_in_groups(model, request, hooks, clock);
        }
        let extent = if naive {
            Extent::WholeImage
        } else {
            Extent::Rings
        };
        let sequences = in_row_blocks(&model.graph, shape);
        let held = match naive && sequences {
            true => rows_of_naive(&model.graph, shape.height),
            false => shape.height,
        };
        let held = Shape {
            height: held,
            ..shape
        };
        let storage = Storage::new(model, held, extent, self.pool.size());
        let images = request.images.iter();
        let maps = images.clone().filter_map(|image| image.map.clone());
        let given = images.map(ImageRequest::given);
        let conditions = Conditions::new(model, given, maps.collect());
        let run = Run {
            model,
            storage: &storage,
            conditions: &conditions,
            clock,
        };
        let sampling = Sampling::new(&model.graph, request, hooks, keep);
        let done = match request.mode {
            EvaluationMode::Cached => self.cached(&run, &sampling),
            EvaluationMode::WholeImage if sequences => {
                run.naive_sequences(&self.pool, shape.height, &sampling)
            }
            EvaluationMode::WholeImage => run.naive(&self.pool, &sampling),
        };
        sampling.finish(done)
    }

    /// Naive generation of many images, a few at a time.
    fn sample_in_groups<E: Gemm>(
        &self,
        model: &PackedNetwork<E>,
        request: &SampleRequest,
        hooks: &mut Hooks<'_>,
        clock: Option<&ProfileClock>,
    ) -> Result<Vec<f32>, BackendError> {
        let groups = request.images.len().div_ceil(WHOLE_IMAGES);
        let mut values = Vec::new();
        for (index, images) in request.images.chunks(WHOLE_IMAGES).enumerate() {
            let group = SampleRequest {
                images: images.to_vec(),
                ..request.clone()
            };
            let cancel = hooks.cancel;
            let mut progress = |done: usize, total: usize| {
                hooks.report((index * total + done) / groups, total);
            };
            let mut hooks = Hooks::new().progress(&mut progress);
            hooks.cancel = cancel;
            values.extend(self.sample_with(model, &group, &mut hooks, true, clock)?);
        }
        Ok(values)
    }

    fn sample_any(
        &self,
        request: &SampleRequest,
        hooks: &mut Hooks<'_>,
        keep: bool,
    ) -> Result<Vec<f32>, BackendError> {
        let clock = hooks.profile.is_some().then(ProfileClock::default);
        let values = with_model!(self, model => {
            self.sample_with(model, request, hooks, keep, clock.as_ref())?
        });
        if let (Some(profile), Some(clock)) = (&mut hooks.profile, clock) {
            **profile = clock.profile();
        }
        Ok(values)
    }

    fn evaluate_with<E: Gemm>(
        &self,
        model: &PackedNetwork<E>,
        request: &EvaluationRequest<'_>,
        hooks: &mut Hooks<'_>,
        sink: &mut dyn FnMut(Evaluation),
    ) -> Result<(), BackendError> {
        let count = request.images.shape()[0];
        let (extent, at_once) = match request.mode {
            EvaluationMode::Cached => (Extent::Rings, CACHED_IMAGES),
            EvaluationMode::WholeImage => (Extent::WholeImage, WHOLE_IMAGES),
        };
        let mut kept: Option<Storage<E>> = None;
        for first in (0..count).step_by(at_once) {
            if hooks.cancelled() {
                return Err(BackendError::Cancelled);
            }
            let shape = shape(request.images.size(), at_once.min(count - first));
            let images = first..first + shape.batch;
            let maps = request.maps.get(images.clone()).unwrap_or_default();
            let given = images.clone().map(|image| request.given(image));
            let channels = model.graph.channels();
            let preceding = images.start * channels..images.end * channels;
            let preceding = request.preceding.get(preceding).unwrap_or_default();
            let conditions = Conditions::new(model, given, maps.to_vec()).after(preceding);
            let sequences = in_row_blocks(&model.graph, shape);
            let held = match sequences && extent == Extent::WholeImage {
                true => rows_of_given(shape.height),
                false => shape.height,
            };
            let held = Shape {
                height: held,
                ..shape
            };
            // Whole images overwrite all that the ones before left; rings must start from zeros.
            let keep = extent == Extent::WholeImage && held == shape;
            let storage = match kept.take() {
                Some(storage) if keep && storage.shape == held => storage,
                _ => Storage::new(model, held, extent, self.pool.size()),
            };
            let run = Run {
                model,
                storage: &storage,
                conditions: &conditions,
                clock: None,
            };
            let recording = Recording::new(&model.graph, request.images, images, hooks.cancel);
            match request.mode {
                EvaluationMode::Cached => {
                    if !self.cached(&run, &recording) {
                        return Err(BackendError::Cancelled);
                    }
                }
                EvaluationMode::WholeImage => {
                    let values = |at: At, values: &mut [f32]| recording.values(at, values);
                    let record = |at: At, parameters: &[f32]| recording.record(at, parameters);
                    if !sequences {
                        run.whole_image(&self.pool, &values, &record);
                    } else if !run.given_sequences(
                        &self.pool,
                        shape.height,
                        &values,
                        &record,
                        &|| recording.rows_done(0),
                    ) {
                        return Err(BackendError::Cancelled);
                    }
                }
            }
            kept = Some(storage);
            sink(recording.finish(request.likelihoods));
            hooks.report(first + shape.batch, count);
        }
        Ok(())
    }
}

impl Backend for CpuBackend {
    fn describe(&self) -> String {
        let threads = self.pool.size();
        let plural = if threads == 1 { "" } else { "s" };
        format!("cpu ({threads} thread{plural}, {})", self.isa.name())
    }

    fn weight_bytes(&self) -> usize {
        with_model!(self, model => model.bytes())
    }

    fn cache_bytes(&self, shape: Shape) -> usize {
        with_model!(self, model => Storage::bytes(model, shape, self.pool.size()))
    }

    fn sample(
        &self,
        request: &SampleRequest,
        hooks: &mut Hooks<'_>,
    ) -> Result<Vec<f32>, BackendError> {
        self.sample_any(request, hooks, true)
    }

    fn stream(&self, request: &SampleRequest, hooks: &mut Hooks<'_>) -> Result<(), BackendError> {
        self.sample_any(request, hooks, false).map(|_| ())
    }

    fn evaluate(
        &self,
        request: &EvaluationRequest<'_>,
        hooks: &mut Hooks<'_>,
        sink: &mut dyn FnMut(Evaluation),
    ) -> Result<(), BackendError> {
        with_model!(self, model => self.evaluate_with(model, request, hooks, sink))
    }
}

/// Whether the products of the pixel phase are so small that threads would spend their time on meeting:
/// an op of this size takes about a microsecond, and so does a barrier on a machine that does other
/// things too.
fn is_little_work(graph: &Graph, batch: usize) -> bool {
    const LITTLE: u64 = 1 << 15;
    let ops = graph.ops().iter();
    let ops = ops.filter(|op| !op.complete_in_row_phase).count().max(1);
    graph.pixel_phase_weights() / (ops as u64) < LITTLE / batch.max(1) as u64
}

fn shape((height, width): (usize, usize), batch: usize) -> Shape {
    Shape {
        height,
        width,
        batch,
    }
}
