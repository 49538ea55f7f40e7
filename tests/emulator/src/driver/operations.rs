//! Work that is put on a stream: captured into a graph while the stream captures, run at once otherwise.

use std::sync::Arc;

use super::graphs::Body;
use super::order::Clock;
use super::pointers::{HostCall, HostSource, HostTarget};
use super::state::{Driver, Handle, enter};
use super::status::{Outcome, Status};
use crate::{AccessKind, KernelHandle, Launch, LaunchOrder};

/// One thing for the device (or, for `Host`, the host) to do.
#[derive(Clone)]
pub(super) enum Operation {
    Kernel {
        module: Handle,
        kernel: KernelHandle,
        launch: Launch,
        parameters: Arc<[u8]>,
    },
    Fill {
        address: u64,
        pattern: Vec<u8>,
        count: u64,
    },
    ToDevice {
        to: u64,
        from: HostSource,
        bytes: usize,
    },
    ToHost {
        to: HostTarget,
        from: u64,
        bytes: usize,
    },
    Within {
        to: u64,
        from: u64,
        bytes: u64,
    },
    HostToHost {
        to: HostTarget,
        from: HostSource,
        bytes: usize,
    },
    /// From one device's memory to another's.
    Peer {
        to: u64,
        to_device: usize,
        from: u64,
        from_device: usize,
        bytes: usize,
    },
    Host(HostCall),
    /// Another graph as one node.
    Child(Arc<Body>),
    /// A launch of an instantiated graph.
    Launch(Handle),
    Empty,
}

impl Operation {
    /// The `CUgraphNodeType` of a node that does this.
    pub fn node_type(&self) -> u32 {
        match self {
            Operation::Kernel { .. } => 0,
            Operation::Fill { .. } => 2,
            Operation::Host(_) => 3,
            Operation::Child(_) | Operation::Launch(_) => 4,
            Operation::Empty => 5,
            _ => 1,
        }
    }
}

impl Operation {
    /// The device memory that a copy or fill reads and writes; kernels' accesses are seen by the engine.
    fn accesses(&self) -> Vec<(u64, u64, AccessKind)> {
        let accesses = match self {
            Operation::Fill {
                address,
                pattern,
                count,
            } => {
                vec![(
                    *address,
                    count.saturating_mul(pattern.len() as u64),
                    AccessKind::Write,
                )]
            }
            Operation::ToDevice { to, bytes, .. } => vec![(*to, *bytes as u64, AccessKind::Write)],
            Operation::ToHost { from, bytes, .. } => vec![(*from, *bytes as u64, AccessKind::Read)],
            Operation::Within { to, from, bytes } => vec![
                (*from, *bytes, AccessKind::Read),
                (*to, *bytes, AccessKind::Write),
            ],
            _ => Vec::new(),
        };
        accesses
            .into_iter()
            .filter(|(_, bytes, _)| *bytes > 0)
            .collect()
    }
}

/// An operation that is about to run, with what is known to have finished before it.
pub(super) struct Step {
    pub operation: Operation,
    pub context: Handle,
    pub order: LaunchOrder,
}

/// Puts an operation on the stream that `argument` names.
pub(super) fn submit(argument: Handle, operation: Operation) -> Status {
    let mut steps = Vec::new();
    let status = enter(|driver| {
        let stream = driver.stream(argument)?;
        steps = driver.prepare(stream, operation)?;
        Ok(())
    });
    if status != Status::SUCCESS {
        return status;
    }
    run(&steps)
}

/// As [`submit`] on the default stream, then waits for it: what the calls without a stream do.
pub(super) fn submit_and_wait(operation: Operation) -> Status {
    let status = enter(|driver| driver.forbid_while_capturing());
    if status != Status::SUCCESS {
        return status;
    }
    let status = submit(0, operation);
    if status != Status::SUCCESS {
        return status;
    }
    enter(|driver| {
        let stream = driver.stream(0)?;
        driver.host_waited_for(stream)
    })
}

