//! Devices: which there are, and one made ready with its kernels.

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig,
    PushKernelArg, result, sys,
};
use cudarc::nvrtc::Ptx;

use super::error::{Context, CudaError};
use super::modules::Module;
use crate::engine::Precision;

/// CUDA 12.0, as the driver reports its version; the PTX is declared as needing it.
const OLDEST_DRIVER: i32 = 12000;
/// The compute capability the kernels are compiled for.
const OLDEST_DEVICE: (i32, i32) = (7, 5);

/// The compute capability the kernels of f16 and bf16 are compiled for.
const OLDEST_HALF_DEVICE: (i32, i32) = (8, 0);

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Its compute capability.
    pub compute_capability: (i32, i32),
    /// Bytes of memory.
    pub memory: usize,
    /// What the driver supports: 1000 times the major plus 10 times the minor CUDA version.
    pub driver: i32,
}

impl DeviceInfo {
    /// Whether there are kernels of this precision for it.
    pub fn computes_in(&self, precision: Precision) -> bool {
        let oldest = match precision {
            Precision::F32 => OLDEST_DEVICE,
            Precision::F16 | Precision::Bf16 => OLDEST_HALF_DEVICE,
        };
        self.compute_capability >= oldest
    }
}

/// The devices that can be used.
///
/// # Errors
/// When there is no driver, it is too old, or it finds no device.
pub fn devices() -> Result<Vec<DeviceInfo>, CudaError> {
    let driver = driver()?;
    let count = CudaContext::device_count().context("counting devices")?;
    (0..count as usize)
        .map(|ordinal| {
            let device = result::device::get(ordinal as i32).context("finding a device")?;
            let attribute = |attribute| {
                // SAFETY: the device was just returned by the driver.
                unsafe { result::device::get_attribute(device, attribute) }
                    .context("asking for a device's compute capability")
            };
            use sys::CUdevice_attribute_enum as Attribute;
            Ok(DeviceInfo {
                ordinal,
                name: result::device::get_name(device).context("asking for a device's name")?,
                compute_capability: (
                    attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                    attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
                ),
                // SAFETY: as above.
                memory: unsafe { result::device::total_mem(device) }
                    .context("asking for a device's memory")?,
                driver,
            })
        })
        .collect()
}

/// What the driver supports, whether or not that is enough: 1000 times the major plus 10 times
/// the minor CUDA version.
///
/// # Errors
/// When there is no driver.
pub fn driver_version() -> Result<i32, CudaError> {
    // SAFETY: looks for the library and calls nothing in it.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    let mut found = 0;
    // SAFETY: writes one int; may be called before cuInit.
    unsafe { sys::cuDriverGetVersion(&mut found) }
        .result()
        .context("asking for the driver's version")
        .map(|()| found)
}

/// Starts the driver; returns its version.
fn driver() -> Result<i32, CudaError> {
    let found = driver_version()?;
    if found < OLDEST_DRIVER {
        return Err(CudaError::OldDriver { found });
    }
    match result::init() {
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => Err(CudaError::NoDevice {
            expected: 0,
            count: 0,
        }),
        result => result.context("starting the driver").map(|()| found),
    }
}

/// The entry points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    RowStep,
    /// In f32: images per block (1, 4 or 16) and whether it gates.
    PixelStep(usize, bool),
    /// In f16 or bf16: any images, gated or not.
    HalfPixelStep,
    OutputStep,
    OutputParams,
    FillImage,
    LogLikelihood,
}

/// An entry point with its module and name.
type Entry = (Kernel, &'static str, &'static str);

const F32_KERNELS: &[Entry] = &[
    (Kernel::RowStep, "row", "row_step"),
    (Kernel::PixelStep(1, false), "pixel", "pixel_step_1"),
    (Kernel::PixelStep(4, false), "pixel", "pixel_step_4"),
    (Kernel::PixelStep(16, false), "pixel", "pixel_step_16"),
    (Kernel::PixelStep(1, true), "pixel", "pixel_gate_1"),
    (Kernel::PixelStep(4, true), "pixel", "pixel_gate_4"),
    (Kernel::PixelStep(16, true), "pixel", "pixel_gate_16"),
    (Kernel::OutputStep, "output", "output_step"),
    (Kernel::OutputParams, "output", "output_params"),
    (Kernel::FillImage, "output", "fill_image"),
    (Kernel::LogLikelihood, "likelihood", "log_likelihood"),
];

