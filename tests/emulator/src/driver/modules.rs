//! Modules and libraries from PTX text, their functions and variables.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;

use super::pointers::{HostSource, HostTarget, In, Out, Text};
use super::state::{Driver, Function, Handle, LoadedModule, enter, enter_context};
use super::status::{Outcome, Status};

/// `CU_JIT_INFO_LOG_BUFFER` and the size that goes with it, the same for errors, and `CU_JIT_LOG_VERBOSE`.
const INFO_LOG: [u32; 2] = [3, 4];
const ERROR_LOG: [u32; 2] = [5, 6];
const LOG_VERBOSE: u32 = 12;

impl Driver {
    /// Loads PTX text; on failure the reason comes with the status.
    fn load(
        &mut self,
        context: Handle,
        image: &[u8],
        library: bool,
    ) -> Result<Handle, (Status, String)> {
        let plain = |status| (status, String::new());
        self.forbid_while_capturing().map_err(plain)?;
        let text = std::str::from_utf8(image)
            .map_err(|_| (Status::INVALID_IMAGE, "the image is not text".to_string()))?;
        if let Some(newest) = self.settings.ptx_version
            && let Some(found) = ptx_version(text).filter(|found| *found > newest)
        {
            let reason = format!(
                "PTX {}.{}: expected {}.{} or older, which the driver reads",
                found.0, found.1, newest.0, newest.1
            );
            return Err((Status::UNSUPPORTED_PTX_VERSION, reason));
        }
        let engine = self.engine_of(context).map_err(plain)?;
        let module = engine
            .load_module(text)
            .map_err(|error| (Status::INVALID_PTX, error.to_string()))?;
        let handle = self.handle();
        self.modules.insert(
            handle,
            LoadedModule {
                context,
                module,
                functions: HashMap::new(),
                library,
            },
        );
        Ok(handle)
    }

    /// Loads an image in memory: PTX that ends in a zero byte. Compiled images are refused.
    fn load_image(
        &mut self,
        context: Handle,
        image: &HostSource,
        library: bool,
    ) -> Result<Handle, (Status, String)> {
        let compiled: [&[u8]; 3] = [b"\x7fELF", b"\x50\xed\x55\xba", b"\xb1\x43\x62\x46"];
        if compiled.iter().any(|magic| image.starts_with(magic)) {
            return Err((
                Status::NO_BINARY_FOR_GPU,
                "a compiled image: the emulator runs PTX text only".to_string(),
            ));
        }
        let text = image
            .text()
            .bytes()
            .map_err(|status| (status, String::new()))?;
        self.load(context, text, library)
    }

    fn function(&mut self, module: Handle, name: &str) -> Outcome<Handle> {
        let loaded = self.modules.get(&module).ok_or(Status::INVALID_HANDLE)?;
        if let Some(&function) = loaded.functions.get(name) {
            return Ok(function);
        }
        let kernel = loaded.module.kernel(name).ok_or(Status::NOT_FOUND)?;
        let context = loaded.context;
        let max_dynamic_shared = self
            .settings
            .device
            .shared_per_block
            .saturating_sub(kernel.static_shared());
        let text = CString::new(name).map_err(|_| Status::INVALID_VALUE)?;
        let handle = self.handle();
        let function = Function {
            module,
            context,
            kernel,
            name: Arc::new(text),
            max_dynamic_shared,
            carveout: -1,
        };
        self.functions.insert(handle, function);
        if let Some(loaded) = self.modules.get_mut(&module) {
            loaded.functions.insert(name.to_string(), handle);
        }
        Ok(handle)
    }

    fn unload(&mut self, module: Handle, library: bool) -> Outcome {
        if self
            .modules
            .get(&module)
            .is_none_or(|m| m.library != library)
        {
            return Err(Status::INVALID_HANDLE);
        }
        self.forbid_while_capturing()?;
        self.functions.retain(|_, f| f.module != module);
        if let Some(loaded) = self.modules.remove(&module) {
            let engine = self.engine_of(loaded.context)?;
            // The variables were placed when the module was loaded, and only here are they freed.
            let _ = engine.unload_module(&loaded.module);
        }
        Ok(())
    }

    fn variable(&self, module: Handle, name: &str) -> Outcome<(u64, u64)> {
        let loaded = self.modules.get(&module).ok_or(Status::INVALID_HANDLE)?;
        loaded
            .module
            .variable(name)
            .map(|v| (v.address, v.bytes))
            .ok_or(Status::NOT_FOUND)
    }
}

