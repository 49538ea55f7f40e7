//! Row rings on the device, and single launches.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use fastpix::Dtype;
use fastpix::cuda::MODULES;
use fastpix::cuda::parameters::{Op, RowRing};
use half::{bf16, f16};

/// Numbers as they lie on the device.
pub fn encode(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    let bytes = |&value: &f32| match dtype {
        Dtype::F32 => value.to_ne_bytes().to_vec(),
        Dtype::F16 => f16::from_f32(value).to_ne_bytes().to_vec(),
        _ => bf16::from_f32(value).to_ne_bytes().to_vec(),
    };
    values.iter().flat_map(bytes).collect()
}

fn decode(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let two = |pair: &[u8]| [pair[0], pair[1]];
    match dtype {
        Dtype::F32 => {
            let four = |b: &[u8]| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
            bytes.chunks(4).map(four).collect()
        }
        Dtype::F16 => bytes
            .chunks(2)
            .map(|b| f16::from_ne_bytes(two(b)).to_f32())
            .collect(),
        _ => bytes
            .chunks(2)
            .map(|b| bf16::from_ne_bytes(two(b)).to_f32())
            .collect(),
    }
}

/// A halo: rows above the first, columns to the left of the first, columns to the right of the last.
#[derive(Clone, Copy, Default)]
pub struct Halo {
    pub above: usize,
    pub left: usize,
    pub right: usize,
}

/// A ring of all rows of an image with a halo, zeros around.
pub struct Rows {
    buffer: CudaSlice<u8>,
    pub ring: RowRing,
    dtype: Dtype,
}

/// Where (row, column, image) of a batch lies in a ring.
fn place(ring: &RowRing, (row, column, image): (usize, usize, usize), batch: usize) -> usize {
    let [rows, columns, left, channels] =
        [ring.rows, ring.columns, ring.left, ring.channels].map(|n| n as usize);
    (((row + 1) % rows * columns + column + left) * batch + image) * channels
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

    /// `[rows, columns, batch, channels]` as a ring whose channels are padded to a multiple of
    /// `multiple`; `values` empty for zeros.
    pub fn rows(
        &self,
        dtype: Dtype,
        multiple: usize,
        halo: Halo,
        shape: &[usize],
        values: &[f32],
    ) -> Rows {
        let &[rows, columns, batch, channels] = shape else {
            panic!("four sides");
        };
        let mut ring = RowRing {
            base: 0,
            rows: (rows + halo.above) as i32,
            columns: (halo.left + columns + halo.right) as i32,
            left: halo.left as i32,
            channels: channels.next_multiple_of(multiple) as i32,
        };
        let len = (ring.rows * ring.columns * ring.channels) as usize * batch;
        let mut packed = vec![0.0f32; len];
        for (at, pixel) in values.chunks(channels).enumerate() {
            let (image, at) = (at % batch, at / batch);
            let to = place(&ring, (at / columns, at % columns, image), batch);
            packed[to..to + channels].copy_from_slice(pixel);
        }
        let buffer = self.upload(&encode(dtype, &packed));
        ring.base = self.address(&buffer);
        Rows {
            buffer,
            ring,
            dtype,
        }
    }

    /// The `channels` numbers from `first` on of every pixel of a ring.
    pub fn read(&self, rows: &Rows, shape: &[usize], first: usize) -> Vec<f32> {
        let packed = self.stream.clone_dtoh(&rows.buffer).unwrap();
        self.stream.synchronize().unwrap();
        let packed = decode(rows.dtype, &packed);
        let &[height, columns, batch, channels] = shape else {
            panic!("four sides");
        };
        let mut values = Vec::new();
        for row in 0..height {
            for column in 0..columns {
                for image in 0..batch {
                    let at = place(&rows.ring, (row, column, image), batch);
                    values.extend(&packed[at + first..at + first + channels]);
                }
            }
        }
        values
    }

    /// Launches an entry point of a file of `kernels/` and waits for it.
    pub fn launch(
        &self,
        (module, kernel): (&str, &str),
        grid: (usize, usize),
        threads: usize,
        op: &Op,
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
        // SAFETY: the parameters are the kernel's, their buffers live until the stream is waited for.
        unsafe { self.stream.launch_builder(&function).arg(op).launch(config) }.unwrap();
        self.stream.synchronize().unwrap();
    }
}