const F16_KERNELS: &[Entry] = &[
    (Kernel::RowStep, "row_half", "row_step_f16"),
    (Kernel::HalfPixelStep, "pixel_half", "pixel_step_f16"),
    (Kernel::OutputStep, "output_half", "output_step_f16"),
    (Kernel::OutputParams, "output_half", "output_params_f16"),
    (Kernel::FillImage, "output_half", "fill_image_f16"),
    (Kernel::LogLikelihood, "likelihood", "log_likelihood"),
];

const BF16_KERNELS: &[Entry] = &[
    (Kernel::RowStep, "row_half", "row_step_bf16"),
    (Kernel::HalfPixelStep, "pixel_half", "pixel_step_bf16"),
    (Kernel::OutputStep, "output_half", "output_step_bf16"),
    (Kernel::OutputParams, "output_half", "output_params_bf16"),
    (Kernel::FillImage, "output_half", "fill_image_bf16"),
    (Kernel::LogLikelihood, "likelihood", "log_likelihood"),
];

/// A device with the kernels of one precision.
#[derive(Debug)]
pub(super) struct Device {
    pub info: DeviceInfo,
    pub stream: Arc<CudaStream>,
    functions: Vec<(Kernel, CudaFunction)>,
}

impl Device {
    pub fn open(ordinal: usize, precision: Precision) -> Result<Self, CudaError> {
        let devices = devices()?;
        let count = devices.len();
        let Some(info) = devices.into_iter().nth(ordinal) else {
            return Err(CudaError::NoDevice {
                expected: ordinal,
                count,
            });
        };
        let found = info.compute_capability;
        if found < OLDEST_DEVICE {
            return Err(CudaError::OldDevice {
                device: ordinal,
                found,
            });
        }
        if !info.computes_in(precision) {
            return Err(CudaError::OldForPrecision {
                device: ordinal,
                found,
                precision,
            });
        }
        let kernels = match precision {
            Precision::F32 => F32_KERNELS,
            Precision::F16 => F16_KERNELS,
            Precision::Bf16 => BF16_KERNELS,
        };
        let context = CudaContext::new(ordinal).context("creating a context")?;
        // SAFETY: every buffer is used on this device's one stream only, so nothing has to wait
        // for events.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().context("creating a stream")?;
        let mut loaded = Vec::new();
        let mut functions = Vec::new();
        for &(kernel, name, entry) in kernels {
            let known = loaded.iter().position(|&(loaded, _)| loaded == name);
            let index = match known {
                Some(index) => index,
                None => {
                    let Some(module) = Module::find(name, info.architecture()) else {
                        return Err(CudaError::OldDevice {
                            device: ordinal,
                            found,
                        });
                    };
                    let ptx = Ptx::from_src(module.ptx);
                    let handle =
                        context
                            .load_module(ptx)
                            .map_err(|source| CudaError::Rejected {
                                module: module.name,
                                architecture: module.architecture,
                                source,
                            })?;
                    loaded.push((name, handle));
                    loaded.len() - 1
                }
            };
            let function = loaded[index].1.load_function(entry);
            functions.push((kernel, function.context("finding a kernel")?));
        }
        Ok(Self {
            info,
            stream,
            functions,
        })
    }

    /// LaunchMode a kernel on the device's stream.
    ///
    /// # Safety
    /// `arguments` must be those of the kernel, and its addresses valid for what it does.
    pub unsafe fn launch<A: DeviceRepr>(
        &self,
        kernel: Kernel,
        config: LaunchConfig,
        arguments: &A,
    ) -> Result<(), CudaError> {
        let function = self.functions.iter().find(|(known, _)| *known == kernel);
        let Some((_, function)) = function else {
            return Ok(()); // Impossible: the tables list every kernel.
        };
        // SAFETY: the caller's promise.
        unsafe {
            self.stream
                .launch_builder(function)
                .arg(arguments)
                .launch(config)
        }
        .context("launching a kernel")
        .map(|_| ())
    }

    pub fn upload<T: DeviceRepr>(&self, values: &[T]) -> Result<CudaSlice<T>, CudaError> {
        match self.stream.clone_htod(values) {
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                let (free, _) = self.memory()?;
                Err(CudaError::OutOfMemory {
                    device: self.info.ordinal,
                    needed: size_of_val(values),
                    free,
                    largest: 0,
                })
            }
            result => result.context("copying to the device"),
        }
    }

    /// Free and total bytes.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.stream
            .context()
            .mem_get_info()
            .context("asking for free memory")
    }

    /// Address of a buffer; it is used on the device's own stream only.
    pub fn address<T>(&self, buffer: &CudaSlice<T>) -> u64 {
        buffer.device_ptr(&self.stream).0
    }

    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.stream.synchronize().context("running the kernels")
    }
}
