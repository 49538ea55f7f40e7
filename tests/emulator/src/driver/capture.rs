//! Stream capture: streams whose work becomes nodes of a graph instead of running.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::thread::ThreadId;

use super::graphs::Body;
use super::operations::Operation;
use super::state::{Driver, Handle};
use super::status::{Outcome, Status};

pub(super) type CaptureId = u64;

/// `CU_STREAM_CAPTURE_MODE_GLOBAL`, `_THREAD_LOCAL` and `_RELAXED`.
pub(super) const MODE_GLOBAL: u32 = 0;
pub(super) const MODE_RELAXED: u32 = 2;

pub(super) struct Capture {
    pub mode: u32,
    pub thread: ThreadId,
    pub origin: Handle,
    pub valid: bool,
    pub body: Body,
    /// For each stream that takes part, the nodes its next node depends on.
    pub heads: BTreeMap<Handle, Vec<usize>>,
}

/// What an event recorded during a capture stands for.
#[derive(Clone)]
pub(super) struct CapturedPoint {
    pub capture: CaptureId,
    pub nodes: Vec<usize>,
}

thread_local! {
    /// The calling thread's interaction mode: how much other captures forbid it.
    static MODE: Cell<u32> = const { Cell::new(MODE_GLOBAL) };
}

/// Sets the calling thread's interaction mode and returns the one before.
pub(super) fn exchange_mode(mode: u32) -> u32 {
    MODE.replace(mode)
}

impl Driver {
    pub fn begin_capture(&mut self, stream: Handle, mode: u32) -> Outcome {
        if mode > MODE_RELAXED {
            return Err(Status::INVALID_VALUE);
        }
        if self.is_default_stream(stream) {
            return Err(Status::STREAM_CAPTURE_UNSUPPORTED);
        }
        if self.streams[&stream].capture.is_some() {
            return Err(Status::ILLEGAL_STATE);
        }
        let id = self.handle();
        let capture = Capture {
            mode,
            thread: std::thread::current().id(),
            origin: stream,
            valid: true,
            body: Body::default(),
            heads: BTreeMap::from([(stream, Vec::new())]),
        };
        self.captures.insert(id, capture);
        self.enlist(stream, id);
        Ok(())
    }

    fn enlist(&mut self, stream: Handle, id: CaptureId) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.capture = Some(id);
        }
    }

    /// Ends a capture and returns its graph.
    pub fn end_capture(&mut self, stream: Handle) -> Outcome<Body> {
        let id = self.streams[&stream].capture.ok_or(Status::ILLEGAL_STATE)?;
        let capture = self.captures.get(&id).ok_or(Status::ILLEGAL_STATE)?;
        if capture.mode != MODE_RELAXED && capture.thread != std::thread::current().id() {
            return Err(Status::STREAM_CAPTURE_WRONG_THREAD);
        }
        if capture.origin != stream {
            self.invalidate(id);
            return Err(Status::STREAM_CAPTURE_UNMATCHED);
        }
        let capture = self.captures.remove(&id).ok_or(Status::ILLEGAL_STATE)?;
        for stream in self.streams.values_mut().filter(|s| s.capture == Some(id)) {
            stream.capture = None;
        }
        if !capture.valid {
            return Err(Status::STREAM_CAPTURE_INVALIDATED);
        }
        let joined = capture.body.ancestors(&capture.heads[&stream]);
        let all_joined = capture.heads.values().flatten().all(|&node| joined[node]);
        if all_joined {
            Ok(capture.body)
        } else {
            Err(Status::STREAM_CAPTURE_UNJOINED)
        }
    }

    pub fn invalidate(&mut self, id: CaptureId) {
        if let Some(capture) = self.captures.get_mut(&id) {
            capture.valid = false;
        }
    }

    fn valid_capture(&mut self, id: CaptureId) -> Outcome<&mut Capture> {
        match self.captures.get_mut(&id) {
            Some(capture) if capture.valid => Ok(capture),
            _ => Err(Status::STREAM_CAPTURE_INVALIDATED),
        }
    }

    pub fn capture_operation(
        &mut self,
        id: CaptureId,
        stream: Handle,
        operation: Operation,
    ) -> Outcome {
        let node = self.handle();
        let capture = self.valid_capture(id)?;
        let before = capture.heads.remove(&stream).unwrap_or_default();
        let index = capture.body.add(node, operation, before);
        capture.heads.insert(stream, vec![index]);
        Ok(())
    }

    /// What an event recorded on a capturing stream stands for.
    pub fn captured_point(&mut self, id: CaptureId, stream: Handle) -> Outcome<CapturedPoint> {
        let capture = self.valid_capture(id)?;
        Ok(CapturedPoint {
            capture: id,
            nodes: capture.heads.get(&stream).cloned().unwrap_or_default(),
        })
    }

    /// Makes `stream` wait for a captured event: it joins the capture if it does not take part yet.
    pub fn wait_for_captured(&mut self, stream: Handle, point: &CapturedPoint) -> Outcome {
        match self.streams[&stream].capture {
            Some(id) if id != point.capture => {
                self.invalidate(id);
                self.invalidate(point.capture);
                return Err(Status::STREAM_CAPTURE_MERGE);
            }
            Some(_) => {}
            None if self.is_default_stream(stream) => {
                self.invalidate(point.capture);
                return Err(Status::STREAM_CAPTURE_IMPLICIT);
            }
            None if !self.captures.contains_key(&point.capture) => {
                return Err(Status::CAPTURED_EVENT);
            }
            None => self.enlist(stream, point.capture),
        }
        let capture = self.valid_capture(point.capture)?;
        let heads = capture.heads.entry(stream).or_default();
        for &node in &point.nodes {
            if !heads.contains(&node) {
                heads.push(node);
            }
        }
        Ok(())
    }

    /// Refuses calls that might order work behind a capture's back, such as an allocation, and spoils the captures
    /// concerned: those of this thread, and the global ones of others, unless relaxed.
    pub fn forbid_while_capturing(&mut self) -> Outcome {
        let mode = MODE.get();
        let thread = std::thread::current().id();
        let concerned = |c: &Capture| {
            mode != MODE_RELAXED
                && c.mode != MODE_RELAXED
                && (c.thread == thread || (mode == MODE_GLOBAL && c.mode == MODE_GLOBAL))
        };
        let mut forbidden = false;
        for capture in self.captures.values_mut().filter(|c| concerned(c)) {
            capture.valid = false;
            forbidden = true;
        }
        if forbidden {
            Err(Status::STREAM_CAPTURE_UNSUPPORTED)
        } else {
            Ok(())
        }
    }

    /// Refuses work on the legacy default stream while a stream that it would wait for captures.
    pub fn forbid_implicit_dependency(&mut self, default: Handle) -> Outcome {
        let context = self.streams[&default].context;
        let capturing: Vec<CaptureId> = self
            .streams
            .values()
            .filter(|s| s.context == context && s.blocking())
            .filter_map(|s| s.capture)
            .collect();
        for &id in &capturing {
            self.invalidate(id);
        }
        if capturing.is_empty() {
            Ok(())
        } else {
            Err(Status::STREAM_CAPTURE_IMPLICIT)
        }
    }

    /// Refuses to wait for, or ask after, a stream that captures.
    pub fn forbid_capturing_stream(&mut self, stream: Handle) -> Outcome {
        match self.streams[&stream].capture {
            Some(id) => {
                self.invalidate(id);
                Err(Status::STREAM_CAPTURE_UNSUPPORTED)
            }
            None => Ok(()),
        }
    }
}
