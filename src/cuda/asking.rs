//! Pixels whose values a source on the host chooses.

use cudarc::driver::PinnedHostSlice;

use super::buffers::Buffers;
use super::error::{Context, CudaError};
use super::row_copies::pinned;
use super::session::{Batch, Session, Walk};
use crate::backend::{BackendError, PixelPosition, PixelSource, check_values};

/// A pixel source, with room for what it is asked and for what it chooses.
pub(super) struct Asking<'a> {
    source: &'a mut dyn PixelSource,
    parameters: PinnedHostSlice<f32>,
    values: Vec<f32>,
}

impl<'a> Asking<'a> {
    pub fn new(
        walk: Walk<'_>,
        buffers: &Buffers,
        source: &'a mut dyn PixelSource,
    ) -> Result<Self, CudaError> {
        let (images, output) = (buffers.shape.images.batch, &walk.graph.output);
        Ok(Self {
            source,
            parameters: pinned(walk.device, images * output.parameters())?,
            values: vec![0.0; images * output.channels()],
        })
    }
}

impl Session {
    /// All pixels of a row, whose values a source chooses: the device waits for it.
    pub fn ask_row(
        &mut self,
        walk: Walk<'_>,
        batch: &Batch<'_>,
        row: usize,
        asking: &mut Asking<'_>,
    ) -> Result<(), BackendError> {
        if batch.prefix_rows.iter().all(|&rows| row < rows as usize) {
            return Ok(self.launch_row(walk, row)?);
        }
        let Walk { device, graph, .. } = walk;
        let channels = graph.output.channels();
        self.launch_row_phase(walk, row)?;
        for column in 0..self.buffers.shape.images.width {
            for stage in 0..self.stages.len() {
                let position = PixelPosition { row, column, stage };
                for launch in self.ops.pixel(graph, position) {
                    launch.run(device)?;
                }
                self.stages[stage].parameters.run(device)?;
                let (Some(from), Some(fed)) = (&self.buffers.parameters, &mut self.buffers.fed)
                else {
                    return Err(CudaError::Internal("no room for what a source is asked").into());
                };
                const CONTEXT: &str = "asking a pixel source";
                let copied = device.stream.memcpy_dtoh(from, &mut asking.parameters);
                copied.context(CONTEXT)?;
                device.synchronize()?;
                let asked = asking.parameters.as_slice().context(CONTEXT)?;
                let values = &mut asking.values;
                asking.source.choose(position, asked, values)?;
                for (values, &rows) in values.chunks(channels).zip(&batch.prefix_rows) {
                    if row >= rows as usize {
                        check_values(&graph.input, values, position)?;
                    }
                }
                let copied = device.stream.memcpy_htod(values, fed);
                copied.context(CONTEXT)?;
                self.stages[stage].feed.run(device)?;
            }
        }
        // Work may still read what is on this thread's heap.
        Ok(device.synchronize()?)
    }
}
