//! Rows of a batch queued on a device. The host learns how far they are from events, which cost
//! the device nothing and bring nothing over the bus, and keeps a few rows ahead of it: the device
//! never waits for the host, and a cancelled batch ends after those few.

use cudarc::driver::{CudaEvent, CudaStream, DriverError, sys};

use super::device::Device;
use super::error::{Context, CudaError};

/// Rows queued at most: one that runs and one to go on with.
pub(super) const AHEAD: usize = 2;

/// A place in a queue of work that can be asked whether all work before it is done.
pub(super) trait Mark {
    fn is_passed(&self) -> Result<bool, DriverError>;
    fn wait(&self) -> Result<(), DriverError>;
}

impl Mark for CudaEvent {
    fn is_passed(&self) -> Result<bool, DriverError> {
        self.try_is_complete()
    }

    fn wait(&self) -> Result<(), DriverError> {
        self.synchronize()
    }
}

/// The rows that were queued, and how many of them are known to be done.
#[derive(Debug)]
pub(super) struct RowQueue<M> {
    /// That of row r at `r % AHEAD`.
    ends: [M; AHEAD],
    queued: usize,
    done: usize,
}

impl RowQueue<CudaEvent> {
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        let context = device.stream.context();
        // The thread that waits sleeps.
        let flags = Some(sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC);
        let event = || context.new_event(flags).context("creating an event");
        Ok(Self::of([event()?, event()?]))
    }

    /// To be called when a row was queued on the stream; there must have been room.
    pub fn push(&mut self, stream: &CudaStream) -> Result<(), CudaError> {
        self.push_with(|end| end.record(stream))
    }
}

impl<M: Mark> RowQueue<M> {
    fn of(ends: [M; AHEAD]) -> Self {
        Self {
            ends,
            queued: 0,
            done: 0,
        }
    }

    fn push_with(
        &mut self,
        record: impl FnOnce(&mut M) -> Result<(), DriverError>,
    ) -> Result<(), CudaError> {
        record(&mut self.ends[self.queued % AHEAD]).context("marking the end of a row")?;
        self.queued += 1;
        Ok(())
    }

    /// Waits until another row may be queued; returns how many are done, as far as can be known
    /// without waiting longer.
    pub fn wait_for_room(&mut self) -> Result<usize, CudaError> {
        const CONTEXT: &str = "running the kernels";
        if self.queued - self.done == AHEAD {
            self.ends[self.done % AHEAD].wait().context(CONTEXT)?;
            self.done += 1;
        }
        while self.done < self.queued
            && self.ends[self.done % AHEAD].is_passed().context(CONTEXT)?
        {
            self.done += 1;
        }
        Ok(self.done)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// A device that works only while somebody waits for it, or when it is told to.
    #[derive(Default)]
    struct Slow {
        rows_done: Cell<usize>,
        waited_for: RefCell<Vec<usize>>,
    }

    /// The end of a row (counted from 1) on such a device; 0 if of none.
    struct End<'a>(&'a Slow, usize);

    impl Mark for End<'_> {
        fn is_passed(&self) -> Result<bool, DriverError> {
            Ok(self.1 <= self.0.rows_done.get())
        }

        fn wait(&self) -> Result<(), DriverError> {
            self.0.waited_for.borrow_mut().push(self.1);
            let done = self.0.rows_done.get().max(self.1);
            self.0.rows_done.set(done);
            Ok(())
        }
    }

    fn push(queue: &mut RowQueue<End<'_>>) {
        let row = queue.queued + 1;
        let record = |end: &mut End<'_>| {
            end.1 = row;
            Ok(())
        };
        queue.push_with(record).unwrap();
    }

    #[test]
    fn the_host_waits_for_the_oldest_row_only_and_only_when_the_queue_is_full() {
        let device = Slow::default();
        let mut queue = RowQueue::of([End(&device, 0), End(&device, 0)]);
        for row in 0..6 {
            let done = queue.wait_for_room().unwrap();
            assert_eq!(done, (row + 1usize).saturating_sub(AHEAD));
            assert!(row - done < AHEAD, "{row} {done}");
            push(&mut queue);
        }
        assert_eq!(*device.waited_for.borrow(), [1, 2, 3, 4]);
    }

    #[test]
    fn rows_that_ended_by_themselves_are_counted_without_waiting() {
        let device = Slow::default();
        let mut queue = RowQueue::of([End(&device, 0), End(&device, 0)]);
        for row in 0..6 {
            device.rows_done.set(row);
            assert_eq!(queue.wait_for_room().unwrap(), row);
            push(&mut queue);
        }
        assert_eq!(*device.waited_for.borrow(), [0usize; 0]);
    }

    #[test]
    fn a_failure_on_the_device_is_told_with_what_was_being_done() {
        struct Broken;
        impl Mark for Broken {
            fn is_passed(&self) -> Result<bool, DriverError> {
                Err(DriverError(sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS))
            }

            fn wait(&self) -> Result<(), DriverError> {
                self.is_passed().map(|_| ())
            }
        }
        let mut queue = RowQueue::of([Broken, Broken]);
        assert!(matches!(queue.wait_for_room(), Ok(0)));
        queue.push_with(|_| Ok(())).unwrap();
        for _ in 0..2 {
            let error = queue.wait_for_room().unwrap_err();
            assert!(matches!(
                error,
                CudaError::Driver {
                    context: "running the kernels",
                    ..
                }
            ));
        }
    }
}
