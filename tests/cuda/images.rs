//! Images are those of the CPU, however launched and on however many devices.

use fastpix::Dtype;
use test_support::device::on_a_device;
use test_support::engine::{
    Batch, batch, codes, codes_of, cpu, cuda, cuda_devices, engine, sample,
};
use test_support::reference::{inputs, original_weights};

/// Images of a model of the original, and what they are on the CPU and on CUDA.
fn same_on_cpu_and_cuda(what: &str, model: &str, batch: &Batch) {
    let weights = original_weights(model);
    let expected = sample(&engine(&weights, &cpu()), batch);
    let found = sample(&engine(&weights, &cuda()), batch);
    assert_eq!(found.shape, expected.shape, "{what}");
    assert!(codes(&found) == codes(&expected), "{what}");
}

#[test]
fn images_equal_those_of_the_cpu() {
    on_a_device(|| {
        for (model, classes, count, size) in [
            ("tiny", None, 1, (8, 8)),
            ("tiny", None, 17, (4, 8)),
            ("tiny_cond", Some(10), 3, (8, 4)),
        ] {
            let what = format!("{model} {count} {size:?}");
            same_on_cpu_and_cuda(&what, model, &batch(classes, size, 5..5 + count));
        }
    });
}

#[test]
fn completions_equal_those_of_the_cpu() {
    on_a_device(|| {
        let (images, _) = inputs("tiny");
        let kept = &codes_of(&images)[..8 * 3 * 3];
        same_on_cpu_and_cuda("tiny", "tiny", &batch(None, (8, 8), 5..7).prefix(1, kept));
    });
}

#[test]
fn graph_and_stream_launches_give_the_same_bits() {
    on_a_device(|| {
        let weights = original_weights("tiny_cond");
        let batch = batch(Some(10), (8, 4), 5..8).continuous();
        for precision in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let graph = engine(&weights, &cuda().dtype(precision));
            let stream = engine(&weights, &cuda().dtype(precision).stream());
            let same = sample(&stream, &batch) == sample(&graph, &batch);
            assert!(same, "{precision}");
        }
    });
}

#[test]
fn two_devices_make_the_images_that_one_makes() {
    on_a_device(|| {
        if fastpix::cuda::devices().unwrap().len() < 2 {
            println!("skipped: this machine has one GPU");
            return;
        }
        let weights = original_weights("tiny_cond");
        let batch = batch(Some(10), (4, 4), 5..8);
        let two = sample(&engine(&weights, &cuda_devices(&[0, 1])), &batch);
        assert!(two == sample(&engine(&weights, &cuda()), &batch));
    });
}
