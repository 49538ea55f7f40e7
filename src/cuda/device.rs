//! Devices: which there are, and one made ready with its kernels.

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig,
    PushKernelArg, ValidAsZeroBits, result, sys,
};

use super::error::{Context, CudaError};
use super::kernels::{Kernels, Loader};
use crate::network::{Dtype, OutputDistribution};

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
    /// Whether there are kernels of this dtype for it.
    pub fn computes_in(&self, dtype: Dtype) -> bool {
        let oldest = match dtype {
            Dtype::F32 => OLDEST_DEVICE,
            Dtype::F16 | Dtype::Bf16 => OLDEST_HALF_DEVICE,
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

/// A device with the kernels for a network.
#[derive(Debug)]
pub(super) struct Device {
    pub info: DeviceInfo,
    pub stream: Arc<CudaStream>,
    pub kernels: Kernels,
}

impl Device {
    /// Makes a device ready for networks of a dtype and output distribution.
    pub fn open(
        ordinal: usize,
        dtype: Dtype,
        distribution: OutputDistribution,
    ) -> Result<Self, CudaError> {
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
        if !info.computes_in(dtype) {
            return Err(CudaError::OldForDtype {
                device: ordinal,
                found,
                dtype,
            });
        }
        let context = CudaContext::new(ordinal).context("creating a context")?;
        // SAFETY: every buffer is used on this device's one stream only, so nothing has to wait
        // for events.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().context("creating a stream")?;
        let kernels = Kernels::load(&mut Loader::new(&context, &info), dtype, distribution)?;
        Ok(Self {
            info,
            stream,
            kernels,
        })
    }

    /// Launches a kernel on the device's stream.
    ///
    /// # Safety
    /// `parameters` must be those of the kernel, and its addresses valid for what it does.
    pub unsafe fn launch<A: DeviceRepr>(
        &self,
        kernel: &CudaFunction,
        config: LaunchConfig,
        parameters: &A,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe {
            self.stream
                .launch_builder(kernel)
                .arg(parameters)
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

    /// A buffer of zeros; none of length 0, which cannot be allocated.
    pub fn zeros<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        len: usize,
    ) -> Result<Option<CudaSlice<T>>, CudaError> {
        if len == 0 {
            return Ok(None);
        }
        let buffer = self.stream.alloc_zeros(len);
        buffer
            .context("allocating the buffers of a batch")
            .map(Some)
    }

    /// The content of a buffer; waits for all work before.
    pub fn download<T: DeviceRepr>(&self, buffer: &CudaSlice<T>) -> Result<Vec<T>, CudaError> {
        let values = self.stream.clone_dtoh(buffer);
        let values = values.context("copying from the device")?;
        self.synchronize()?;
        Ok(values)
    }

    /// Makes this thread one that works on the device. Most calls do so by themselves, but not those
    /// that free graphs and host memory.
    pub fn bind(&self) -> Result<(), CudaError> {
        let bound = self.stream.context().bind_to_thread();
        bound.context("working on a device from another thread")
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

    /// Address of a buffer, 0 if there is none.
    pub fn address_or_null<T>(&self, buffer: &Option<CudaSlice<T>>) -> u64 {
        buffer.as_ref().map_or(0, |buffer| self.address(buffer))
    }

    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.stream.synchronize().context("running the kernels")
    }
}
