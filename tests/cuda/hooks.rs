//! What hooks are on CUDA alone: rows of several devices, what a stream keeps and copies, and which hooks
//! are not served. What they do on every device is tested in `tests/engine`.

use std::sync::atomic::{AtomicBool, Ordering};

use fastpix::backend::BackendError;
use fastpix::{
    Engine, EngineError, Hooks, ImageRequest, Network, PixelPosition, Profile, SampleRequest,
};
use test_support::device::{alone_on_the_emulator, on_a_device};
use test_support::engine::{Target, cuda, cuda_devices, engine, hyper, random};
use test_support::networks::{Conditions, mapped, mixture, sequence, staged, vector, vocoder};

const COUNT: usize = 5;

/// Networks of one and of several stages, in both kinds of distribution.
fn networks() -> Vec<(Network, (usize, usize))> {
    vec![
        (staged(6), (5, 4)),
        (mixture(2), (4, 3)),
        (sequence(), (70, 1)),
        (random(&hyper(3, 6, 2), 1), (8, 4)),
        (vector(4), (3, 4)),
        (mapped(5), (4, 4)),
        (vocoder(), (70, 1)),
    ]
}

/// Images of which some have a prefix.
fn request(network: &Network, (height, width): (usize, usize)) -> SampleRequest {
    let row = width * network.graph().channels();
    let image = |index: usize| ImageRequest {
        prefix: (0..index % 3 * row)
            .map(|at| (at % 5) as u16)
            .collect::<Vec<_>>()
            .into(),
        ..ImageRequest::new(index as u64)
    };
    let request = SampleRequest::of((height, width), (0..COUNT).map(image).collect());
    let conditions = Conditions::new(network, COUNT, (height, width));
    conditions.sampling(request.seed(12))
}

/// The rows that a run hands on, put together to `[image][row][column][channel]`.
fn rows(
    network: &Network,
    request: &SampleRequest,
    run: impl FnOnce(&mut Hooks<'_>) -> Result<(), EngineError>,
) -> Vec<f32> {
    let (height, width) = request.size;
    let row = width * network.graph().channels();
    let mut images = vec![f32::NAN; request.images.len() * height * row];
    let mut next = 0;
    let mut row_done = |done: fastpix::SampledRow<'_>| {
        assert_eq!(done.row, next, "in order");
        next += 1;
        assert_eq!(done.values.len(), request.images.len() * row);
        let to = images.chunks_mut(row).skip(done.row).step_by(height);
        for (to, from) in to.zip(done.values.chunks(row)) {
            to.copy_from_slice(from);
        }
    };
    run(&mut Hooks::new().row_done(&mut row_done)).unwrap();
    assert_eq!(next, height, "every row");
    images
}

fn two_devices() -> Option<Target> {
    if fastpix::cuda::devices().unwrap().len() < 2 {
        println!("skipped: this machine has one GPU");
        return None;
    }
    Some(cuda_devices(&[0, 1]))
}

#[test]
fn rows_of_several_devices_are_put_together() {
    on_a_device(|| {
        let Some(both) = two_devices() else {
            return;
        };
        for (network, size) in networks() {
            let mut request = request(&network, size);
            let two = engine(&network, &both);
            let expected = engine(&network, &cuda()).sample(&request).unwrap().values;
            let found = rows(&network, &request, |hooks| {
                let sampled = two.sample_with(&request, hooks)?.values;
                assert!(sampled == expected, "{}: images", network.info().family);
                Ok(())
            });
            assert!(found == expected, "{}: rows", network.info().family);
            // Fewer images than devices.
            request.images.truncate(1);
            let expected = &expected[..expected.len() / COUNT];
            let streamed = rows(&network, &request, |hooks| two.stream(&request, hooks));
            assert!(streamed == expected, "{}: stream", network.info().family);
        }
    });
}

#[test]
fn a_stream_on_several_devices_is_cancelled_at_the_next_row() {
    on_a_device(|| {
        let targets = [Some(cuda()), two_devices()];
        for target in targets.into_iter().flatten() {
            let network = sequence();
            let request = request(&network, (60, 1));
            let engine = engine(&network, &target);
            let cancel = AtomicBool::new(false);
            let mut seen = 0;
            let mut row_done = |_: fastpix::SampledRow<'_>| {
                seen += 1;
                if seen == 3 {
                    cancel.store(true, Ordering::Relaxed);
                }
            };
            let mut hooks = Hooks::new().cancel(&cancel).row_done(&mut row_done);
            let result = engine.stream(&request, &mut hooks);
            assert!(result.unwrap_err().is_cancelled());
            assert!((3..12).contains(&seen), "{seen}");
            // The next run is not changed by it.
            let all = rows(&network, &request, |hooks| engine.stream(&request, hooks));
            assert!(all == engine.sample(&request).unwrap().values);
        }
    });
}

fn failure(engine: &Engine, request: &SampleRequest, mut hooks: Hooks<'_>) -> BackendError {
    match engine.sample_with(request, &mut hooks) {
        Err(EngineError::Backend(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn hooks_that_are_not_served_are_named() {
    on_a_device(|| {
        let network = mixture(2);
        let request = request(&network, (4, 3));
        let one = engine(&network, &cuda());
        let mut profile = Profile::default();
        let error = failure(&one, &request, Hooks::new().profile(&mut profile));
        assert_eq!(error.to_string(), "cuda: profile: expected none, found one");
        if let Some(both) = two_devices() {
            let mut source =
                |_: PixelPosition, _: &[f32], _: &mut [f32]| Ok::<(), BackendError>(());
            let two = engine(&network, &both);
            let error = failure(&two, &request, Hooks::new().pixel_source(&mut source));
            let expected = "cuda: devices with a pixel source: expected one, found 2";
            assert_eq!(error.to_string(), expected);
        }
    });
}

#[test]
fn a_stream_keeps_one_row_on_the_device_and_copies_each_once() {
    alone_on_the_emulator("a GPU counts nothing", |emulator| {
        let network = vocoder();
        let engine = engine(&network, &cuda());
        let request = |size: (usize, usize), count: usize| {
            Conditions::new(&network, count, size).sampling(SampleRequest::new(size, count))
        };
        let free = || {
            let context = cudarc::driver::CudaContext::new(0).unwrap();
            context.mem_get_info().unwrap().0
        };
        let taken = |height: usize| {
            // Another shape, so that its buffers go first.
            engine.sample(&request((1, 1), 1)).unwrap();
            let before = free();
            let request = request((height, 1), 3);
            emulator.reset_counters().unwrap();
            engine.stream(&request, &mut Hooks::new()).unwrap();
            let text = emulator.counters().unwrap();
            let counters: serde_json::Value = serde_json::from_str(&text).unwrap();
            let copies = &counters["devices"][0]["to_host"];
            assert_eq!(copies["copies"], height);
            assert_eq!(copies["bytes"], height * 3 * 4);
            // The maps go up in blocks of 64 rows; nothing else grows with the height.
            let copies = counters["devices"][0]["to_device"]["copies"].as_u64();
            let blocks = height.div_ceil(64) as u64;
            (before - free(), copies.unwrap() - blocks)
        };
        assert_eq!(taken(600), taken(100));
    });
}
