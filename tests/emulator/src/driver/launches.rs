//! Kernel launches: their limits and their parameters.

use std::sync::Arc;

use super::operations::{Operation, submit};
use super::pointers::{HostSource, In};
use super::state::{Driver, Function, Handle, enter};
use super::status::{Outcome, Status};
use crate::{KernelHandle, Launch, LaunchOrder};

/// `CU_LAUNCH_PARAM_BUFFER_POINTER` and `_BUFFER_SIZE`, the keys of the `extra` list.
const BUFFER_POINTER: u64 = 1;
const BUFFER_SIZE: u64 = 2;

/// `CUlaunchAttributeID`: ignored, cooperative, cluster dimension.
const ATTRIBUTE_COOPERATIVE: u32 = 2;
const ATTRIBUTE_CLUSTER: u32 = 4;

struct Shape {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    cooperative: bool,
}

impl Driver {
    /// Threads that a block of this function may have.
    pub fn block_limit(&self, function: &Function) -> u32 {
        let bound = function
            .kernel
            .max_threads()
            .map_or(u32::MAX, |n| n.iter().product());
        bound.min(self.settings.device.max_threads_per_block)
    }

    fn check_launch(&self, function: &Function, shape: &Shape) -> Outcome {
        let device = &self.settings.device;
        let [x, y, z] = shape.block;
        let threads = x
            .checked_mul(y)
            .and_then(|n| n.checked_mul(z))
            .ok_or(Status::INVALID_VALUE)?;
        let valid = threads > 0
            && x <= device.max_threads_per_block
            && y <= device.max_threads_per_block
            && z <= 64
            && threads <= self.block_limit(function)
            && shape.grid.iter().all(|&n| n > 0)
            && shape.grid[0] <= i32::MAX as u32
            && shape.grid[1] <= 65535
            && shape.grid[2] <= 65535
            && shape.shared <= function.max_dynamic_shared;
        if !valid {
            return Err(Status::INVALID_VALUE);
        }
        if shape.cooperative {
            let resident = self.blocks_per_sm(function, threads, shape.shared) as u64
                * u64::from(device.sm_count);
            if shape.grid.iter().map(|&n| u64::from(n)).product::<u64>() > resident {
                return Err(Status::COOPERATIVE_LAUNCH_TOO_LARGE);
            }
        }
        Ok(())
    }
}

/// The bytes of the parameters, gathered from one pointer each or from one buffer.
fn gather(kernel: &KernelHandle, parameters: &In<u64>, extra: &In<u64>) -> Outcome<Arc<[u8]>> {
    let total = kernel
        .params()
        .iter()
        .map(|p| (p.offset + p.size) as usize)
        .max()
        .unwrap_or(0);
    let mut bytes = vec![0; total];
    match (parameters.is_null(), extra.is_null()) {
        (false, false) => return Err(Status::INVALID_VALUE),
        (true, true) if total > 0 => return Err(Status::INVALID_VALUE),
        (true, true) => {}
        (false, true) => {
            for (index, parameter) in kernel.params().iter().enumerate() {
                let value = HostSource::from_address(parameters.at(index)?)
                    .read(parameter.size as usize)?;
                bytes[parameter.offset as usize..][..value.len()].copy_from_slice(&value);
            }
        }
        (true, false) => {
            let (mut buffer, mut size) = (0, None);
            let mut index = 0;
            loop {
                match extra.at(index)? {
                    0 => break,
                    BUFFER_POINTER => buffer = extra.at(index + 1)?,
                    BUFFER_SIZE => {
                        size = Some(In::<usize>::from_address(extra.at(index + 1)?).get()?)
                    }
                    _ => return Err(Status::INVALID_VALUE),
                }
                index += 2;
            }
            if size.is_none_or(|size| size < total) {
                return Err(Status::INVALID_VALUE);
            }
            bytes = HostSource::from_address(buffer).read(total)?;
        }
    }
    Ok(bytes.into())
}

