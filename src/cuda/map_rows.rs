//! Rows of maps on their way to the device: a block of rows at a time, made by a thread of its own while
//! the device works on the block before, and copied in order with the work that reads it. What is held is
//! a few blocks, whatever the height.

use std::sync::mpsc::{Receiver, SyncSender};

use cudarc::driver::PinnedHostSlice;

use super::buffers::Buffers;
use super::device::Device;
use super::error::{Context, CudaError};
use super::row_copies::pinned;
use crate::network::Map;

/// Blocks that are made ahead of the one that is copied.
pub(super) const AHEAD: usize = 1;
/// Most rows of a block.
const ROWS: usize = 64;
/// Most numbers of a block of several rows.
const NUMBERS: usize = 1 << 20;

/// Rows of a block of which each row of all images has so many numbers.
pub(super) fn rows_of_block(row: usize) -> usize {
    (NUMBERS / row.max(1)).clamp(1, ROWS)
}

/// Makes the blocks of maps of this height in order, `[image][row][column][channel]`, until all are
/// made or nobody wants more.
pub(super) fn make_blocks(maps: &[Map], height: usize, rows: usize, to: &SyncSender<Vec<f32>>) {
    for first in (0..height).step_by(rows) {
        let here = rows.min(height - first);
        let mut block = Vec::new();
        for map in maps {
            let [_, width, channels] = map.shape();
            let (start, row) = (block.len(), width * channels);
            block.resize(start + rows * row, 0.0);
            map.rows(first..first + here, &mut block[start..start + here * row]);
        }
        if to.send(block).is_err() {
            return;
        }
    }
}

/// Copies blocks to the device.
pub(super) struct MapRows {
    blocks: Receiver<Vec<f32>>,
    pinned: PinnedHostSlice<f32>,
    /// Of a block.
    pub rows: usize,
}

impl MapRows {
    pub fn new(
        device: &Device,
        buffers: &Buffers,
        blocks: Receiver<Vec<f32>>,
    ) -> Result<Self, CudaError> {
        Ok(Self {
            blocks,
            pinned: pinned(device, buffers.map.as_ref().map_or(0, |map| map.len()))?,
            rows: buffers.map_rows,
        })
    }

    /// Queues the copy of the block that begins with this row, if one does; rows are asked for in
    /// order.
    pub fn copy(
        &mut self,
        device: &Device,
        buffers: &mut Buffers,
        row: usize,
    ) -> Result<(), CudaError> {
        const CONTEXT: &str = "copying a map to the device";
        let Some(to) = &mut buffers.map else {
            return Err(CudaError::Internal("a map without room for it"));
        };
        if !row.is_multiple_of(self.rows) {
            return Ok(());
        }
        let Ok(block) = self.blocks.recv() else {
            return Err(CudaError::Internal("a map that ends before its last row"));
        };
        // Waits for the copy of the block before, which the rows queued since have left behind.
        let pinned = self.pinned.as_mut_slice().context(CONTEXT)?;
        pinned.copy_from_slice(&block);
        let copied = device.stream.memcpy_htod(&self.pinned, to);
        copied.context(CONTEXT)
    }
}
