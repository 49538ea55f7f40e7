//! Where the CUDA tests run: on the emulator, or, with `FASTPIX_TEST_GPU=1`, on the machine's GPU.

use std::sync::{OnceLock, PoisonError, RwLock};

use cuda_emulator::Installed;

/// The emulator is the whole process's: tests share it, but for those that count what it does.
static USERS: RwLock<()> = RwLock::new(());

/// The emulator as this process's driver; none when a real GPU is asked for.
fn emulator() -> Option<&'static Installed> {
    static EMULATOR: OnceLock<Option<Installed>> = OnceLock::new();
    let install = || {
        let gpu = std::env::var("FASTPIX_TEST_GPU").is_ok_and(|value| value == "1");
        (!gpu).then(|| {
            let emulator = cuda_emulator::install().expect("the emulator takes the driver's place");
            // Several devices, in an order that no kernel may depend on.
            emulator.configure("DEVICES", "2").unwrap();
            emulator.configure("SHUFFLE", "7").unwrap();
            emulator
        })
    };
    EMULATOR.get_or_init(install).as_ref()
}

/// Runs a test on a device, beside others; on the emulator, any fault its checks found fails the
/// test.
pub fn on_a_device(test: impl FnOnce()) {
    let _shared = USERS.read().unwrap_or_else(PoisonError::into_inner);
    let emulator = emulator();
    test();
    if let Some(emulator) = emulator {
        assert_eq!(emulator.faults().unwrap(), "[]");
    }
}

/// Runs a test of what the emulator counts while no other test of this process uses it. `on_a_gpu`
/// says why there is nothing to test there.
pub fn alone_on_the_emulator(on_a_gpu: &str, test: impl FnOnce(&Installed)) {
    let Some(emulator) = emulator() else {
        println!("skipped: {on_a_gpu}");
        return;
    };
    let _alone = USERS.write().unwrap_or_else(PoisonError::into_inner);
    test(emulator);
    assert_eq!(emulator.faults().unwrap(), "[]");
}
