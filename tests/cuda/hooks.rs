//! Hooks into a run: rows as they are finished, streams that keep no image, and pixels whose values
//! something else chooses.

use std::sync::atomic::{AtomicBool, Ordering};

use fastpix::backend::BackendError;
use fastpix::distribution::Philox;
use fastpix::network::{Network, OutputDistribution};
use fastpix::{
    Dtype, Engine, EngineError, Hooks, ImageRequest, PixelPosition, Profile, SampleRequest,
};
use test_support::device::{alone_on_the_emulator, on_a_device};
use test_support::engine::{Mode, Target, cuda, cuda_devices, engine, hyper, random};
use test_support::networks::{mixture, sequence, staged};

const COUNT: usize = 5;

/// Networks of one and of several stages, in both kinds of distribution.
fn networks() -> Vec<(Network, (usize, usize))> {
    vec![
        (staged(6), (5, 4)),
        (mixture(2), (4, 3)),
        (sequence(), (70, 1)),
        (random(&hyper(3, 6, 2), 1), (8, 4)),
    ]
}

/// Images of which some have a prefix.
fn request(network: &Network, (height, width): (usize, usize)) -> SampleRequest {
    let row = width * network.graph.channels();
    let image = |index: usize| ImageRequest {
        class: network
            .graph
            .condition
            .classes()
            .map(|classes| index % classes),
        prefix: (0..index % 3 * row).map(|at| (at % 5) as u16).collect(),
        ..ImageRequest::new(index as u64)
    };
    SampleRequest::of((height, width), (0..COUNT).map(image).collect()).seed(12)
}

