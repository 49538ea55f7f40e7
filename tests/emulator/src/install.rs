//! Puts the emulator where programs look for the driver.
//!
//! The library that cargo builds beside this one carries the name `libcuda.so` inside (its SONAME). Once it is loaded,
//! whoever asks the dynamic linker for `libcuda.so` is given it, wherever other libraries of that name may lie.

use std::ffi::{CString, c_char, c_void};
use std::path::{Path, PathBuf};

use crate::Status;

/// The file that cargo makes of this crate's `cdylib`.
const LIBRARY: &str = "libcuda_emulator.so";

/// Why the emulator could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Not beside the test executable, nor where this crate was built.
    #[error(
        "no {LIBRARY} in any of {0:?}: it is built with the crate cuda-emulator, or named by CUDA_EMULATOR_LIBRARY"
    )]
    Missing(Vec<PathBuf>),
    /// The dynamic linker refused it.
    #[error("cannot load {path}: {reason}")]
    Load {
        /// The file.
        path: PathBuf,
        /// The linker's words.
        reason: String,
    },
    /// The library lacks a function it should export.
    #[error("{LIBRARY} does not export {0}: it was not built from this crate")]
    Symbol(&'static str),
    /// A call on the emulator failed.
    #[error("{call} returned {status:?}")]
    Call {
        /// The function.
        call: &'static str,
        /// What it returned.
        status: Status,
    },
    /// A link could not be made.
    #[error("cannot prepare {path}: {source}")]
    Folder {
        /// The link.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

type GiveText = extern "C" fn(*mut c_char, usize, *mut usize) -> Status;
type Reset = extern "C" fn() -> Status;
type Configure = extern "C" fn(*const c_char, *const c_char) -> Status;

/// The emulator as loaded into this process.
#[derive(Debug, Clone, Copy)]
pub struct Installed {
    counters: GiveText,
    counters_reset: Reset,
    faults: GiveText,
    faults_reset: Reset,
    configure: Configure,
}

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: i32) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

const RTLD_NOW: i32 = 2;
const RTLD_GLOBAL: i32 = 0x100;

/// Finds the library: named by `CUDA_EMULATOR_LIBRARY`, beside the running executable, or where this crate was built.
///
/// # Errors
/// [`InstallError::Missing`] with the places looked at.
pub fn library() -> Result<PathBuf, InstallError> {
    if let Some(path) = std::env::var_os("CUDA_EMULATOR_LIBRARY").map(PathBuf::from) {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(InstallError::Missing(vec![path]))
        };
    }
    let mut folders = Vec::new();
    if let Some(folder) = std::env::current_exe()
        .ok()
        .as_deref()
        .and_then(Path::parent)
    {
        // Tests and benches lie in deps/; programs one above; examples beside it.
        folders.extend([folder.to_path_buf(), folder.join("deps")]);
        folders.extend(folder.parent().map(|up| up.join("deps")));
    }
    // target/<profile>/build/<crate>/out: for documentation tests, which run from elsewhere.
    folders.extend(
        Path::new(env!("OUT_DIR"))
            .ancestors()
            .nth(3)
            .map(|profile| profile.join("deps")),
    );
    let found = folders
        .iter()
        .map(|folder| folder.join(LIBRARY))
        .find(|path| path.is_file());
    found.ok_or(InstallError::Missing(folders))
}

/// Loads the emulator into this process as its `libcuda.so`. Call it before the first CUDA call; again is harmless.
///
/// # Errors
/// The library is missing, or cannot be loaded.
pub fn install() -> Result<Installed, InstallError> {
    let path = library()?;
    let failed = |reason: String| InstallError::Load {
        path: path.clone(),
        reason,
    };
    let name =
        CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| failed(e.to_string()))?;
    // SAFETY: a valid string and valid flags; loading runs no code of the library's but the runtime's.
    let library = unsafe { dlopen(name.as_ptr(), RTLD_NOW | RTLD_GLOBAL) };
    if library.is_null() {
        // SAFETY: dlerror returns null or a string valid until this thread's next call into the linker.
        let reason = unsafe {
            let text = dlerror();
            if text.is_null() {
                "no reason given".to_string()
            } else {
                std::ffi::CStr::from_ptr(text)
                    .to_string_lossy()
                    .into_owned()
            }
        };
        return Err(failed(reason));
    }
    let find = |symbol: &'static std::ffi::CStr, shown: &'static str| {
        // SAFETY: a live handle and a valid string.
        let address = unsafe { dlsym(library, symbol.as_ptr()) };
        if address.is_null() {
            Err(InstallError::Symbol(shown))
        } else {
            Ok(address)
        }
    };
    // SAFETY: the functions have these types in `driver::report`, and the library is never closed.
    unsafe {
        Ok(Installed {
            counters: std::mem::transmute::<*mut c_void, GiveText>(find(
                c"cuEmulatorCountersJson",
                "cuEmulatorCountersJson",
            )?),
            counters_reset: std::mem::transmute::<*mut c_void, Reset>(find(
                c"cuEmulatorCountersReset",
                "cuEmulatorCountersReset",
            )?),
            faults: std::mem::transmute::<*mut c_void, GiveText>(find(
                c"cuEmulatorFaultsJson",
                "cuEmulatorFaultsJson",
            )?),
            faults_reset: std::mem::transmute::<*mut c_void, Reset>(find(
                c"cuEmulatorFaultsReset",
                "cuEmulatorFaultsReset",
            )?),
            configure: std::mem::transmute::<*mut c_void, Configure>(find(
                c"cuEmulatorConfigure",
                "cuEmulatorConfigure",
            )?),
        })
    }
}

