//! The compiled kernels.

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
