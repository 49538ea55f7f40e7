//! What the driver knows: devices, contexts, and everything a handle names.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::capture::{Capture, CaptureId, CapturedPoint};
use super::graphs::{Graph, GraphExec};
use super::order::{Clock, Timelines};
use super::report::FaultRecord;
use super::settings::Settings;
use super::status::{Outcome, Status};
use crate::{Engine, KernelHandle, Module};

/// The value of a handle. Handles are numbers that are never used twice, so that a stale one is recognised.
pub(super) type Handle = u64;

/// `CU_STREAM_LEGACY`, the default stream under its explicit name.
pub(super) const STREAM_LEGACY: Handle = 1;
/// `CU_STREAM_PER_THREAD`.
pub(super) const STREAM_PER_THREAD: Handle = 2;

pub(super) struct Device {
    pub engine: Arc<Engine>,
    pub primary: Option<Handle>,
    pub primary_retained: u32,
    pub primary_flags: u32,
    pub pool: Handle,
    pub default_pool: Handle,
    /// Allocations by address: the context they belong to and their size.
    pub allocations: BTreeMap<u64, Allocation>,
}

#[derive(Clone, Copy)]
pub(super) struct Allocation {
    pub context: Handle,
    pub bytes: u64,
    /// The n-th allocation of the process, to find it again.
    pub serial: u64,
    pub call: &'static str,
    pub pool: Option<Handle>,
}

pub(super) struct Context {
    pub device: usize,
    pub flags: u32,
    /// The first kernel fault; every later call returns it.
    pub sticky: Option<Status>,
    /// The legacy default stream, and one stream per host thread for `CU_STREAM_PER_THREAD`.
    pub default_stream: Handle,
    pub per_thread: HashMap<std::thread::ThreadId, Handle>,
    pub limits: BTreeMap<u32, usize>,
    pub cache: u32,
}

pub(super) struct Stream {
    pub context: Handle,
    pub flags: u32,
    pub priority: i32,
    pub timeline: usize,
    pub clock: Clock,
    pub capture: Option<CaptureId>,
    /// Created by the driver, not by the program.
    pub implicit: bool,
}

impl Stream {
    /// Whether the legacy default stream waits for this one, and this one for it.
    pub fn blocking(&self) -> bool {
        self.flags & 1 == 0
    }
}

pub(super) struct Event {
    pub context: Handle,
    pub flags: u32,
    pub recorded: Option<Recorded>,
}

pub(super) enum Recorded {
    At { time: Instant, clock: Clock },
    Captured(CapturedPoint),
}

pub(super) struct LoadedModule {
    pub context: Handle,
    pub module: Arc<Module>,
    pub functions: HashMap<String, Handle>,
    /// Loaded by `cuLibraryLoadData`, or by the module functions.
    pub library: bool,
}

#[derive(Clone)]
pub(super) struct Function {
    pub module: Handle,
    pub context: Handle,
    pub kernel: KernelHandle,
    /// The name with its terminating zero, whose address `cuFuncGetName` returns.
    pub name: Arc<std::ffi::CString>,
    pub max_dynamic_shared: u32,
    pub carveout: i32,
}

pub(super) struct Pool {
    pub device: usize,
    pub threshold: u64,
    pub used_high: u64,
    pub implicit: bool,
}

pub(super) struct Driver {
    pub settings: Settings,
    pub devices: Vec<Device>,
    pub contexts: BTreeMap<Handle, Context>,
    pub streams: BTreeMap<Handle, Stream>,
    pub events: BTreeMap<Handle, Event>,
    pub modules: BTreeMap<Handle, LoadedModule>,
    pub functions: BTreeMap<Handle, Function>,
    pub graphs: BTreeMap<Handle, Graph>,
    pub execs: BTreeMap<Handle, GraphExec>,
    pub captures: BTreeMap<CaptureId, Capture>,
    pub pools: BTreeMap<Handle, Pool>,
    /// Page-locked host memory by address.
    pub host_blocks: BTreeMap<u64, super::host::HostBlock>,
    pub timelines: Timelines,
    /// What the host has seen finish. One clock for all host threads: how they order themselves is not visible here.
    pub host: Clock,
    pub faults: Vec<FaultRecord>,
    next_handle: u64,
    next_serial: u64,
}

impl Driver {
    pub fn new(settings: Settings) -> Driver {
        let mut driver = Driver {
            devices: Vec::new(),
            contexts: BTreeMap::new(),
            streams: BTreeMap::new(),
            events: BTreeMap::new(),
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
            graphs: BTreeMap::new(),
            execs: BTreeMap::new(),
            captures: BTreeMap::new(),
            pools: BTreeMap::new(),
            host_blocks: BTreeMap::new(),
            timelines: Timelines::default(),
            host: Clock::default(),
            faults: Vec::new(),
            next_handle: 0,
            next_serial: 0,
            settings,
        };
        for index in 0..driver.settings.devices as usize {
            let pool = driver.handle();
            driver.pools.insert(
                pool,
                Pool {
                    device: index,
                    threshold: 0,
                    used_high: 0,
                    implicit: true,
                },
            );
            let engine = Arc::new(Engine::new(driver.settings.device.clone()));
            driver.devices.push(Device {
                engine,
                primary: None,
                primary_retained: 0,
                primary_flags: 0,
                pool,
                default_pool: pool,
                allocations: BTreeMap::new(),
            });
        }
        driver
    }

    /// A new handle: far from any address, and a multiple of 16 as pointers are.
    pub fn handle(&mut self) -> Handle {
        self.next_handle += 1;
        0x00EC_0000_0000_0000 + 16 * self.next_handle
    }