/// Puts links `libcuda.so` and `libcuda.so.1` to the emulator into `folder`: with `LD_LIBRARY_PATH` set to it, a program
/// started afterwards finds the emulator as its driver.
///
/// # Errors
/// The library is missing, or a link cannot be made.
pub fn link_into(folder: &Path) -> Result<(), InstallError> {
    let library = library()?;
    for name in ["libcuda.so", "libcuda.so.1"] {
        let path = folder.join(name);
        let made = match std::os::unix::fs::symlink(&library, &path) {
            Err(error)
                if error.kind() == std::io::ErrorKind::AlreadyExists
                    && std::fs::read_link(&path).is_ok_and(|to| to == library) =>
            {
                Ok(())
            }
            other => other,
        };
        made.map_err(|source| InstallError::Folder { path, source })?;
    }
    Ok(())
}

fn check(call: &'static str, status: Status) -> Result<(), InstallError> {
    if status == Status::SUCCESS {
        Ok(())
    } else {
        Err(InstallError::Call { call, status })
    }
}

impl Installed {
    /// Changes a setting of [`crate::Settings::NAMES`] before `cuInit`.
    ///
    /// # Errors
    /// The driver is initialised already, or the value is not understood (the reason is printed).
    pub fn configure(&self, name: &str, value: &str) -> Result<(), InstallError> {
        let invalid = |_| InstallError::Call {
            call: "cuEmulatorConfigure",
            status: Status::INVALID_VALUE,
        };
        let (name, value) = (
            CString::new(name).map_err(invalid)?,
            CString::new(value).map_err(invalid)?,
        );
        check(
            "cuEmulatorConfigure",
            (self.configure)(name.as_ptr(), value.as_ptr()),
        )
    }

    /// The counters so far, as JSON: `{"devices": [{"kernels": {name: {...}}, "to_device": {...}, "to_host": {...}}]}`.
    ///
    /// # Errors
    /// The driver is not initialised.
    pub fn counters(&self) -> Result<String, InstallError> {
        text("cuEmulatorCountersJson", self.counters)
    }

    /// Sets the counters to zero.
    ///
    /// # Errors
    /// The driver is not initialised.
    pub fn reset_counters(&self) -> Result<(), InstallError> {
        check("cuEmulatorCountersReset", (self.counters_reset)())
    }

    /// The faults and leaks so far, as a JSON array.
    ///
    /// # Errors
    /// None that is known.
    pub fn faults(&self) -> Result<String, InstallError> {
        text("cuEmulatorFaultsJson", self.faults)
    }

    /// Forgets the faults and leaks so far.
    ///
    /// # Errors
    /// The driver is not initialised.
    pub fn reset_faults(&self) -> Result<(), InstallError> {
        check("cuEmulatorFaultsReset", (self.faults_reset)())
    }
}

/// Calls a function that gives text: for its length, then for the text, again if it grew between.
fn text(call: &'static str, give: GiveText) -> Result<String, InstallError> {
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        let mut needed = 0;
        let target = if buffer.is_empty() {
            std::ptr::null_mut()
        } else {
            buffer.as_mut_ptr().cast()
        };
        let status = give(target, buffer.len(), &mut needed);
        if needed <= buffer.len() || needed == 0 {
            check(call, status)?;
            buffer.truncate(needed.saturating_sub(1));
            return Ok(String::from_utf8_lossy(&buffer).into_owned());
        }
        buffer.resize(needed, 0);
    }
}
