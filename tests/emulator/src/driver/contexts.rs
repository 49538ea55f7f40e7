//! Contexts: primary ones, created ones, and each thread's stack of current contexts.

use std::collections::{BTreeMap, HashMap};

use super::pointers::{In, Out};
use super::state::{Context, Driver, Handle, enter, enter_context, with_stack};
use super::status::{Outcome, Status};

/// All flags a context may have: scheduling, mapped host memory, local memory, core dumps, synchronous copies.
const ALL_FLAGS: u32 = 0xff;
/// Greatest number of a `CUlimit`.
const LAST_LIMIT: u32 = 9;

impl Driver {
    fn create_context(&mut self, device: usize, flags: u32) -> Outcome<Handle> {
        if flags & !ALL_FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let handle = self.handle();
        let default_stream = self.add_stream(handle, 0, 0, true);
        let context = Context {
            device,
            flags,
            sticky: None,
            default_stream,
            per_thread: HashMap::new(),
            limits: BTreeMap::from([(0, 1024), (1, 1 << 20), (2, 8 << 20)]),
            cache: 0,
        };
        self.contexts.insert(handle, context);
        Ok(handle)
    }

    /// Ends a context: reports what it leaves behind, and takes everything it owns with it.
    fn destroy_context(&mut self, handle: Handle) -> Outcome {
        if !self.contexts.contains_key(&handle) {
            return Err(Status::INVALID_CONTEXT);
        }
        self.host_waited_for_context(handle);
        self.report_leaks(handle);
        let context = self
            .contexts
            .remove(&handle)
            .ok_or(Status::INVALID_CONTEXT)?;
        let ended = self.devices[context.device].engine.clone();
        for loaded in self.modules.values().filter(|m| m.context == handle) {
            // The variables were placed when the module was loaded, and only here are they freed.
            let _ = ended.unload_module(&loaded.module);
        }
        self.modules.retain(|_, m| m.context != handle);
        self.functions.retain(|_, f| f.context != handle);
        self.execs.retain(|_, e| e.context != handle);
        self.graphs.retain(|_, g| g.context != handle);
        self.events.retain(|_, e| e.context != handle);
        self.streams.retain(|_, s| s.context != handle);
        let streams = &self.streams;
        self.captures.retain(|_, c| streams.contains_key(&c.origin));
        let device = &mut self.devices[context.device];
        let engine = device.engine.clone();
        device.allocations.retain(|&address, allocation| {
            if allocation.context == handle {
                // The engine and this table agree; an error here would leave nothing to do.
                let _ = engine.free(address);
            }
            allocation.context != handle
        });
        if device.primary == Some(handle) {
            device.primary = None;
            device.primary_retained = 0;
        }
        if self.contexts.is_empty() {
            self.write_counters();
        }
        Ok(())
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(out: Out<Handle>, device: i32) -> Status {
    enter(|driver| {
        let device = driver.device(device)?;
        let context = match driver.devices[device].primary {
            Some(context) => context,
            None => {
                let flags = driver.devices[device].primary_flags;
                driver.create_context(device, flags)?
            }
        };
        driver.devices[device].primary = Some(context);
        driver.devices[device].primary_retained += 1;
        out.set(context)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(device: i32) -> Status {
    enter(|driver| {
        let index = driver.device(device)?;
        let context = driver.devices[index]
            .primary
            .ok_or(Status::INVALID_CONTEXT)?;
        driver.devices[index].primary_retained -= 1;
        if driver.devices[index].primary_retained == 0 {
            driver.destroy_context(context)
        } else {
            Ok(())
        }
    })
}

/// The older name of [`cuDevicePrimaryCtxRelease_v2`].
#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease(device: i32) -> Status {
    cuDevicePrimaryCtxRelease_v2(device)
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxReset_v2(device: i32) -> Status {
    enter(|driver| {
        let index = driver.device(device)?;
        driver.devices[index]
            .primary
            .map_or(Ok(()), |context| driver.destroy_context(context))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxReset(device: i32) -> Status {
    cuDevicePrimaryCtxReset_v2(device)
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxSetFlags_v2(device: i32, flags: u32) -> Status {
    enter(|driver| {
        let index = driver.device(device)?;
        if flags & !ALL_FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        driver.devices[index].primary_flags = flags;
        match driver.devices[index].primary {
            Some(context) => driver.context_mut(context).map(|c| c.flags = flags),
            None => Ok(()),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxGetState(device: i32, flags: Out<u32>, active: Out<i32>) -> Status {
    enter(|driver| {
        let device = &driver.devices[driver.device(device)?];
        flags.set(device.primary_flags)?;
        active.set(device.primary.is_some() as i32)
    })
}

fn create(out: &Out<Handle>, flags: u32, device: i32) -> Status {
    enter(|driver| {
        let device = driver.device(device)?;
        let context = driver.create_context(device, flags)?;
        with_stack(|stack| stack.push(context));
        out.set(context)
    })
}

/// Creates a context and makes it current.
#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v2(out: Out<Handle>, flags: u32, device: i32) -> Status {
    create(&out, flags, device)
}

/// Execution affinity is not modelled: a list of it is refused.
#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v3(
    out: Out<Handle>,
    _affinity: In<u64>,
    affinities: i32,
    flags: u32,
    device: i32,
) -> Status {
    if affinities != 0 {
        Status::NOT_SUPPORTED
    } else {
        create(&out, flags, device)
    }
}

/// `CUctxCreateParams`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CreateParameters {
    affinity: u64,
    affinities: i32,
    graphics: u64,
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v4(
    out: Out<Handle>,
    parameters: In<CreateParameters>,
    flags: u32,
    device: i32,
) -> Status {
    match parameters.get() {
        Ok(p) if p.affinities != 0 || p.affinity != 0 || p.graphics != 0 => Status::NOT_SUPPORTED,
        _ => create(&out, flags, device),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxDestroy_v2(context: Handle) -> Status {
    enter(|driver| {
        // A primary context is released, not destroyed.
        if driver.devices.iter().any(|d| d.primary == Some(context)) {
            return Err(Status::INVALID_CONTEXT);
        }
        driver.destroy_context(context)?;
        with_stack(|stack| {
            if stack.last() == Some(&context) {
                stack.pop();
            }
        });
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPushCurrent_v2(context: Handle) -> Status {
    enter(|driver| {
        driver
            .contexts
            .get(&context)
            .ok_or(Status::INVALID_CONTEXT)?;
        with_stack(|stack| stack.push(context));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPopCurrent_v2(out: Out<Handle>) -> Status {
    enter(|_| {
        let context = with_stack(Vec::pop).ok_or(Status::INVALID_CONTEXT)?;
        out.set_if_wanted(context);
        Ok(())
    })
}

/// Replaces the top of the stack; null only takes it away.
#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: Handle) -> Status {
    enter(|driver| {
        if context != 0 && !driver.contexts.contains_key(&context) {
            return Err(Status::INVALID_CONTEXT);
        }
        with_stack(|stack| {
            stack.pop();
            if context != 0 {
                stack.push(context);
            }
        });
        Ok(())
    })
}

/// The current context, or null. A context that another thread destroyed stays current.
#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCurrent(out: Out<Handle>) -> Status {
    enter(|_| out.set(super::state::current_handle().unwrap_or(0)))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetDevice(device: Out<i32>) -> Status {
    enter_context(|driver, context| device.set(driver.context(context)?.device as i32))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetFlags(flags: Out<u32>) -> Status {
    enter_context(|driver, context| flags.set(driver.context(context)?.flags))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetFlags(flags: u32) -> Status {
    enter_context(|driver, context| {
        if flags & !ALL_FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        driver.context_mut(context)?.flags = flags;
        Ok(())
    })
}

/// The newest interface version that a context answers to.
#[unsafe(no_mangle)]
extern "C" fn cuCtxGetApiVersion(context: Handle, version: Out<u32>) -> Status {
    enter(|driver| {
        let context = if context == 0 {
            driver.current()?
        } else {
            context
        };
        driver
            .contexts
            .get(&context)
            .ok_or(Status::INVALID_CONTEXT)?;
        version.set(3020)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> Status {
    enter_context(|driver, context| {
        driver.forbid_while_capturing()?;
        driver.host_waited_for_context(context);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetLimit(value: Out<usize>, limit: u32) -> Status {
    enter_context(
        |driver, context| match driver.context(context)?.limits.get(&limit) {
            Some(&set) => value.set(set),
            None if limit <= LAST_LIMIT => Err(Status::UNSUPPORTED_LIMIT),
            None => Err(Status::INVALID_VALUE),
        },
    )
}

/// Limits are remembered; none of them restrains a kernel here.
#[unsafe(no_mangle)]
extern "C" fn cuCtxSetLimit(limit: u32, value: usize) -> Status {
    enter_context(
        |driver, context| match driver.context_mut(context)?.limits.get_mut(&limit) {
            Some(set) => {
                *set = value;
                Ok(())
            }
            None if limit <= LAST_LIMIT => Err(Status::UNSUPPORTED_LIMIT),
            None => Err(Status::INVALID_VALUE),
        },
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCacheConfig(config: Out<u32>) -> Status {
    enter_context(|driver, context| config.set(driver.context(context)?.cache))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCacheConfig(config: u32) -> Status {
    enter_context(|driver, context| {
        if config > 3 {
            return Err(Status::INVALID_VALUE);
        }
        driver.context_mut(context)?.cache = config;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) -> Status {
    enter_context(|_, _| {
        least.set_if_wanted(0);
        greatest.set_if_wanted(super::streams::GREATEST_PRIORITY);
        Ok(())
    })
}
