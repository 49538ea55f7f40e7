//! Initialisation, versions, devices and their attributes.

use super::pointers::{Out, Text};
use super::settings::Settings;
use super::state::{Driver, Handle, driver, enter};
use super::status::{Outcome, Status};
use super::{PENDING, report};

/// Sets the driver up from the environment. Later calls change nothing.
#[unsafe(no_mangle)]
extern "C" fn cuInit(flags: u32) -> Status {
    if flags != 0 {
        return Status::INVALID_VALUE;
    }
    let mut driver = driver();
    if driver.is_none() {
        let settings = match configured() {
            Ok(settings) => settings,
            Err(text) => {
                report::explain(&text);
                return Status::INVALID_VALUE;
            }
        };
        if settings.devices == 0 {
            return Status::NO_DEVICE;
        }
        *driver = Some(Driver::new(settings));
        report::at_exit();
    }
    Status::SUCCESS
}

/// The environment's settings, changed by what a test asked for.
fn configured() -> Result<Settings, String> {
    let mut settings = Settings::from_environment().map_err(|e| e.to_string())?;
    let pending = PENDING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for (name, value) in pending.iter() {
        settings.set(name, value).map_err(|e| e.to_string())?;
    }
    Ok(settings)
}

/// The version of the driver, which may be asked for before `cuInit`.
#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: Out<i32>) -> Status {
    let settings = match driver().as_ref() {
        Some(driver) => driver.settings.driver_version,
        None => match configured() {
            Ok(settings) => settings.driver_version,
            Err(text) => {
                report::explain(&text);
                return Status::INVALID_VALUE;
            }
        },
    };
    version.set(settings).into()
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorName(status: Status, text: Out<*const u8>) -> Status {
    describe(status, &text, |entry| entry.1.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorString(status: Status, text: Out<*const u8>) -> Status {
    describe(status, &text, |entry| entry.2.as_ptr())
}

type Entry = (u32, &'static str, &'static str);

fn describe(
    status: Status,
    text: &Out<*const u8>,
    part: impl Fn(&'static Entry) -> *const u8,
) -> Status {
    match status.entry() {
        Some(entry) => text.set(part(entry)).into(),
        None => {
            text.set_if_wanted(std::ptr::null());
            Status::INVALID_VALUE
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: Out<i32>) -> Status {
    enter(|driver| count.set(driver.devices.len() as i32))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(device: Out<i32>, ordinal: i32) -> Status {
    enter(|driver| device.set(driver.device(ordinal)? as i32))
}

/// Writes `text`, cut to fit, and a zero byte.
fn write_text(text: &str, out: &Out<u8>, room: i32) -> Outcome {
    let room = usize::try_from(room)
        .ok()
        .filter(|&n| n > 0)
        .ok_or(Status::INVALID_VALUE)?;
    let bytes = &text.as_bytes()[..text.len().min(room - 1)];
    for (index, &byte) in bytes.iter().chain(&[0]).enumerate() {
        out.set_at(index, byte)?;
    }
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetName(name: Out<u8>, room: i32, device: i32) -> Status {
    enter(|driver| {
        driver.device(device)?;
        write_text(&driver.settings.name, &name, room)
    })
}

fn uuid(out: &Out<[u8; 16]>, device: i32) -> Status {
    enter(|driver| {
        let mut id = *b"cuda-emulator\0\0\0";
        id[15] = driver.device(device)? as u8;
        out.set(id)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid(out: Out<[u8; 16]>, device: i32) -> Status {
    uuid(&out, device)
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid_v2(out: Out<[u8; 16]>, device: i32) -> Status {
    uuid(&out, device)
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetPCIBusId(out: Out<u8>, room: i32, device: i32) -> Status {
    enter(|driver| {
        write_text(
            &format!("0000:{:02X}:00.0", driver.device(device)? + 1),
            &out,
            room,
        )
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetByPCIBusId(device: Out<i32>, id: Text) -> Status {
    enter(|driver| {
        let id = id.read()?.to_ascii_uppercase();
        let short = |i: &usize| {
            id.trim_start_matches("0000:")
                .starts_with(&format!("{:02X}:00", i + 1))
        };
        device.set(
            (0..driver.devices.len())
                .find(short)
                .ok_or(Status::INVALID_DEVICE)? as i32,
        )
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: i32) -> Status {
    enter(|driver| {
        driver.device(device)?;
        bytes.set(driver.settings.device.memory_bytes as usize)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceComputeCapability(major: Out<i32>, minor: Out<i32>, device: i32) -> Status {
    enter(|driver| {
        driver.device(device)?;
        let (a, b) = driver.settings.device.compute_capability;
        major.set(a as i32)?;
        minor.set(b as i32)
    })
}

/// `CUdevice_attribute` by number; features that the emulator lacks answer 0.
#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetAttribute(value: Out<i32>, attribute: u32, device: i32) -> Status {
    enter(|driver| {
        let index = driver.device(device)? as u32;
        let device = &driver.settings.device;
        let answer = match attribute {
            1..=3 => device.max_threads_per_block,
            4 => 64,
            5 => i32::MAX as u32,
            6 | 7 => 65535,
            8 => device.shared_per_block,
            9 => 65536,
            10 => 32,
            11 => i32::MAX as u32,
            12 => device.registers_per_block,
            13 => 1_410_000,
            14 => 512,
            16 => device.sm_count,
            30 => 512,
            31 => 1, // kernels of different streams may overlap: the emulator checks that they may
            33 => index + 1,
            36 => 1_215_000,
            37 => 5120,
            38 => 40 << 20,
            39 => device.max_threads_per_sm,
            40 => 2,
            41 => 1, // one address space with the host
            51 => 32,
            75 => device.compute_capability.0,
            76 => device.compute_capability.1,
            78..=80 => 1,
            81 => device.shared_per_sm,
            82 => device.registers_per_sm,
            87 => 2,
            90 => 1,
            95 => 1, // cooperative launches
            97 => device.shared_per_block_optin,
            106 => device.max_blocks_per_sm,
            111 => device.reserved_shared(),
            115 => 1, // memory pools
            _ if (1..=147).contains(&attribute) => 0,
            _ => return Err(Status::INVALID_VALUE),
        };
        value.set(answer as i32)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceCanAccessPeer(can: Out<i32>, device: i32, peer: i32) -> Status {
    enter(|driver| {
        driver.device(device)?;
        driver.device(peer)?;
        can.set(0)
    })
}

/// The pool that asynchronous allocations of a device come from.
#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetMemPool(pool: Out<Handle>, device: i32) -> Status {
    enter(|driver| pool.set(driver.devices[driver.device(device)?].pool))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetDefaultMemPool(pool: Out<Handle>, device: i32) -> Status {
    enter(|driver| pool.set(driver.devices[driver.device(device)?].default_pool))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceSetMemPool(device: i32, pool: Handle) -> Status {
    enter(|driver| {
        let device = driver.device(device)?;
        if driver
            .pools
            .get(&pool)
            .ok_or(Status::INVALID_HANDLE)?
            .device
            != device
        {
            return Err(Status::INVALID_VALUE);
        }
        driver.devices[device].pool = pool;
        Ok(())
    })
}
