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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::network::MapArray;

    /// Maps of 5 rows, 2 columns and 1 channel: ten times the row plus the column, of the second one
    /// a hundred more.
    fn maps() -> Vec<Map> {
        let value = |image: usize, at: usize| (100 * image + at / 2 * 10 + at % 2) as f32;
        let map = |image| MapArray::new([5, 2, 1], (0..10).map(|at| value(image, at)).collect());
        (0..2).filter_map(map).map(Map::new).collect()
    }

    #[test]
    fn blocks_hold_some_rows_of_every_map() {
        let (sender, blocks) = sync_channel(3);
        make_blocks(&maps(), 5, 2, &sender);
        drop(sender);
        let blocks: Vec<Vec<f32>> = blocks.into_iter().collect();
        assert_eq!(
            blocks,
            [
                [0.0, 1.0, 10.0, 11.0, 100.0, 101.0, 110.0, 111.0],
                [20.0, 21.0, 30.0, 31.0, 120.0, 121.0, 130.0, 131.0],
                // There is no row 5.
                [40.0, 41.0, 0.0, 0.0, 140.0, 141.0, 0.0, 0.0],
            ]
        );
    }

    #[test]
    fn no_more_is_made_than_somebody_takes() {
        let (sender, blocks) = sync_channel(AHEAD);
        std::thread::scope(|scope| {
            let making = scope.spawn(move || make_blocks(&maps(), 5, 1, &sender));
            assert!(blocks.recv().is_ok());
            drop(blocks);
            assert!(making.join().is_ok());
        });
    }

    #[test]
    fn blocks_of_wide_images_are_short() {
        assert_eq!(rows_of_block(80), 64);
        assert_eq!(rows_of_block(1 << 16), 16);
        assert_eq!(rows_of_block(1 << 30), 1);
    }
}