    pub fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    pub fn device(&self, ordinal: i32) -> Outcome<usize> {
        usize::try_from(ordinal)
            .ok()
            .filter(|&i| i < self.devices.len())
            .ok_or(Status::INVALID_DEVICE)
    }

    /// The calling thread's current context, usable: neither destroyed nor broken by a kernel fault.
    pub fn current(&self) -> Outcome<Handle> {
        let handle = current_handle().ok_or(Status::INVALID_CONTEXT)?;
        self.usable(handle)
    }

    pub fn usable(&self, context: Handle) -> Outcome<Handle> {
        match self.contexts.get(&context) {
            None => Err(Status::CONTEXT_IS_DESTROYED),
            Some(Context {
                sticky: Some(status),
                ..
            }) => Err(*status),
            Some(_) => Ok(context),
        }
    }

    /// A context that was just found usable, or belongs to a live handle.
    pub fn context(&self, handle: Handle) -> Outcome<&Context> {
        self.contexts
            .get(&handle)
            .ok_or(Status::CONTEXT_IS_DESTROYED)
    }

    pub fn context_mut(&mut self, handle: Handle) -> Outcome<&mut Context> {
        self.contexts
            .get_mut(&handle)
            .ok_or(Status::CONTEXT_IS_DESTROYED)
    }

    pub fn engine_of(&self, context: Handle) -> Outcome<Arc<Engine>> {
        Ok(self.devices[self.context(context)?.device].engine.clone())
    }

    /// The real stream behind a stream argument, and its context, found usable.
    pub fn stream(&mut self, argument: Handle) -> Outcome<Handle> {
        let stream = match argument {
            0 | STREAM_LEGACY => {
                let current = self.current()?;
                self.context(current)?.default_stream
            }
            STREAM_PER_THREAD => {
                let current = self.current()?;
                let thread = std::thread::current().id();
                match self.context(current)?.per_thread.get(&thread) {
                    Some(&stream) => stream,
                    None => {
                        let stream = self.add_stream(current, 0, 0, true);
                        self.context_mut(current)?.per_thread.insert(thread, stream);
                        stream
                    }
                }
            }
            handle => {
                self.current()?;
                handle
            }
        };
        let context = self
            .streams
            .get(&stream)
            .ok_or(Status::INVALID_HANDLE)?
            .context;
        self.usable(context)?;
        Ok(stream)
    }

    pub fn add_stream(
        &mut self,
        context: Handle,
        flags: u32,
        priority: i32,
        implicit: bool,
    ) -> Handle {
        let handle = self.handle();
        let timeline = self.timelines.add();
        self.streams.insert(
            handle,
            Stream {
                context,
                flags,
                priority,
                timeline,
                clock: Clock::default(),
                capture: None,
                implicit,
            },
        );
        handle
    }

    pub fn is_default_stream(&self, stream: Handle) -> bool {
        self.streams
            .get(&stream)
            .and_then(|s| self.contexts.get(&s.context))
            .is_some_and(|c| c.default_stream == stream)
    }

    /// The clock that the next operation on `stream` starts from: what the stream and the host have seen, and what the
    /// legacy default stream's rules add.
    pub fn stream_clock(&self, stream: Handle) -> Outcome<Clock> {
        let this = self.streams.get(&stream).ok_or(Status::INVALID_HANDLE)?;
        let mut clock = this.clock.clone();
        clock.join(&self.host);
        if self.is_default_stream(stream) {
            for other in self
                .streams
                .values()
                .filter(|s| s.context == this.context && s.blocking())
            {
                clock.join(&other.clock);
            }
        } else if this.blocking() {
            let default = self.context(this.context)?.default_stream;
            if let Some(default) = self.streams.get(&default) {
                clock.join(&default.clock);
            }
        }
        Ok(clock)
    }

    /// The host has waited for everything on `stream`.
    pub fn host_waited_for(&mut self, stream: Handle) -> Outcome {
        let clock = self.stream_clock(stream)?;
        self.host.join(&clock);
        Ok(())
    }

    /// The host has waited for everything in `context`.
    pub fn host_waited_for_context(&mut self, context: Handle) {
        for stream in self.streams.values().filter(|s| s.context == context) {
            self.host.join(&stream.clock);
        }
    }
}

thread_local! {
    /// The calling thread's stack of contexts, the current one last.
    static STACK: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn with_stack<T>(body: impl FnOnce(&mut Vec<Handle>) -> T) -> T {
    STACK.with(|stack| body(&mut stack.borrow_mut()))
}

pub(super) fn current_handle() -> Option<Handle> {
    with_stack(|stack| stack.last().copied())
}

static DRIVER: OnceLock<Mutex<Option<Driver>>> = OnceLock::new();

/// The driver, if `cuInit` has set it up.
pub(super) fn driver() -> MutexGuard<'static, Option<Driver>> {
    DRIVER
        .get_or_init(|| Mutex::new(None))
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Runs one driver call: finds the driver, keeps others out, and turns a panic into an error code, which must not unwind
/// into C.
pub(super) fn enter(body: impl FnOnce(&mut Driver) -> Outcome) -> Status {
    let outcome =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match driver().as_mut() {
            Some(driver) => body(driver),
            None => Err(Status::NOT_INITIALIZED),
        }));
    outcome.unwrap_or(Err(Status::UNKNOWN)).into()
}

/// As [`enter`], for calls that need a usable current context, which the body is given.
pub(super) fn enter_context(body: impl FnOnce(&mut Driver, Handle) -> Outcome) -> Status {
    enter(|driver| {
        let context = driver.current()?;
        body(driver, context)
    })
}
