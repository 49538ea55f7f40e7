//! What the driver presents, read from environment variables or given by a test.

use std::path::PathBuf;

use crate::{Checks, DeviceConfig};

/// How the emulated driver is set up: how many devices there are, and what each is like.
///
/// The driver reads it once, in `cuInit`, from environment variables named `CUDA_EMULATOR_` and one of [`Settings::NAMES`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Number of devices. With none, `cuInit` returns `CUDA_ERROR_NO_DEVICE`.
    pub devices: u32,
    /// The name each device answers to.
    pub name: String,
    /// What each device is like.
    pub device: DeviceConfig,
    /// What `cuDriverGetVersion` answers: 1000 times the major plus 10 times the minor version.
    pub driver_version: i32,
    /// The newest PTX the driver reads, as major and minor version; any when not set. Newer PTX is refused with `CUDA_ERROR_UNSUPPORTED_PTX_VERSION`.
    pub ptx_version: Option<(u32, u32)>,
    /// Where counters are written as JSON, when the process exits and when the last context is destroyed.
    pub counters: Option<PathBuf>,
    /// Whether allocations and handles still live when their context ends are reported.
    pub leaks: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            devices: 1,
            name: "CUDA emulator".to_string(),
            device: DeviceConfig::default(),
            driver_version: 13000,
            ptx_version: None,
            counters: None,
            leaks: true,
        }
    }
}

/// A setting that could not be understood: names the variable, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("CUDA_EMULATOR_{name}={value}: expected {expected}")]
pub struct SettingError {
    name: String,
    value: String,
    expected: &'static str,
}

impl Settings {
    /// The names that [`Settings::set`] knows; each is also an environment variable after the prefix `CUDA_EMULATOR_`.
    pub const NAMES: &[&str] = &[
        "DEVICES",
        "NAME",
        "CC",
        "SMS",
        "MEMORY",
        "SHARED",
        "SHARED_OPTIN",
        "SHARED_SM",
        "HOST_THREADS",
        "SHUFFLE",
        "PERTURB",
        "BUDGET",
        "CHECKS",
        "COUNTERS",
        "DRIVER_VERSION",
        "PTX_VERSION",
    ];

    /// The default settings changed by the environment.
    ///
    /// # Errors
    /// The first variable whose value cannot be understood.
    pub fn from_environment() -> Result<Settings, SettingError> {
        let mut settings = Settings::default();
        for name in Self::NAMES {
            if let Some(value) = std::env::var_os(format!("CUDA_EMULATOR_{name}")) {
                settings.set(name, &value.to_string_lossy())?;
            }
        }
        Ok(settings)
    }

    /// Changes one setting, named without the prefix, from text as it would stand in the environment.
    ///
    /// # Errors
    /// An unknown name, or a value that is not of the form expected.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let value = value.trim();
        let error = |expected| SettingError {
            name: name.to_string(),
            value: value.to_string(),
            expected,
        };
        let count = |expected| value.parse::<u32>().map_err(|_| error(expected));
        let bytes = || {
            parse_bytes(value)
                .ok_or_else(|| error("a number of bytes, such as 65536, 64K, 512M or 8G"))
        };
        let shared =
            || bytes().and_then(|n| u32::try_from(n).map_err(|_| error("fewer than 4G bytes")));
        let seed = || {
            value
                .parse::<u64>()
                .map(Some)
                .map_err(|_| error("a whole number, the seed"))
        };
        match name {
            "DEVICES" => self.devices = count("a number of devices")?,
            "NAME" => self.name = value.to_string(),
            "CC" => {
                self.device.compute_capability =
                    parse_pair(value).ok_or_else(|| error("a compute capability, such as 8.0"))?
            }
            "SMS" => self.device.sm_count = count("a number of multiprocessors")?.max(1),
            "MEMORY" => self.device.memory_bytes = bytes()?,
            "SHARED" => self.device.shared_per_block = shared()?,
            "SHARED_OPTIN" => self.device.shared_per_block_optin = shared()?,
            "SHARED_SM" => self.device.shared_per_sm = shared()?,
            "HOST_THREADS" => {
                self.device.host_threads = count("a number of threads")?.max(1) as usize
            }
            "SHUFFLE" => self.device.shuffle_seed = seed()?,
            "PERTURB" => self.device.perturb_approx = seed()?,
            "BUDGET" => {
                self.device.instruction_budget =
                    seed().map_err(|_| error("a number of instructions"))?
            }
            "CHECKS" => {
                let expected = "all, none, or names separated by commas of: uninitialised, shared_races, block_races, launch_races, barriers, leaks";
                (self.device.checks, self.leaks) =
                    parse_checks(value).ok_or_else(|| error(expected))?;
            }
            "COUNTERS" => self.counters = (!value.is_empty()).then(|| value.into()),
            "DRIVER_VERSION" => {
                self.driver_version = match parse_pair(value) {
                    Some((major, minor)) if major < 1000 && minor < 100 => {
                        (major * 1000 + minor * 10) as i32
                    }
                    _ => value
                        .parse()
                        .map_err(|_| error("a version, such as 12.4 or 12040"))?,
                }
            }
            "PTX_VERSION" => {
                let version = parse_pair(value).ok_or_else(|| error("a version, such as 8.0"))?;
                self.ptx_version = Some(version);
            }
            _ => return Err(error("a setting that exists: see Settings::NAMES")),
        }
        Ok(())
    }
}

pub(super) fn parse_pair(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn parse_bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.chars().last()?.to_ascii_uppercase() {
        'K' => (&text[..text.len() - 1], 10),
        'M' => (&text[..text.len() - 1], 20),
        'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The engine's checks, and whether leaks are reported.
fn parse_checks(text: &str) -> Option<(Checks, bool)> {
    if text == "all" {
        return Some((Checks::default(), true));
    }
    let (mut checks, mut leaks) = (Checks::none(), false);
    for name in text.split(',').map(str::trim).filter(|_| text != "none") {
        match name {
            "uninitialised" => checks.uninitialised = true,
            "shared_races" => checks.shared_races = true,
            "block_races" => checks.block_races = true,
            "launch_races" => checks.launch_races = true,
            "barriers" => checks.barriers = true,
            "leaks" => leaks = true,
            _ => return None,
        }
    }
    Some((checks, leaks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_every_documented_form() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("CC", "9.0"),
            ("MEMORY", "3M"),
            ("SHUFFLE", "7"),
            ("DRIVER_VERSION", "12.4"),
            ("DEVICES", "2"),
        ] {
            settings.set(name, value).unwrap();
        }
        assert_eq!(settings.device.compute_capability, (9, 0));
        assert_eq!(settings.device.memory_bytes, 3 << 20);
        assert_eq!(settings.device.shuffle_seed, Some(7));
        assert_eq!(settings.driver_version, 12040);
        assert_eq!(settings.devices, 2);
        settings.set("DRIVER_VERSION", "11080").unwrap();
        assert_eq!(settings.driver_version, 11080);
        settings.set("PTX_VERSION", "7.8").unwrap();
        assert_eq!(settings.ptx_version, Some((7, 8)));
        settings.set("CHECKS", "leaks").unwrap();
        assert!(settings.leaks);
        settings.set("CHECKS", "none").unwrap();
        assert!(!settings.leaks);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("CC", "eight"),
            ("MEMORY", "many"),
            ("MEMORY", "99999999999G"),
            ("CHECKS", "bound"),
            ("PTX_VERSION", "8"),
            ("COLOUR", "1"),
        ] {
            let error = settings.set(name, value).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }
}
