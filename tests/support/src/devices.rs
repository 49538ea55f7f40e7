//! The devices, and tests for each of them.

use fastpix::Dtype;

use crate::device::on_a_device;
use crate::engine::{Target, cpu, cuda};

/// A device and what it computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    CpuBf16,
    CudaGraph,
    CudaStream,
    CudaF16,
    CudaBf16,
}

impl Device {
    /// Where and in what an engine computes there.
    pub fn target(self) -> Target {
        let target = match self {
            Self::Cpu | Self::CpuBf16 => cpu(),
            Self::CudaGraph | Self::CudaF16 | Self::CudaBf16 => cuda(),
            Self::CudaStream => cuda().stream(),
        };
        target.dtype(self.dtype())
    }

    /// What it computes in.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::Cpu | Self::CudaGraph | Self::CudaStream => Dtype::F32,
            Self::CudaF16 => Dtype::F16,
            Self::CpuBf16 | Self::CudaBf16 => Dtype::Bf16,
        }
    }

    /// Whether it is the CPU.
    pub fn is_cpu(self) -> bool {
        matches!(self, Self::Cpu | Self::CpuBf16)
    }

    /// The largest relative error of rounding to the dtype.
    pub fn unit(self) -> f64 {
        match self.dtype() {
            Dtype::F32 => 2f64.powi(-24),
            Dtype::F16 => 2f64.powi(-11),
            Dtype::Bf16 => 2f64.powi(-8),
            other => panic!("{other} is not tested here"),
        }
    }

    /// Runs a test body here.
    pub fn run(self, body: fn(Self)) {
        if self.is_cpu() {
            body(self);
        } else {
            on_a_device(|| body(self));
        }
    }
}

/// Makes tests of a function that takes a device: on every device, or on those that are named. They
/// lie in a module with the function's name. Stream launches are named where they matter:
/// `tests/cuda` finds that they change no bit of what graphs give.
#[macro_export]
macro_rules! test_on_devices {
    ($body:ident) => {
        $crate::test_on_devices!($body: Cpu, CpuBf16, CudaGraph, CudaF16, CudaBf16);
    };
    ($body:ident: $($device:ident),+) => {
        #[allow(non_snake_case, reason = "named as the device is")]
        mod $body {
            $(
                #[test]
                fn $device() {
                    $crate::devices::Device::$device.run(super::$body);
                }
            )+
        }
    };
}
