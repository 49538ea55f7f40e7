//! The entry points of the kernels, loaded on a device.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, CudaModule};
use cudarc::nvrtc::Ptx;

use super::device::DeviceInfo;
use super::error::{Context, CudaError};
use super::modules::Module;
use crate::network::{Dtype, OutputDistribution};

/// Loads modules, each once.
pub(super) struct Loader<'a> {
    context: &'a Arc<CudaContext>,
    info: &'a DeviceInfo,
    loaded: Vec<(&'static str, Arc<CudaModule>)>,
}

impl<'a> Loader<'a> {
    pub fn new(context: &'a Arc<CudaContext>, info: &'a DeviceInfo) -> Self {
        Self {
            context,
            info,
            loaded: Vec::new(),
        }
    }

    fn function(&mut self, file: &'static str, entry: &str) -> Result<CudaFunction, CudaError> {
        let module = match self.loaded.iter().find(|(name, _)| *name == file) {
            Some((_, module)) => module.clone(),
            None => {
                let module = self.load(file)?;
                self.loaded.push((file, module.clone()));
                module
            }
        };
        module.load_function(entry).context("finding a kernel")
    }

    fn load(&self, file: &'static str) -> Result<Arc<CudaModule>, CudaError> {
        let Some(module) = Module::find(file, self.info.architecture()) else {
            return Err(CudaError::OldDevice {
                device: self.info.ordinal,
                found: self.info.compute_capability,
            });
        };
        let loaded = self.context.load_module(Ptx::from_src(module.ptx));
        loaded.map_err(|source| CudaError::Rejected {
            module: module.name,
            architecture: module.architecture,
            source,
        })
    }
}

/// The entry points for networks of one dtype and output distribution.
#[derive(Debug)]
pub(super) struct Kernels {
    pub row: CudaFunction,
    pub pixel: PixelKernels,
    /// Parameters of a stage of the current pixel, and the draw from them.
    pub draw: CudaFunction,
    /// The parameters only.
    pub parameters: CudaFunction,
    /// Values from the host in place of the draw.
    pub feed: CudaFunction,
    /// Given values into a tensor.
    pub fill: CudaFunction,
    pub log_likelihood: CudaFunction,
}

/// The kernels of the pixel phase.
#[derive(Debug)]
pub(super) enum PixelKernels {
    /// Ungated and gated, for 1, 4 and 16 images per block.
    F32([CudaFunction; 3], [CudaFunction; 3]),
    /// In f16 or bf16: 16 images per block, gated or not.
    Half(CudaFunction),
}

impl PixelKernels {
    /// The kernel for so many images per block.
    pub fn kernel(&self, gated: bool, images: usize) -> &CudaFunction {
        match self {
            Self::F32(ungated, gates) => {
                let kernels = if gated { gates } else { ungated };
                let [one, four, sixteen] = kernels;
                match images {
                    1 => one,
                    4 => four,
                    _ => sixteen,
                }
            }
            Self::Half(kernel) => kernel,
        }
    }
}

impl Kernels {
    pub fn load(
        loader: &mut Loader<'_>,
        dtype: Dtype,
        distribution: OutputDistribution,
    ) -> Result<Self, CudaError> {
        let (row_file, output_file, suffix) = match dtype {
            Dtype::F32 => ("row", "output", ""),
            Dtype::F16 => ("row_half", "output_half", "_f16"),
            Dtype::Bf16 => ("row_half", "output_half", "_bf16"),
        };
        let name = |entry: &str| format!("{entry}{suffix}");
        let (draw, log_likelihood) = match distribution {
            OutputDistribution::LogisticMixture(_) => ("output_mixture", "log_likelihood_mixture"),
            OutputDistribution::Categorical { .. } => {
                ("output_categorical", "log_likelihood_categorical")
            }
        };
        let pixel = match dtype {
            Dtype::F32 => {
                let mut three = |entry: &str| {
                    Ok::<_, CudaError>([
                        loader.function("pixel", &format!("{entry}_1"))?,
                        loader.function("pixel", &format!("{entry}_4"))?,
                        loader.function("pixel", &format!("{entry}_16"))?,
                    ])
                };
                PixelKernels::F32(three("pixel_op")?, three("pixel_gate")?)
            }
            Dtype::F16 | Dtype::Bf16 => {
                PixelKernels::Half(loader.function("pixel_half", &name("pixel_op"))?)
            }
        };
        Ok(Self {
            row: loader.function(row_file, &name("row_op"))?,
            pixel,
            draw: loader.function(output_file, &name(draw))?,
            parameters: loader.function(output_file, &name("output_parameters"))?,
            feed: loader.function(output_file, &name("output_feed"))?,
            fill: loader.function(output_file, &name("fill"))?,
            log_likelihood: loader.function("likelihood", log_likelihood)?,
        })
    }
}
