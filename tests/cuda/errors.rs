//! What a user is told when CUDA cannot be used.

use fastpix::{Dtype, Engine, EngineError};
use test_support::child::answer;
use test_support::engine::{Target, automatic, batch, cuda, cuda_devices, try_engine, try_sample};
use test_support::reference::original_weights;

fn engine(target: Target) -> Result<Engine, EngineError> {
    try_engine(&original_weights("tiny"), &target.threads(1))
}

fn first_cuda_device() -> String {
    taken(cuda())
}

fn automatic_device() -> String {
    engine(automatic()).unwrap().device()
}

#[test]
fn a_machine_without_devices_is_told_so() {
    let text = answer(
        a_machine_without_devices_is_told_so,
        true,
        &[("DEVICES", "0")],
        first_cuda_device,
    );
    assert_eq!(text, "cuda: expected device 0, found 0 device(s)");
}

#[test]
fn a_device_number_that_does_not_exist_is_named() {
    let text = answer(
        a_device_number_that_does_not_exist_is_named,
        true,
        &[("DEVICES", "2")],
        || engine(cuda_devices(&[2])).unwrap_err().to_string(),
    );
    assert!(text.contains("expected device 2, found 2"), "{text}");
}

#[test]
fn an_old_driver_is_told_which_version_is_needed() {
    let text = answer(
        an_old_driver_is_told_which_version_is_needed,
        true,
        &[("DRIVER_VERSION", "11.4")],
        first_cuda_device,
    );
    assert!(text.contains("CUDA 11.4, expected 12.0"), "{text}");
}

#[test]
fn an_old_device_is_told_which_capability_is_needed() {
    let text = answer(
        an_old_device_is_told_which_capability_is_needed,
        true,
        &[("CC", "7.0")],
        first_cuda_device,
    );
    assert!(text.contains("7.0, expected 7.5"), "{text}");
}

#[test]
fn auto_takes_the_cpu_where_cuda_cannot_be_used() {
    let text = answer(
        auto_takes_the_cpu_where_cuda_cannot_be_used,
        true,
        &[("DEVICES", "0")],
        automatic_device,
    );
    assert!(text.starts_with("cpu (1 thread"), "{text}");
}

#[test]
fn auto_takes_the_device_where_there_is_one() {
    let text = answer(
        auto_takes_the_device_where_there_is_one,
        true,
        &[("NAME", "Test"), ("CC", "8.0")],
        automatic_device,
    );
    assert_eq!(text, "cuda:0 (Test, 8.0)");
}

/// The device that is taken, or why none is.
fn taken(target: Target) -> String {
    match engine(target) {
        Ok(engine) => engine.device(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_old_device_is_told_that_f16_needs_a_newer_one() {
    let text = answer(
        an_old_device_is_told_that_f16_needs_a_newer_one,
        true,
        &[("CC", "7.5")],
        || taken(cuda().dtype(Dtype::F16)),
    );
    assert_eq!(
        text,
        "cuda: f16: expected a device of compute capability 8.0 or higher, found 7.5 (device 0)"
    );
}

#[test]
fn auto_takes_the_cpu_for_bf16_where_the_device_is_too_old() {
    let text = answer(
        auto_takes_the_cpu_for_bf16_where_the_device_is_too_old,
        true,
        &[("CC", "7.5")],
        || taken(automatic().dtype(Dtype::Bf16)),
    );
    assert!(text.starts_with("cpu (1 thread"), "{text}");
}

#[test]
fn auto_takes_the_device_for_f16_where_it_is_new_enough() {
    let settings = [("NAME", "Test"), ("CC", "8.6")];
    let text = answer(
        auto_takes_the_device_for_f16_where_it_is_new_enough,
        true,
        &settings,
        || taken(automatic().dtype(Dtype::F16)),
    );
    assert_eq!(text, "cuda:0 (Test, 8.6)");
}

#[test]
fn f16_without_a_device_is_told_what_the_cpu_computes_in() {
    let text = answer(
        f16_without_a_device_is_told_what_the_cpu_computes_in,
        true,
        &[("DEVICES", "0")],
        || taken(automatic().dtype(Dtype::F16)),
    );
    assert_eq!(text, "cpu: precision: expected f32 or bf16, found f16");
}

#[test]
fn a_machine_without_a_driver_is_told_so() {
    let text = answer(
        a_machine_without_a_driver_is_told_so,
        false,
        &[],
        first_cuda_device,
    );
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
    let text = answer(
        a_batch_too_large_for_the_device_is_told_which_one_fits,
        true,
        &[("MEMORY", "6M")],
        || {
            let engine = engine(cuda()).unwrap();
            let result = try_sample(&engine, &batch(None, (4, 256), 0..4000));
            result.unwrap_err().to_string()
        },
    );
    assert!(text.contains("cuda: device 0 is out of memory"), "{text}");
    assert!(text.contains("the largest batch that fits is "), "{text}");
}

#[test]
fn a_driver_that_rejects_the_kernels_is_told_about_with_the_reason() {
    let text = answer(
        a_driver_that_rejects_the_kernels_is_told_about_with_the_reason,
        true,
        &[("PTX_VERSION", "7.8")],
        first_cuda_device,
    );
    let start = "cuda: the driver rejected the kernels in ";
    assert!(text.starts_with(start), "{text}");
    for part in ["compute_75", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[test]
fn the_oldest_driver_that_is_accepted_reads_the_kernels() {
    let oldest = [
        ("DRIVER_VERSION", "12.0"),
        ("PTX_VERSION", "8.0"),
        ("CC", "7.5"),
        ("NAME", "Test"),
    ];
    let text = answer(
        the_oldest_driver_that_is_accepted_reads_the_kernels,
        true,
        &oldest,
        first_cuda_device,
    );
    assert_eq!(text, "cuda:0 (Test, 7.5)");
}