/// What the PTX declares as its version; nothing where the parser will complain anyway.
fn ptx_version(text: &str) -> Option<(u32, u32)> {
    let mut lines = text.lines();
    let version = lines.find_map(|line| line.trim().strip_prefix(".version"))?;
    super::settings::parse_pair(version.split("//").next()?.trim())
}

/// Loads a module and prints the reason when it cannot.
fn load_data(out: &Out<Handle>, image: &HostSource, library: bool) -> Status {
    enter_context(
        |driver, context| match driver.load_image(context, image, library) {
            Ok(module) => out.set(module),
            Err((status, reason)) => {
                if !reason.is_empty() {
                    super::report::explain(&reason);
                }
                Err(status)
            }
        },
    )
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadData(out: Out<Handle>, image: HostSource) -> Status {
    load_data(&out, &image, false)
}

/// The options of `cuModuleLoadDataEx`: keys, and values that are addresses or numbers.
struct JitOptions {
    count: usize,
    keys: In<u32>,
    values: Out<u64>,
}

impl JitOptions {
    /// Place and value of an option.
    fn find(&self, wanted: u32) -> Outcome<Option<(usize, u64)>> {
        for index in 0..self.count {
            if self.keys.at(index)? == wanted {
                return Ok(Some((index, self.values.at(index)?)));
            }
        }
        Ok(None)
    }

    /// Writes a log as far as its buffer has room, with a zero at its end, and how many bytes it has
    /// into the option that gave the room. Returns whether there is a buffer.
    fn log(&self, [buffer, room]: [u32; 2], text: &str) -> Outcome<bool> {
        let (Some((_, address)), Some((index, room))) = (self.find(buffer)?, self.find(room)?)
        else {
            return Ok(false);
        };
        // The room is an unsigned int in a slot of pointer size.
        let room = room as u32 as usize;
        if room == 0 {
            return Ok(false);
        }
        let mut bytes = text.as_bytes()[..text.len().min(room - 1)].to_vec();
        let written = bytes.len() as u64;
        bytes.push(0);
        HostTarget::from_address(address).write(&bytes)?;
        self.values.set_at(index, written)?;
        Ok(true)
    }
}

/// As `cuModuleLoadData`; the reason of a failure also goes into the error log, and what was loaded into the info log,
/// if the options name them.
#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadDataEx(
    out: Out<Handle>,
    image: HostSource,
    count: u32,
    options: In<u32>,
    values: Out<u64>,
) -> Status {
    enter_context(|driver, context| {
        let options = JitOptions {
            count: count as usize,
            keys: options,
            values,
        };
        let verbose = options.find(LOG_VERBOSE)?.is_some_and(|(_, v)| v != 0);
        let (status, reason) = match driver.load_image(context, &image, false) {
            Ok(module) => {
                let loaded = &driver.modules[&module];
                let kernels = loaded.module.kernels().filter(|_| verbose);
                let info: Vec<String> = kernels
                    .map(|k| {
                        format!(
                            "{}: {} registers assumed, {} bytes of shared memory, {} bytes of local memory",
                            k.name(),
                            k.assumed_registers(),
                            k.static_shared(),
                            k.local_bytes()
                        )
                    })
                    .collect();
                options.log(INFO_LOG, &info.join("\n"))?;
                (out.set(module), String::new())
            }
            Err((status, reason)) => {
                options.log(INFO_LOG, "")?;
                (Err(status), reason)
            }
        };
        if !options.log(ERROR_LOG, &reason)? && !reason.is_empty() {
            super::report::explain(&reason);
        }
        status
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoad(out: Out<Handle>, path: Text) -> Status {
    enter_context(|driver, context| {
        let image = std::fs::read(path.read()?).map_err(|_| Status::FILE_NOT_FOUND)?;
        let image = image.strip_suffix(b"\0").unwrap_or(&image);
        let module = driver
            .load(context, image, false)
            .map_err(|(status, reason)| {
                super::report::explain(&reason);
                status
            })?;
        out.set(module)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: Handle) -> Status {
    enter_context(|driver, _| driver.unload(module, false))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetFunction(out: Out<Handle>, module: Handle, name: Text) -> Status {
    enter_context(|driver, _| out.set(driver.function(module, name.read()?)?))
}

fn global(address: &Out<u64>, bytes: &Out<usize>, module: Handle, name: &Text) -> Status {
    enter_context(|driver, _| {
        let (start, size) = driver.variable(module, name.read()?)?;
        address.set_if_wanted(start);
        bytes.set_if_wanted(size as usize);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetGlobal_v2(
    address: Out<u64>,
    bytes: Out<usize>,
    module: Handle,
    name: Text,
) -> Status {
    global(&address, &bytes, module, &name)
}

// --- libraries: modules under another name, bound here to the current context ---

#[unsafe(no_mangle)]
extern "C" fn cuLibraryLoadData(
    out: Out<Handle>,
    image: HostSource,
    _jit_options: In<u32>,
    _jit_values: In<u64>,
    _jit_count: u32,
    _options: In<u32>,
    _values: In<u64>,
    _count: u32,
) -> Status {
    load_data(&out, &image, true)
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryUnload(library: Handle) -> Status {
    enter(|driver| driver.unload(library, true))
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryGetKernel(out: Out<Handle>, library: Handle, name: Text) -> Status {
    cuModuleGetFunction(out, library, name)
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryGetModule(out: Out<Handle>, library: Handle) -> Status {
    enter(|driver| {
        driver
            .modules
            .get(&library)
            .map_or(Err(Status::INVALID_HANDLE), |_| out.set(library))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryGetGlobal(
    address: Out<u64>,
    bytes: Out<usize>,
    library: Handle,
    name: Text,
) -> Status {
    global(&address, &bytes, library, &name)
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelGetFunction(out: Out<Handle>, kernel: Handle) -> Status {
    enter(|driver| {
        driver
            .functions
            .get(&kernel)
            .map_or(Err(Status::INVALID_HANDLE), |_| out.set(kernel))
    })
}

// --- function attributes ---

/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES` and `_PREFERRED_SHARED_MEMORY_CARVEOUT`.
const MAX_DYNAMIC_SHARED: u32 = 8;
const CARVEOUT: u32 = 9;

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetAttribute(value: Out<i32>, attribute: u32, function: Handle) -> Status {
    enter_context(|driver, _| {
        let function = driver
            .functions
            .get(&function)
            .ok_or(Status::INVALID_HANDLE)?;
        let (kernel, device) = (&function.kernel, &driver.settings.device);
        let answer = match attribute {
            0 => driver.block_limit(function) as i32,
            1 => kernel.static_shared() as i32,
            2 => 0,
            3 => kernel.local_bytes() as i32,
            4 => kernel.assumed_registers() as i32,
            5 | 6 => (device.compute_capability.0 * 10 + device.compute_capability.1) as i32,
            MAX_DYNAMIC_SHARED => function.max_dynamic_shared as i32,
            CARVEOUT => function.carveout,
            7 | 10..=15 => 0,
            _ => return Err(Status::INVALID_VALUE),
        };
        value.set(answer)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetAttribute(function: Handle, attribute: u32, value: i32) -> Status {
    enter_context(|driver, _| {
        let limit = driver.settings.device.shared_per_block_optin;
        let function = driver
            .functions
            .get_mut(&function)
            .ok_or(Status::INVALID_HANDLE)?;
        match attribute {
            MAX_DYNAMIC_SHARED => {
                let room = limit.saturating_sub(function.kernel.static_shared());
                function.max_dynamic_shared = u32::try_from(value)
                    .ok()
                    .filter(|&v| v <= room)
                    .ok_or(Status::INVALID_VALUE)?;
                Ok(())
            }
            CARVEOUT if (-1..=100).contains(&value) => {
                function.carveout = value;
                Ok(())
            }
            _ => Err(Status::INVALID_VALUE),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetCacheConfig(function: Handle, config: u32) -> Status {
    enter_context(|driver, _| match driver.functions.get(&function) {
        None => Err(Status::INVALID_HANDLE),
        Some(_) if config > 3 => Err(Status::INVALID_VALUE),
        Some(_) => Ok(()),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetModule(out: Out<Handle>, function: Handle) -> Status {
    enter_context(|driver, _| {
        out.set(
            driver
                .functions
                .get(&function)
                .ok_or(Status::INVALID_HANDLE)?
                .module,
        )
    })
}

/// The function's name, valid while its module is loaded.
#[unsafe(no_mangle)]
extern "C" fn cuFuncGetName(out: Out<*const std::ffi::c_char>, function: Handle) -> Status {
    enter_context(|driver, _| {
        out.set(
            driver
                .functions
                .get(&function)
                .ok_or(Status::INVALID_HANDLE)?
                .name
                .as_ptr(),
        )
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetParamInfo(
    function: Handle,
    index: usize,
    offset: Out<usize>,
    size: Out<usize>,
) -> Status {
    enter_context(|driver, _| {
        let function = driver
            .functions
            .get(&function)
            .ok_or(Status::INVALID_HANDLE)?;
        let parameter = function
            .kernel
            .params()
            .get(index)
            .ok_or(Status::INVALID_VALUE)?;
        offset.set(parameter.offset as usize)?;
        size.set_if_wanted(parameter.size as usize);
        Ok(())
    })
}
