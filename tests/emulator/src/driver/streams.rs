//! Streams, their capture, and events.

use std::time::Instant;

use super::capture::exchange_mode;
use super::graphs::Graph;
use super::operations::{Operation, submit};
use super::pointers::{HostCall, HostTarget, Out, StreamCallback, run_callback};
use super::state::{Driver, Event, Handle, Recorded, enter, enter_context};
use super::status::{Outcome, Status};

/// The highest priority of a stream; the lowest is 0.
pub(super) const GREATEST_PRIORITY: i32 = -5;

fn create(out: &Out<Handle>, flags: u32, priority: i32) -> Status {
    enter_context(|driver, context| {
        if flags > 1 {
            return Err(Status::INVALID_VALUE);
        }
        out.set(driver.add_stream(context, flags, priority.clamp(GREATEST_PRIORITY, 0), false))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreate(out: Out<Handle>, flags: u32) -> Status {
    create(&out, flags, 0)
}

/// Priorities are remembered, and clamped to the range that `cuCtxGetStreamPriorityRange` names.
#[unsafe(no_mangle)]
extern "C" fn cuStreamCreateWithPriority(out: Out<Handle>, flags: u32, priority: i32) -> Status {
    create(&out, flags, priority)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: Handle) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        if driver.streams[&stream].implicit {
            return Err(Status::INVALID_HANDLE);
        }
        if let Some(id) = driver.streams[&stream].capture {
            driver.invalidate(id);
        }
        // What ran on it still precedes whatever waits for the whole context: the default stream keeps its clock.
        let removed = driver
            .streams
            .remove(&stream)
            .ok_or(Status::INVALID_HANDLE)?;
        if removed.blocking() {
            let default = driver.context(removed.context)?.default_stream;
            if let Some(default) = driver.streams.get_mut(&default) {
                default.clock.join(&removed.clock);
            }
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetPriority(stream: Handle, priority: Out<i32>) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        priority.set(driver.streams[&stream].priority)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetFlags(stream: Handle, flags: Out<u32>) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        flags.set(driver.streams[&stream].flags)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCtx(stream: Handle, context: Out<Handle>) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        context.set(driver.streams[&stream].context)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetId(stream: Handle, id: Out<u64>) -> Status {
    enter(|driver| id.set(driver.stream(stream)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: Handle) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        driver.forbid_capturing_stream(stream)?;
        driver.host_waited_for(stream)
    })
}

/// Work has always finished by the time one can ask.
#[unsafe(no_mangle)]
extern "C" fn cuStreamQuery(stream: Handle) -> Status {
    cuStreamSynchronize(stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, flags: u32) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        if flags > 1 {
            return Err(Status::INVALID_VALUE);
        }
        let capture = driver.streams[&stream].capture;
        let clock = match &driver
            .events
            .get(&event)
            .ok_or(Status::INVALID_HANDLE)?
            .recorded
        {
            Some(Recorded::Captured(point)) => {
                let point = point.clone();
                return driver.wait_for_captured(stream, &point);
            }
            Some(Recorded::At { clock, .. }) => clock.clone(),
            None => return Ok(()),
        };
        if let Some(id) = capture {
            driver.invalidate(id);
            return Err(Status::STREAM_CAPTURE_ISOLATION);
        }
        if let Some(stream) = driver.streams.get_mut(&stream) {
            stream.clock.join(&clock);
        }
        Ok(())
    })
}

/// Calls a function of the host in stream order: here, before the call returns.
#[unsafe(no_mangle)]
extern "C" fn cuLaunchHostFunc(
    stream: Handle,
    function: Option<unsafe extern "C" fn(*mut std::ffi::c_void)>,
    argument: HostTarget,
) -> Status {
    if function.is_none() {
        return Status::INVALID_VALUE;
    }
    submit(stream, Operation::Host(HostCall { function, argument }))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamAddCallback(
    stream: Handle,
    callback: StreamCallback,
    argument: HostTarget,
    flags: u32,
) -> Status {
    let status = enter(|driver| {
        let stream = driver.stream(stream)?;
        if flags != 0 || callback.is_none() {
            return Err(Status::INVALID_VALUE);
        }
        driver.forbid_capturing_stream(stream)
    });
    if status == Status::SUCCESS {
        run_callback(callback, stream, argument);
    }
    status
}

// --- capture ---

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(stream: Handle, mode: u32) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        driver.begin_capture(stream, mode)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamEndCapture(stream: Handle, out: Out<Handle>) -> Status {
    enter(|driver| {
        out.set_if_wanted(0);
        let stream = driver.stream(stream)?;
        let body = driver.end_capture(stream)?;
        let (handle, context) = (driver.handle(), driver.streams[&stream].context);
        driver.graphs.insert(handle, Graph { context, body });
        out.set(handle)
    })
}

impl Driver {
    /// `CUstreamCaptureStatus` and the capture's number.
    fn capture_state(&self, stream: Handle) -> (u32, u64) {
        match self.streams[&stream].capture {
            None => (0, 0),
            Some(id) if self.captures.get(&id).is_some_and(|c| c.valid) => (1, id),
            Some(id) => (2, id),
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamIsCapturing(stream: Handle, state: Out<u32>) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        if driver.is_default_stream(stream) {
            driver.forbid_implicit_dependency(stream)?;
        }
        state.set(driver.capture_state(stream).0)
    })
}

/// State and number of a capture; the graph and dependencies under construction are not given out.
#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCaptureInfo_v2(
    stream: Handle,
    state: Out<u32>,
    id: Out<u64>,
    graph: Out<Handle>,
    dependencies: Out<Handle>,
    count: Out<usize>,
) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        if !graph.is_null() || !dependencies.is_null() {
            return Err(Status::NOT_SUPPORTED);
        }
        let (now, number) = driver.capture_state(stream);
        id.set_if_wanted(number);
        let heads = driver
            .captures
            .get(&number)
            .and_then(|c| c.heads.get(&stream))
            .map_or(0, Vec::len);
        count.set_if_wanted(heads);
        state.set(now)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuThreadExchangeStreamCaptureMode(mode: Out<u32>) -> Status {
    enter(|_| {
        let wanted = mode.get()?;
        if wanted > 2 {
            return Err(Status::INVALID_VALUE);
        }
        mode.set(exchange_mode(wanted))
    })
}

// --- events ---

/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: u32 = 2;
/// `CU_EVENT_INTERPROCESS`, which needs timing disabled.
const INTERPROCESS: u32 = 4;

#[unsafe(no_mangle)]
extern "C" fn cuEventCreate(out: Out<Handle>, flags: u32) -> Status {
    enter_context(|driver, context| {
        if flags > 7 || (flags & INTERPROCESS != 0 && flags & DISABLE_TIMING == 0) {
            return Err(Status::INVALID_VALUE);
        }
        let handle = driver.handle();
        driver.events.insert(
            handle,
            Event {
                context,
                flags,
                recorded: None,
            },
        );
        out.set(handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: Handle) -> Status {
    enter_context(|driver, _| {
        driver
            .events
            .remove(&event)
            .map(|_| ())
            .ok_or(Status::INVALID_HANDLE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        let context = driver
            .events
            .get(&event)
            .ok_or(Status::INVALID_HANDLE)?
            .context;
        if context != driver.streams[&stream].context {
            return Err(Status::INVALID_HANDLE);
        }
        let recorded = match driver.streams[&stream].capture {
            Some(id) => Recorded::Captured(driver.captured_point(id, stream)?),
            None => Recorded::At {
                time: Instant::now(),
                clock: driver.stream_clock(stream)?,
            },
        };
        if let Some(event) = driver.events.get_mut(&event) {
            event.recorded = Some(recorded);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecordWithFlags(event: Handle, stream: Handle, flags: u32) -> Status {
    if flags > 1 {
        Status::INVALID_VALUE
    } else {
        cuEventRecord(event, stream)
    }
}

impl Driver {
    /// The event's clock, or nothing when it was never recorded.
    fn wait_for_event(&mut self, event: Handle) -> Outcome {
        let clock = match &self
            .events
            .get(&event)
            .ok_or(Status::INVALID_HANDLE)?
            .recorded
        {
            None => return Ok(()),
            Some(Recorded::At { clock, .. }) => clock.clone(),
            Some(Recorded::Captured(point)) => {
                let id = point.capture;
                self.invalidate(id);
                return Err(Status::CAPTURED_EVENT);
            }
        };
        self.host.join(&clock);
        Ok(())
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: Handle) -> Status {
    enter_context(|driver, _| driver.wait_for_event(event))
}

/// Work has always finished by the time one can ask.
#[unsafe(no_mangle)]
extern "C" fn cuEventQuery(event: Handle) -> Status {
    cuEventSynchronize(event)
}

/// Milliseconds of the host's clock between two events: how long the emulator took, not a GPU.
#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime(milliseconds: Out<f32>, start: Handle, end: Handle) -> Status {
    enter_context(|driver, _| {
        let time = |event: Handle| {
            let event = driver.events.get(&event).ok_or(Status::INVALID_HANDLE)?;
            match &event.recorded {
                _ if event.flags & DISABLE_TIMING != 0 => Err(Status::INVALID_HANDLE),
                Some(Recorded::At { time, .. }) => Ok(*time),
                Some(Recorded::Captured(_)) => Err(Status::CAPTURED_EVENT),
                None => Err(Status::INVALID_HANDLE),
            }
        };
        let (start, end) = (time(start)?, time(end)?);
        let elapsed = match end.checked_duration_since(start) {
            Some(after) => after.as_secs_f32(),
            None => -start.duration_since(end).as_secs_f32(),
        };
        milliseconds.set(elapsed * 1000.0)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: Handle, end: Handle) -> Status {
    cuEventElapsedTime(milliseconds, start, end)
}
