//! Rows of values on their way to the host, by copies that the device makes while it goes on.

use cudarc::driver::{DeviceRepr, PinnedHostSlice, ValidAsZeroBits};

use super::buffers::{Buffers, KeptValues};
use super::device::Device;
use super::error::{Context, CudaError};
use super::queue::AHEAD;
use super::session::{Event, Follow};
use crate::backend::BackendError;

/// Rows of values on their way to the host; none if the device does not keep rows.
pub(super) struct RowCopies {
    /// That of row r at `r % AHEAD`.
    rows: Option<[PinnedHostSlice<f32>; AHEAD]>,
    delivered: usize,
}

impl RowCopies {
    pub fn new(device: &Device, buffers: &Buffers) -> Result<Self, CudaError> {
        let rows = match &buffers.values {
            Some(values) if buffers.shape.values == KeptValues::Row => {
                let len = values.len();
                Some([pinned(device, len)?, pinned(device, len)?])
            }
            _ => None,
        };
        Ok(Self { rows, delivered: 0 })
    }

    /// Queues the copy of a row that was just queued.
    pub fn copy(
        &mut self,
        device: &Device,
        buffers: &Buffers,
        row: usize,
    ) -> Result<(), CudaError> {
        if let (Some(rows), Some(values)) = (&mut self.rows, &buffers.values) {
            let copied = device.stream.memcpy_dtoh(values, &mut rows[row % AHEAD]);
            copied.context("copying a row from the device")?;
        }
        Ok(())
    }

    /// Hands on the rows before `done` that were not yet.
    pub fn deliver(&mut self, done: usize, follow: Follow<'_>) -> Result<(), BackendError> {
        if let Some(rows) = &self.rows {
            for row in self.delivered..done {
                let values = rows[row % AHEAD].as_slice();
                let values = values.context("copying a row from the device")?;
                follow(Event::Row(row, values))?;
            }
            self.delivered = done;
        }
        Ok(())
    }
}

/// Host memory that the device copies to by itself, all zeros.
pub(super) fn pinned<T: DeviceRepr + ValidAsZeroBits>(
    device: &Device,
    len: usize,
) -> Result<PinnedHostSlice<T>, CudaError> {
    const CONTEXT: &str = "allocating host memory";
    let context = device.stream.context();
    // SAFETY: it is filled below, before anything reads it.
    let allocated = unsafe { context.alloc_pinned_with_flags(len, 0) };
    let mut slice: PinnedHostSlice<T> = allocated.context(CONTEXT)?;
    let start = slice.as_mut_ptr().context(CONTEXT)?;
    // SAFETY: `slice` owns `len` numbers from here on, of which zero bits are valid ones.
    unsafe { std::ptr::write_bytes(start, 0, len) };
    Ok(slice)
}
