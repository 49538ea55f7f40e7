//! Planes of activations on the device, and single launches.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use fastpix::Dtype;
use fastpix::cuda::MODULES;
use fastpix::cuda::parameters::{Plane, Step};
use half::{bf16, f16};

/// Numbers as they lie on the device.
pub fn encode(precision: Dtype, values: &[f32]) -> Vec<u8> {
    let bytes = |&value: &f32| match precision {
        Dtype::F32 => value.to_ne_bytes().to_vec(),
        Dtype::F16 => f16::from_f32(value).to_ne_bytes().to_vec(),
        Dtype::Bf16 => bf16::from_f32(value).to_ne_bytes().to_vec(),
    };
    values.iter().flat_map(bytes).collect()
}

fn decode(precision: Dtype, bytes: &[u8]) -> Vec<f32> {
    let two = |pair: &[u8]| [pair[0], pair[1]];
    match precision {
        Dtype::F32 => {
            let four = |b: &[u8]| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
            bytes.chunks(4).map(four).collect()
        }
        Dtype::F16 => bytes
            .chunks(2)
            .map(|b| f16::from_ne_bytes(two(b)).to_f32())
            .collect(),
        Dtype::Bf16 => bytes
            .chunks(2)
            .map(|b| bf16::from_ne_bytes(two(b)).to_f32())
            .collect(),
    }
}

/// Rows with a slot for each row of the image and two above it, zeros around.
pub struct Rows {
    buffer: CudaSlice<u8>,
    pub plane: Plane,
    precision: Dtype,
}

pub struct Gpu {
    pub stream: Arc<CudaStream>,
}

impl Gpu {
    pub fn upload<T: DeviceRepr>(&self, values: &[T]) -> CudaSlice<T> {
        self.stream.clone_htod(values).unwrap()
    }

    pub fn address<T>(&self, buffer: &CudaSlice<T>) -> u64 {
        buffer.device_ptr(&self.stream).0
    }

    /// `[rows, columns, batch, channels]` as a plane whose channels are filled up to a multiple of
    /// `fill`; `values` empty for zeros.
    pub fn rows(&self, precision: Dtype, fill: usize, shape: &[usize], values: &[f32]) -> Rows {
        let &[rows, columns, batch, channels] = shape else {
            panic!("four sides");
        };
        let (slots, filled) = (rows + 2, channels.next_multiple_of(fill));
        let mut packed = vec![0.0f32; slots * (columns + 2) * batch * filled];
        for (at, pixel) in values.chunks(channels).enumerate() {
            let (image, at) = (at % batch, at / batch);
            let (column, row) = (at % columns, at / columns);
            let to = (((row + 1) * (columns + 2) + column + 1) * batch + image) * filled;
            packed[to..to + channels].copy_from_slice(pixel);
        }
        let buffer = self.upload(&encode(precision, &packed));
        let plane = Plane {
            base: self.address(&buffer),
            slots: slots as i32,
            columns: columns as i32 + 2,
            channels: filled as i32,
            unused: 0,
        };
        Rows {
            buffer,
            plane,
            precision,
        }
    }

    /// The `channels` numbers from `first` on of every pixel of a plane.
    pub fn read(&self, rows: &Rows, shape: &[usize], first: usize) -> Vec<f32> {
        let packed = self.stream.clone_dtoh(&rows.buffer).unwrap();
        self.stream.synchronize().unwrap();
        let packed = decode(rows.precision, &packed);
        let &[height, columns, batch, channels] = shape else {
            panic!("four sides");
        };
        let filled = rows.plane.channels as usize;
        let mut values = Vec::new();
        for row in 0..height {
            for column in 0..columns {
                for image in 0..batch {
                    let at = (((row + 1) * (columns + 2) + column + 1) * batch + image) * filled;
                    values.extend(&packed[at + first..at + first + channels]);
                }
            }
        }
        values
    }

    /// LaunchMode an entry point of a file of `kernels/` and waits for it.
    pub fn launch(
        &self,
        (module, kernel): (&str, &str),
        grid: (usize, usize),
        threads: usize,
        step: &Step,
    ) {
        let ptx = MODULES.iter().find(|m| m.name == module).unwrap().ptx;
        let module = self
            .stream
            .context()
            .load_module(Ptx::from_src(ptx))
            .unwrap();
        let function = module.load_function(kernel).unwrap();
        let config = LaunchConfig {
            grid_dim: (grid.0 as u32, grid.1 as u32, 1),
            block_dim: (threads as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the arguments are the kernel's, their buffers live until the stream is waited for.
        unsafe {
            self.stream
                .launch_builder(&function)
                .arg(step)
                .launch(config)
        }
        .unwrap();
        self.stream.synchronize().unwrap();
    }
}
