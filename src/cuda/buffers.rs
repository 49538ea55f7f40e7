//! Buffers of a batch on a device: caches, residuals, partial sums, the request and the images.
//!
//! Rows lie as on the CPU: `[slot][column][batch][channels]` with a zero column on either side; row
//! r in slot `(r + 1) % slots`. Nothing is ever moved: writing a row overwrites the oldest one.

use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits, sys};

use super::device::Device;
use super::error::{Context, CudaError};
use super::parameters;
use super::tiling::packed_width;
use crate::engine::Precision;
use crate::model::{Form, Hyperparameters, Plan, Step};

/// What a batch needs buffers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub height: usize,
    pub width: usize,
    pub batch: usize,
    /// Whole images of activations instead of caches of a few rows.
    pub whole: bool,
    /// Whether the mixture parameters of all pixels are kept.
    pub params: bool,
}

impl Shape {
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }
}

/// Rows of one activation in one form.
#[derive(Clone, Copy, Debug)]
struct PlaneShape {
    slots: usize,
    columns: usize,
    channels: usize,
    element_bytes: usize,
}

impl PlaneShape {
    fn bytes(&self, batch: usize) -> usize {
        self.slots * self.columns * self.channels * self.element_bytes * batch
    }
}

/// The four kinds of planes of an activation: f32 residual stream, then by [`Form`].
type PlaneShapes = [Option<PlaneShape>; 4];

fn plane_shapes(plan: &Plan, precision: Precision, shape: &Shape) -> Vec<PlaneShapes> {
    let of = |activation: &crate::model::Activation| {
        let columns = (shape.width >> activation.level) + 2;
        let slots = |cached: usize| match shape.whole {
            false => cached,
            // Two zero rows above the image: the vertical init looks two rows up.
            true => (shape.height >> activation.level) + 2,
        };
        let plane = |form: Form| {
            let rows = activation.cache_rows[form as usize];
            (rows > 0).then(|| PlaneShape {
                slots: slots(rows),
                columns,
                channels: precision.stored_as(activation.channels, form),
                element_bytes: precision.bytes(),
            })
        };
        let raw = activation.residual.then(|| PlaneShape {
            slots: slots(1),
            columns,
            channels: precision.stored(activation.channels),
            element_bytes: size_of::<f32>(),
        });
        [
            raw,
            plane(Form::Plain),
            plane(Form::Elu),
            plane(Form::ConcatElu),
        ]
    };
    plan.activations.iter().map(of).collect()
}

/// f32 sums per column and image that the row phase leaves for the pixel phase; 0 if none.
fn partial_len(step: &Step, precision: Precision, shape: &Shape) -> usize {
    let kept = !shape.whole && !step.row_terms().is_empty() && !step.complete_in_row_phase();
    if !kept {
        return 0;
    }
    (shape.width >> step.level) * shape.batch * packed_width(step, precision)
}

/// A plane of zeros on a device.
#[derive(Debug)]
struct Plane {
    buffer: CudaSlice<u8>,
    shape: PlaneShape,
}

/// All buffers of a batch.
#[derive(Debug)]
pub(super) struct Buffers {
    pub shape: Shape,
    planes: Vec<[Option<Plane>; 4]>,
    /// By step.
    partials: Vec<Option<CudaSlice<f32>>>,
    /// (row, column) of the current pixel, per image.
    pub position: CudaSlice<i32>,
    /// Class of each image.
    pub classes: CudaSlice<i32>,
    /// Levels given, and how many from the top per image.
    pub given: CudaSlice<u8>,
    pub given_count: CudaSlice<i32>,
    /// Index of each image among the random numbers.
    pub index: CudaSlice<u64>,
    /// Seed, then temperature and continuous.
    pub request: CudaSlice<u64>,
    /// The finished images.
    pub values: CudaSlice<f32>,
    /// Mixture parameters of all pixels, if kept.
    pub params: Option<CudaSlice<f32>>,
    /// Log-likelihoods of all pixels in nats, if the parameters are kept.
    pub nats: Option<CudaSlice<f64>>,
}

/// Bytes of all buffers of a batch.
pub(super) fn bytes(
    plan: &Plan,
    hyper: &Hyperparameters,
    precision: Precision,
    shape: &Shape,
) -> usize {
    let planes: usize = plane_shapes(plan, precision, shape)
        .iter()
        .flatten()
        .flatten()
        .map(|plane| plane.bytes(shape.batch))
        .sum();
    let partials = plan.steps.iter();
    let partials: usize = partials
        .map(|step| partial_len(step, precision, shape))
        .sum();
    let pixels = shape.pixels() * shape.batch;
    // Parameters and, in f64, log-likelihoods.
    let params = if shape.params {
        hyper.params_per_pixel() + 2
    } else {
        0
    };
    planes
        + 4 * (partials + pixels * (hyper.channels + params))
        + pixels * hyper.channels
        + 32 * shape.batch
}