/// Runs prepared steps in order. The driver is locked for each but the host's functions.
fn run(steps: &[Step]) -> Status {
    for step in steps {
        let status = match &step.operation {
            Operation::Host(call) => {
                call.run();
                Status::SUCCESS
            }
            _ => enter(|driver| driver.perform(step)),
        };
        if status != Status::SUCCESS {
            return status;
        }
    }
    Status::SUCCESS
}

impl Driver {
    /// Captures the operation, or gives it its place in the order of everything and returns what to run.
    pub fn prepare(&mut self, stream: Handle, operation: Operation) -> Outcome<Vec<Step>> {
        if self.is_default_stream(stream) {
            self.forbid_implicit_dependency(stream)?;
        }
        let context = self.streams[&stream].context;
        if let Some(capture) = self.streams[&stream].capture {
            let operation = match operation {
                Operation::Launch(exec) => Operation::Child(
                    self.execs
                        .get(&exec)
                        .ok_or(Status::INVALID_HANDLE)?
                        .body
                        .clone(),
                ),
                other => other,
            };
            self.capture_operation(capture, stream, operation)?;
            return Ok(Vec::new());
        }
        let mut clock = self.stream_clock(stream)?;
        let steps = match operation {
            Operation::Launch(exec) => self.prepare_graph(exec, stream, &mut clock)?,
            operation => vec![self.step(
                context,
                self.streams[&stream].timeline,
                &mut clock,
                operation,
            )],
        };
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.clock = clock;
        }
        Ok(steps)
    }

    /// Numbers one operation on `timeline` and moves `clock` past it.
    pub fn step(
        &mut self,
        context: Handle,
        timeline: usize,
        clock: &mut Clock,
        operation: Operation,
    ) -> Step {
        let after = clock.as_slice().into();
        let number = self.timelines.issue(timeline, clock);
        Step {
            operation,
            context,
            order: LaunchOrder::Timeline {
                timeline,
                operation: number,
                clock: after,
            },
        }
    }

    /// Runs one step on the device.
    fn perform(&mut self, step: &Step) -> Outcome {
        self.usable(step.context)?;
        let engine = self.engine_of(step.context)?;
        for (address, bytes, kind) in step.operation.accesses() {
            engine
                .note_access(address, bytes, kind, &step.order)
                .map_err(|error| self.memory_fault(step.context, &error))?;
        }
        let memory = |result: Result<(), crate::MemoryError>| {
            result.map_err(|error| {
                super::report::explain(&error.to_string());
                Status::INVALID_VALUE
            })
        };
        match &step.operation {
            Operation::Kernel {
                module,
                kernel,
                launch,
                parameters,
            } => {
                if !self.modules.contains_key(module) {
                    return Err(Status::INVALID_HANDLE);
                }
                let launch = Launch {
                    order: step.order.clone(),
                    ..launch.clone()
                };
                engine
                    .launch(kernel, &launch, parameters)
                    .map_err(|fault| self.kernel_fault(step.context, &fault))
            }
            Operation::Fill {
                address,
                pattern,
                count,
            } => memory(engine.fill(*address, pattern, *count)),
            Operation::ToDevice { to, from, bytes } => {
                engine.count_copy(true, *bytes);
                memory(engine.write(*to, &from.read(*bytes)?))
            }
            Operation::ToHost { to, from, bytes } => {
                engine.count_copy(false, *bytes);
                let mut copy = vec![0; *bytes];
                memory(engine.read(*from, &mut copy))?;
                to.write(&copy)
            }
            Operation::Within { to, from, bytes } => memory(engine.copy(*to, *from, *bytes)),
            Operation::HostToHost { to, from, bytes } => to.write(&from.read(*bytes)?),
            Operation::Peer {
                to,
                to_device,
                from,
                from_device,
                bytes,
            } => {
                let mut copy = vec![0; *bytes];
                memory(self.devices[*from_device].engine.read(*from, &mut copy))?;
                memory(self.devices[*to_device].engine.write(*to, &copy))
            }
            Operation::Host(call) => {
                call.run();
                Ok(())
            }
            Operation::Child(_) | Operation::Launch(_) | Operation::Empty => Ok(()),
        }
    }
}
