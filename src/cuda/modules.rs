//! The compiled kernels, and which of them a device runs.

use super::device::DeviceInfo;

/// One file of `kernels/`, compiled for one architecture.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Name of the file, without its extension.
    pub name: &'static str,
    /// The least compute capability it runs on, times ten (`compute_75`).
    pub architecture: u32,
    /// The PTX text.
    pub ptx: &'static str,
}

/// Every file for every architecture it was compiled for, the oldest first.
pub const MODULES: &[Module] = include!(concat!(env!("OUT_DIR"), "/modules.rs"));

impl Module {
    /// The newest version of a file that runs on a device.
    pub(super) fn find(name: &str, architecture: u32) -> Option<&'static Self> {
        MODULES
            .iter()
            .filter(|module| module.name == name && module.architecture <= architecture)
            .max_by_key(|module| module.architecture)
    }
}

impl DeviceInfo {
    /// The compiled kernels it runs: of each file the newest that its compute capability allows.
    /// None if it is too old for all of them.
    pub fn modules(&self) -> impl Iterator<Item = &'static Module> {
        let architecture = self.architecture();
        MODULES.iter().filter(move |module| {
            let used = Module::find(module.name, architecture);
            used.is_some_and(|used| used.architecture == module.architecture)
        })
    }

    /// Its compute capability, times ten.
    pub(super) fn architecture(&self) -> u32 {
        let (major, minor) = self.compute_capability;
        (major * 10 + minor) as u32
    }
}