impl Buffers {
    /// Allocates everything, all zeros.
    pub fn new(
        device: &Device,
        plan: &Plan,
        hyper: &Hyperparameters,
        precision: Precision,
        shape: Shape,
    ) -> Result<Self, CudaError> {
        let (free, _) = device.memory()?;
        let needed = bytes(plan, hyper, precision, &shape);
        let out_of_memory = || {
            let one = bytes(plan, hyper, precision, &Shape { batch: 1, ..shape });
            CudaError::OutOfMemory {
                device: device.info.ordinal,
                needed,
                free,
                // Buffers are rounded up a little when they are allocated.
                largest: (free - free / 16) / one.max(1),
            }
        };
        if needed > free {
            return Err(out_of_memory());
        }
        Self::allocate(device, plan, hyper, precision, shape).map_err(|error| match error {
            CudaError::Driver { source, .. }
                if source.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY =>
            {
                out_of_memory()
            }
            error => error,
        })
    }

    fn allocate(
        device: &Device,
        plan: &Plan,
        hyper: &Hyperparameters,
        precision: Precision,
        shape: Shape,
    ) -> Result<Self, CudaError> {
        let mut planes = Vec::new();
        for shapes in plane_shapes(plan, precision, &shape) {
            let mut forms = [None, None, None, None];
            for (form, plane) in forms.iter_mut().zip(shapes) {
                if let Some(plane) = plane {
                    *form = Some(Plane {
                        buffer: zeros(device, plane.bytes(shape.batch))?,
                        shape: plane,
                    });
                }
            }
            planes.push(forms);
        }
        let mut partials = Vec::new();
        for step in &plan.steps {
            partials.push(match partial_len(step, precision, &shape) {
                0 => None,
                len => Some(zeros(device, len)?),
            });
        }
        let pixels = shape.pixels() * shape.batch;
        Ok(Self {
            shape,
            planes,
            partials,
            position: zeros(device, 2 * shape.batch)?,
            classes: zeros(device, shape.batch)?,
            given: zeros(device, pixels * hyper.channels)?,
            given_count: zeros(device, shape.batch)?,
            index: zeros(device, shape.batch)?,
            request: zeros(device, 2)?,
            values: zeros(device, pixels * hyper.channels)?,
            params: match shape.params {
                true => Some(zeros(device, pixels * hyper.params_per_pixel())?),
                false => None,
            },
            nats: match shape.params {
                true => Some(zeros(device, pixels)?),
                false => None,
            },
        })
    }

    /// Empties the caches and goes back to the first pixel.
    pub fn reset(&mut self, device: &Device) -> Result<(), CudaError> {
        let planes = self.planes.iter_mut().flatten().flatten();
        for buffer in planes.map(|plane| &mut plane.buffer) {
            let cleared = device.stream.memset_zeros(buffer);
            cleared.context("clearing a cache")?;
        }
        let cleared = device.stream.memset_zeros(&mut self.position);
        cleared.context("going back to the first pixel")
    }

    /// The f32 residual stream of an activation, as the kernels see it.
    pub fn raw(&self, device: &Device, activation: usize) -> parameters::Plane {
        self.plane(device, activation, 0)
    }

    /// An activation as operand, as the kernels see it.
    pub fn operand(&self, device: &Device, activation: usize, form: Form) -> parameters::Plane {
        self.plane(device, activation, 1 + form as usize)
    }

    fn plane(&self, device: &Device, activation: usize, kind: usize) -> parameters::Plane {
        let Some(plane) = &self.planes[activation][kind] else {
            return parameters::Plane::default();
        };
        parameters::Plane {
            base: device.address(&plane.buffer),
            slots: plane.shape.slots as i32,
            columns: plane.shape.columns as i32,
            channels: plane.shape.channels as i32,
            unused: 0,
        }
    }

    /// Address of a step's partial sums; 0 if it has none.
    pub fn partial(&self, device: &Device, step: usize) -> u64 {
        self.partials[step]
            .as_ref()
            .map_or(0, |buffer| device.address(buffer))
    }
}

fn zeros<T: DeviceRepr + ValidAsZeroBits>(
    device: &Device,
    len: usize,
) -> Result<CudaSlice<T>, CudaError> {
    device
        .stream
        .alloc_zeros(len)
        .context("allocating the buffers of a batch")
}
