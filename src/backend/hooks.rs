//! Following, steering and stopping a run.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::BackendError;
use crate::network::InputEncoding;

/// Where the time of a generation went, by the clock of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Once per row: what depends on rows above only.
    pub row: Duration,
    /// Once per pixel, up to its parameters. Naive generation has no phases: its whole-image
    /// evaluations count here.
    pub pixel: Duration,
    /// Drawing pixels from their parameters.
    pub sampling: Duration,
}

/// A row that is complete.
#[derive(Clone, Copy, Debug)]
pub struct SampledRow<'a> {
    /// Which one, from the top.
    pub row: usize,
    /// Its values, `[image][column][channel]`: -1 to 1, or the number of a class.
    pub values: &'a [f32],
}

/// A pixel whose value is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelPosition {
    /// Its row.
    pub row: usize,
    /// Its column.
    pub column: usize,
    /// Which of its parts: index into [`Graph::stages`](crate::network::Graph::stages).
    pub stage: usize,
}

/// Chooses the values of pixels in place of the sampler: a decoder, a constraint, a search.
pub trait PixelSource: Send {
    /// Chooses the values of a pixel, or of a stage of it, for all images of the batch.
    /// `parameters` are those of the output distribution, `[image][parameter]`; `values` is to be
    /// filled with `[image][channel]`: -1 to 1 for scaled inputs (fed back as they are, rounded or
    /// not), else the number of a class. Pixels of a prefix are not asked for: where some images
    /// have a prefix there, what is chosen for those is not used.
    ///
    /// # Errors
    /// Ends the run with that error; [`BackendError::Cancelled`] if there is nothing to say.
    fn choose(
        &mut self,
        position: PixelPosition,
        parameters: &[f32],
        values: &mut [f32],
    ) -> Result<(), BackendError>;
}

impl<F> PixelSource for F
where
    F: FnMut(PixelPosition, &[f32], &mut [f32]) -> Result<(), BackendError> + Send,
{
    fn choose(
        &mut self,
        position: PixelPosition,
        parameters: &[f32],
        values: &mut [f32],
    ) -> Result<(), BackendError> {
        self(position, parameters, values)
    }
}

/// Checks that a pixel source gave values that the network has.
pub(crate) fn check_values(
    input: &InputEncoding,
    values: &[f32],
    position: PixelPosition,
) -> Result<(), BackendError> {
    match values.iter().find(|&&value| !input.has(value)) {
        None => Ok(()),
        Some(&found) => Err(BackendError::Value {
            expected: input.values_in_words(),
            found,
            row: position.row,
            column: position.column,
        }),
    }
}

/// Told the pixels done so far of each image, and all of them.
pub type ProgressHook<'a> = &'a mut (dyn FnMut(usize, usize) + Send);
/// Told each row when it is complete, in order.
pub type RowHook<'a> = &'a mut (dyn FnMut(SampledRow<'_>) + Send);

/// Follows, steers and stops a run. All are optional, and called on the thread that started it.
#[derive(Default)]
#[non_exhaustive]
pub struct Hooks<'a> {
    /// Set it to stop at the next row; the run then returns [`BackendError::Cancelled`].
    pub cancel: Option<&'a AtomicBool>,
    /// Called now and then.
    pub progress: Option<ProgressHook<'a>>,
    /// Called once per finished row, with the values of all images of the batch.
    pub row_done: Option<RowHook<'a>>,
    /// Chooses the values of pixels in place of the sampler.
    pub pixel_source: Option<&'a mut dyn PixelSource>,
    /// Filled with where the time went, by backends that can tell; asking costs two looks at the
    /// clock per pixel.
    pub profile: Option<&'a mut Profile>,
}

impl<'a> Hooks<'a> {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that stops the run.
    pub fn cancel(mut self, cancel: &'a AtomicBool) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// A function that is told the progress.
    pub fn progress(mut self, progress: ProgressHook<'a>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// A function that is told each row.
    pub fn row_done(mut self, row_done: RowHook<'a>) -> Self {
        self.row_done = Some(row_done);
        self
    }

    /// Something that chooses the values of pixels.
    pub fn pixel_source(mut self, source: &'a mut dyn PixelSource) -> Self {
        self.pixel_source = Some(source);
        self
    }

    /// Where to say where the time went.
    pub fn profile(mut self, profile: &'a mut Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.cancel
            .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    pub(crate) fn report(&mut self, done: usize, total: usize) {
        if let Some(progress) = &mut self.progress {
            progress(done, total);
        }
    }

    pub(crate) fn row(&mut self, row: usize, values: &[f32]) {
        if let Some(row_done) = &mut self.row_done {
            row_done(SampledRow { row, values });
        }
    }
}

impl fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("cancel", &self.cancel)
            .field("progress", &self.progress.is_some())
            .field("row_done", &self.row_done.is_some())
            .field("pixel_source", &self.pixel_source.is_some())
            .field("profile", &self.profile.is_some())
            .finish()
    }
}