fn launch(
    function: Handle,
    shape: &Shape,
    stream: Handle,
    parameters: &In<u64>,
    extra: &In<u64>,
) -> Status {
    let mut operation = Operation::Empty;
    let status = enter(|driver| {
        let stream = driver.stream(stream)?;
        let function = driver
            .functions
            .get(&function)
            .ok_or(Status::INVALID_HANDLE)?;
        if function.context != driver.streams[&stream].context {
            return Err(Status::INVALID_HANDLE);
        }
        driver.check_launch(function, shape)?;
        operation = Operation::Kernel {
            module: function.module,
            kernel: function.kernel.clone(),
            launch: Launch {
                grid: shape.grid,
                block: shape.block,
                shared_bytes: shape.shared,
                cooperative: shape.cooperative,
                order: LaunchOrder::Serial, // replaced when the launch gets its place in the stream
            },
            parameters: gather(&function.kernel, parameters, extra)?,
        };
        Ok(())
    });
    if status == Status::SUCCESS {
        submit(stream, operation)
    } else {
        status
    }
}

#[allow(clippy::too_many_arguments)] // the interface is CUDA's
#[unsafe(no_mangle)]
extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared: u32,
    stream: Handle,
    parameters: In<u64>,
    extra: In<u64>,
) -> Status {
    let shape = Shape {
        grid: [grid_x, grid_y, grid_z],
        block: [block_x, block_y, block_z],
        shared,
        cooperative: false,
    };
    launch(function, &shape, stream, &parameters, &extra)
}

/// All blocks are resident at once, so they may wait for each other.
#[allow(clippy::too_many_arguments)] // the interface is CUDA's
#[unsafe(no_mangle)]
extern "C" fn cuLaunchCooperativeKernel(
    function: Handle,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared: u32,
    stream: Handle,
    parameters: In<u64>,
) -> Status {
    let shape = Shape {
        grid: [grid_x, grid_y, grid_z],
        block: [block_x, block_y, block_z],
        shared,
        cooperative: true,
    };
    launch(
        function,
        &shape,
        stream,
        &parameters,
        &In::<u64>::from_address(0),
    )
}

/// `CUlaunchAttribute`: the value is a union of 64 bytes, of which integers are read.
#[repr(C)]
#[derive(Clone, Copy)]
struct LaunchAttribute {
    id: u32,
    pad: u32,
    value: [u32; 16],
}

/// `CUlaunchConfig`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct LaunchConfig {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
    pub stream: Handle,
    attributes: u64,
    count: u32,
}

/// Launches with attributes. Clusters of more than one block are not modelled; scheduling hints change nothing here.
#[unsafe(no_mangle)]
extern "C" fn cuLaunchKernelEx(
    config: In<LaunchConfig>,
    function: Handle,
    parameters: In<u64>,
    extra: In<u64>,
) -> Status {
    let read = || -> Outcome<(LaunchConfig, bool)> {
        let config = config.get()?;
        let attributes = In::<LaunchAttribute>::from_address(config.attributes);
        let mut cooperative = false;
        for index in 0..config.count as usize {
            let attribute = attributes.at(index)?;
            match attribute.id {
                ATTRIBUTE_COOPERATIVE => cooperative = attribute.value[0] != 0,
                ATTRIBUTE_CLUSTER if attribute.value[..3] != [1, 1, 1] => {
                    return Err(Status::NOT_SUPPORTED);
                }
                0..=16 => {}
                _ => return Err(Status::INVALID_VALUE),
            }
        }
        Ok((config, cooperative))
    };
    match read() {
        Ok((config, cooperative)) => {
            let shape = Shape {
                grid: config.grid,
                block: config.block,
                shared: config.shared,
                cooperative,
            };
            launch(function, &shape, config.stream, &parameters, &extra)
        }
        Err(status) => status,
    }
}