/// The rows that a run hands on, put together to `[image][row][column][channel]`.
fn rows(
    network: &Network,
    request: &SampleRequest,
    run: impl FnOnce(&mut Hooks<'_>) -> Result<(), EngineError>,
) -> Vec<f32> {
    let (height, width) = request.size;
    let row = width * network.graph.channels();
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

#[test]
fn rows_are_handed_on_as_they_are_in_the_images() {
    on_a_device(|| {
        for (network, size) in networks() {
            let request = request(&network, size);
            for target in [cuda(), cuda().stream(), cuda().dtype(Dtype::Bf16)] {
                let engine = engine(&network, &target);
                let expected = engine.sample(&request).unwrap().values;
                let mut sampled = Vec::new();
                let found = rows(&network, &request, |hooks| {
                    sampled = engine.sample_with(&request, hooks)?.values;
                    Ok(())
                });
                assert!(found == expected, "{}: rows", network.info.family);
                assert!(sampled == expected, "{}: images", network.info.family);
                let streamed = rows(&network, &request, |hooks| engine.stream(&request, hooks));
                assert!(streamed == expected, "{}: stream", network.info.family);
            }
        }
    });
}

#[test]
fn rows_of_naive_generation_are_handed_on_too() {
    on_a_device(|| {
        let network = mixture(2);
        let request = request(&network, (3, 3)).mode(Mode::WholeImage);
        let engine = engine(&network, &cuda());
        let expected = engine.sample(&request).unwrap().values;
        assert!(rows(&network, &request, |hooks| engine.stream(&request, hooks)) == expected);
    });
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
                assert!(sampled == expected, "{}: images", network.info.family);
                Ok(())
            });
            assert!(found == expected, "{}: rows", network.info.family);
            // Fewer images than devices.
            request.images.truncate(1);
            let expected = &expected[..expected.len() / COUNT];
            let streamed = rows(&network, &request, |hooks| two.stream(&request, hooks));
            assert!(streamed == expected, "{}: stream", network.info.family);
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

/// Draws for an image what the sampler would.
fn draw(
    network: &Network,
    request: &SampleRequest,
    image: usize,
    position: PixelPosition,
    parameters: &[f32],
    values: &mut [f32],
) {
    let graph = &network.graph;
    let pixel = position.row * request.size.1 + position.column;
    let philox = Philox::new(request.seed, request.images[image].index, pixel as u32);
    let draws = philox.draws(position.stage * graph.output.draws());
    graph
        .output
        .sample(parameters, draws, request.temperature, values);
    if matches!(graph.output, OutputDistribution::LogisticMixture { .. }) {
        for value in values {
            *value = graph.input.value(graph.input.code(*value));
        }
    }
}

#[test]
fn a_source_that_draws_as_the_sampler_does_makes_its_images() {
    on_a_device(|| {
        for (network, size) in networks() {
            let request = request(&network, size);
            let engine = engine(&network, &cuda());
            let expected = engine.sample(&request).unwrap();
            let mut asked = 0;
            let count = network.graph.output.parameters();
            let channels = network.graph.output.channels();
            let mut source = |position: PixelPosition, parameters: &[f32], values: &mut [f32]| {
                asked += 1;
                assert_eq!(
                    (parameters.len(), values.len()),
                    (COUNT * count, COUNT * channels)
                );
                let images = parameters.chunks(count).zip(values.chunks_mut(channels));
                for (image, (parameters, values)) in images.enumerate() {
                    let given = request.images[image].prefix.len();
                    if position.row * size.1 * network.graph.channels() < given {
                        values.fill(f32::NAN); // Is not used.
                    } else {
                        draw(&network, &request, image, position, parameters, values);
                    }
                }
                Ok::<(), BackendError>(())
            };
            let mut hooks = Hooks::new().pixel_source(&mut source);
            let found = engine.sample_with(&request, &mut hooks).unwrap();
            assert!(
                found.to_codes() == expected.to_codes(),
                "{}",
                network.info.family
            );
            assert_eq!(asked, size.0 * size.1 * network.graph.stages.len());
        }
    });
}

#[test]
fn pixels_that_all_images_are_given_are_not_asked_for() {
    on_a_device(|| {
        let network = mixture(2);
        let mut request = request(&network, (4, 3));
        for image in &mut request.images {
            image.prefix = vec![3; 2 * 3 * 2];
        }
        let engine = engine(&network, &cuda());
        let mut asked = Vec::new();
        let mut source = |position: PixelPosition, _: &[f32], values: &mut [f32]| {
            asked.push(position);
            values.fill(0.5); // Unrounded: fed back as it is.
            Ok::<(), BackendError>(())
        };
        let mut hooks = Hooks::new().pixel_source(&mut source);
        let found = engine.sample_with(&request, &mut hooks).unwrap();
        let expected = (2..4).flat_map(|row| {
            (0..3).map(move |column| PixelPosition {
                row,
                column,
                stage: 0,
            })
        });
        assert_eq!(asked, expected.collect::<Vec<_>>());
        for image in found.values.chunks(4 * 3 * 2) {
            let (given, chosen) = image.split_at(2 * 3 * 2);
            assert!(given.iter().all(|&x| x == network.graph.input.value(3)));
            assert!(chosen.iter().all(|&x| x == 0.5));
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
fn what_a_source_does_wrong_ends_the_run() {
    on_a_device(|| {
        for (network, wrong) in [(staged(6), 6.0), (staged(6), 0.5), (mixture(2), 1.5)] {
            let request = request(&network, (4, 3));
            let engine = engine(&network, &cuda());
            let mut source = |position: PixelPosition, _: &[f32], values: &mut [f32]| {
                let at = (position.row, position.column);
                values.fill(if at == (1, 2) { wrong } else { 0.0 });
                Ok::<(), BackendError>(())
            };
            let error = failure(&engine, &request, Hooks::new().pixel_source(&mut source));
            let BackendError::Value {
                found, row, column, ..
            } = error
            else {
                panic!("{error}");
            };
            assert_eq!((found, row, column), (wrong, 1, 2));
            let mut source =
                |_: PixelPosition, _: &[f32], _: &mut [f32]| Err(BackendError::Cancelled);
            let error = failure(&engine, &request, Hooks::new().pixel_source(&mut source));
            assert!(matches!(error, BackendError::Cancelled), "{error}");
        }
    });
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
        let network = sequence();
        let engine = engine(&network, &cuda());
        let free = || {
            let context = cudarc::driver::CudaContext::new(0).unwrap();
            context.mem_get_info().unwrap().0
        };
        let taken = |height: usize| {
            // Another shape, so that its buffers go first.
            let small = SampleRequest::new((1, 1), 1);
            engine.sample(&small).unwrap();
            let before = free();
            let request = SampleRequest::new((height, 1), 3);
            emulator.reset_counters().unwrap();
            engine.stream(&request, &mut Hooks::new()).unwrap();
            let text = emulator.counters().unwrap();
            let counters: serde_json::Value = serde_json::from_str(&text).unwrap();
            let copies = &counters["devices"][0]["to_host"];
            assert_eq!(copies["copies"], height);
            assert_eq!(copies["bytes"], height * 3 * 4);
            before - free()
        };
        assert_eq!(taken(2000), taken(100));
    });
}
