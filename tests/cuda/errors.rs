//! What a user is told when CUDA cannot be used.

mod child;
mod reference;

use child::answer;
use fastpix::{Control, DeviceChoice, Engine, EngineOptions, Item, Precision, Request};
use reference::{oracle, weights};

fn engine(device: DeviceChoice) -> Result<Engine, fastpix::EngineError> {
    engine_in(Precision::F32, device)
}

fn engine_in(precision: Precision, device: DeviceChoice) -> Result<Engine, fastpix::EngineError> {
    let options = EngineOptions {
        device,
        precision,
        threads: Some(1),
        ..EngineOptions::default()
    };
    Engine::new(&weights(&oracle("tiny/weights_ema.npz")), &options)
}

fn first_cuda_device() -> String {
    match engine(DeviceChoice::Cuda(vec![0])) {
        Ok(engine) => engine.device(),
        Err(error) => error.to_string(),
    }
}

fn automatic_device() -> String {
    engine(DeviceChoice::Auto).unwrap().device()
}

#[test]
fn a_machine_without_devices_is_told_to_use_the_cpu() {
    let name = "a_machine_without_devices_is_told_to_use_the_cpu";
    let text = answer(name, true, &[("DEVICES", "0")], first_cuda_device);
    assert_eq!(
        text,
        "cuda: expected device 0, found 0 device(s); use --device cpu"
    );
}

#[test]
fn a_device_number_that_does_not_exist_is_named() {
    let name = "a_device_number_that_does_not_exist_is_named";
    let text = answer(name, true, &[("DEVICES", "2")], || {
        engine(DeviceChoice::Cuda(vec![2])).unwrap_err().to_string()
    });
    assert!(text.contains("expected device 2, found 2"), "{text}");
}

#[test]
fn an_old_driver_is_told_which_version_is_needed() {
    let name = "an_old_driver_is_told_which_version_is_needed";
    let text = answer(name, true, &[("DRIVER_VERSION", "11.4")], first_cuda_device);
    assert!(text.contains("CUDA 11.4, expected 12.0"), "{text}");
}

#[test]
fn an_old_device_is_told_which_capability_is_needed() {
    let name = "an_old_device_is_told_which_capability_is_needed";
    let text = answer(name, true, &[("CC", "7.0")], first_cuda_device);
    assert!(text.contains("7.0, expected 7.5"), "{text}");
}

#[test]
fn auto_takes_the_cpu_where_cuda_cannot_be_used() {
    let name = "auto_takes_the_cpu_where_cuda_cannot_be_used";
    let text = answer(name, true, &[("DEVICES", "0")], automatic_device);
    assert!(text.starts_with("cpu (1 thread"), "{text}");
}

#[test]
fn auto_takes_the_device_where_there_is_one() {
    let name = "auto_takes_the_device_where_there_is_one";
    let text = answer(
        name,
        true,
        &[("NAME", "Test"), ("CC", "8.0")],
        automatic_device,
    );
    assert_eq!(text, "cuda:0 (Test, 8.0)");
}

/// The device that is taken, or why none is.
fn taken(precision: Precision, device: DeviceChoice) -> String {
    match engine_in(precision, device) {
        Ok(engine) => engine.device(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_old_device_is_told_that_f16_needs_a_newer_one() {
    let name = "an_old_device_is_told_that_f16_needs_a_newer_one";
    let text = answer(name, true, &[("CC", "7.5")], || {
        taken(Precision::F16, DeviceChoice::Cuda(vec![0]))
    });
    assert_eq!(
        text,
        "cuda: precision f16: expected a device of compute capability 8.0 or higher, found 7.5 \
         (device 0); use --precision f32"
    );
}

#[test]
fn auto_takes_the_cpu_for_bf16_where_the_device_is_too_old() {
    let name = "auto_takes_the_cpu_for_bf16_where_the_device_is_too_old";
    let text = answer(name, true, &[("CC", "7.5")], || {
        taken(Precision::Bf16, DeviceChoice::Auto)
    });
    assert!(text.starts_with("cpu (1 thread"), "{text}");
}

#[test]
fn auto_takes_the_device_for_f16_where_it_is_new_enough() {
    let name = "auto_takes_the_device_for_f16_where_it_is_new_enough";
    let settings = [("NAME", "Test"), ("CC", "8.6")];
    let text = answer(name, true, &settings, || {
        taken(Precision::F16, DeviceChoice::Auto)
    });
    assert_eq!(text, "cuda:0 (Test, 8.6)");
}

#[test]
fn f16_without_a_device_is_told_what_the_cpu_computes_in() {
    let name = "f16_without_a_device_is_told_what_the_cpu_computes_in";
    let text = answer(name, true, &[("DEVICES", "0")], || {
        taken(Precision::F16, DeviceChoice::Auto)
    });
    assert_eq!(
        text,
        "precision: expected f32 or bf16 on the CPU, found f16; use one of these, or a CUDA device \
         of compute capability 8.0 or higher"
    );
}

#[test]
fn a_machine_without_a_driver_is_told_so() {
    let name = "a_machine_without_a_driver_is_told_so";
    let text = answer(name, false, &[], first_cuda_device);
    if text.starts_with("cuda:0 (") {
        println!("skipped: this machine has a driver and a GPU");
        return;
    }
    assert!(
        text.starts_with("cuda: no NVIDIA driver was found"),
        "{text}"
    );
}

#[test]
fn a_batch_too_large_for_the_device_is_told_which_one_fits() {
    let name = "a_batch_too_large_for_the_device_is_told_which_one_fits";
    let text = answer(name, true, &[("MEMORY", "6M")], || {
        let engine = engine(DeviceChoice::Cuda(vec![0])).unwrap();
        let request = |count| Request {
            size: (4, 256),
            items: vec![Item::default(); count],
            seed: 1,
            temperature: 1.0,
            continuous: false,
            path: fastpix::Path::Cached,
        };
        let result = engine.generate(&request(4000), &Control::default());
        result.unwrap_err().to_string()
    });
    assert!(text.contains("cuda: device 0 is out of memory"), "{text}");
    assert!(text.contains("the largest batch that fits is "), "{text}");
}

#[test]
fn a_driver_that_rejects_the_kernels_is_told_about_with_the_reason() {
    let name = "a_driver_that_rejects_the_kernels_is_told_about_with_the_reason";
    let text = answer(name, true, &[("PTX_VERSION", "7.8")], first_cuda_device);
    let start = "cuda: the driver rejected the kernels in ";
    assert!(text.starts_with(start), "{text}");
    for part in [
        "compute_75",
        "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
        "--device cpu",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[test]
fn the_oldest_driver_that_is_accepted_reads_the_kernels() {
    let name = "the_oldest_driver_that_is_accepted_reads_the_kernels";
    let oldest = [
        ("DRIVER_VERSION", "12.0"),
        ("PTX_VERSION", "8.0"),
        ("CC", "7.5"),
        ("NAME", "Test"),
    ];
    let text = answer(name, true, &oldest, first_cuda_device);
    assert_eq!(text, "cuda:0 (Test, 7.5)");
}
