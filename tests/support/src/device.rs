//! Where the CUDA tests run: on the emulator, or, with `FASTPIX_TEST_GPU=1`, on the machine's GPU.

use std::sync::OnceLock;

use cuda_emulator::Installed;

/// The emulator as this process's driver; none when a real GPU is asked for.
pub fn emulator() -> Option<&'static Installed> {
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

/// Runs a test on a device; on the emulator, any fault its checks found fails the test.
pub fn on_a_device(test: impl FnOnce()) {
    let emulator = emulator();
    test();
    if let Some(emulator) = emulator {
        assert_eq!(emulator.faults().unwrap(), "[]");
    }
}
