use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use fastpix::backend::BackendError;
use fastpix::distribution::{Philox, Sampler};
use fastpix::{
    Engine, EngineError, Hooks, Network, PixelPosition, Profile, SampleRequest, SampledRow,
};
use test_support::engine::{Mode, batch, engine, hyper, random};
use test_support::networks::{
    Conditions, dialect, dilated, dilated_scaled, mapped, mixture, sequence, staged, vector,
    vocoder,
};

use crate::devices::Device;

/// Networks of one and of several stages, in both kinds of distribution.
fn networks() -> [(Network, (usize, usize)); 10] {
    [
        (dilated(5), (4, 3)),
        (dilated_scaled(5), (3, 3)),
        (staged(6), (5, 4)),
        (mixture(2), (4, 3)),
        (sequence(), (70, 1)),
        (random(&hyper(3, 6, 2), 4), (8, 4)),
        (dialect(3), (3, 3)),
        (vector(4), (3, 4)),
        (mapped(5), (6, 4)),
        (vocoder(), (70, 1)),
    ]
}

fn request(network: &Network, size: (usize, usize), count: u64) -> SampleRequest {
    let conditions = Conditions::new(network, count as usize, size);
    conditions.sampling(batch(None, size, 0..count).0)
}

/// Of which some images keep one or two rows.
fn completion(network: &Network, size: (usize, usize), count: u64) -> SampleRequest {
    let mut request = request(network, size, count);
    let row = size.1 * network.graph().channels();
    for (index, image) in request.images.iter_mut().enumerate() {
        let codes = (0..index % 3 * row).map(|at| (at % 5) as u16);
        image.prefix = codes.collect::<Vec<_>>().into();
    }
    request
}

/// Puts rows together as images.
fn collected(
    request: &SampleRequest,
    channels: usize,
    run: impl FnOnce(&mut Hooks<'_>),
) -> Vec<f32> {
    let (height, width) = request.size;
    let length = width * channels;
    let mut images = vec![f32::NAN; request.images.len() * height * length];
    let mut next = 0;
    let mut take = |row: SampledRow<'_>| {
        assert_eq!(row.row, next, "rows come in order");
        next += 1;
        assert_eq!(row.values.len(), request.images.len() * length);
        for (image, values) in row.values.chunks(length).enumerate() {
            images[(image * height + row.row) * length..][..length].copy_from_slice(values);
        }
    };
    run(&mut Hooks::new().row_done(&mut take));
    assert_eq!(next, height, "every row comes");
    images
}

test_on_devices!(rows_are_told_as_they_are_finished: Cpu, CudaGraph, CudaStream, CudaF16);
fn rows_are_told_as_they_are_finished(device: Device) {
    for (network, size) in networks() {
        let engine = engine(&network, &device.target());
        let request = completion(&network, size, 5);
        let expected = engine.sample(&request).unwrap().values;
        let channels = network.graph().channels();
        let family = network.info().family;
        let mut sampled = Vec::new();
        let rows = collected(&request, channels, |hooks| {
            sampled = engine.sample_with(&request, hooks).unwrap().values;
        });
        assert!(rows == expected && sampled == expected, "{family}");
        let rows = collected(&request, channels, |hooks| {
            engine.stream(&request, hooks).unwrap();
        });
        assert!(rows == expected, "{family}: streamed");
    }
}

test_on_devices!(rows_of_naive_generation_hold_all_images: Cpu, CudaGraph);
fn rows_of_naive_generation_hold_all_images(device: Device) {
    // More than are evaluated together otherwise.
    let network = dilated(4);
    let engine = engine(&network, &device.target());
    let request = request(&network, (3, 2), 6).mode(Mode::WholeImage);
    let expected = engine.sample(&request).unwrap().values;
    let rows = collected(&request, 1, |hooks| {
        engine.stream(&request, hooks).unwrap();
    });
    assert!(rows == expected);
}

/// The engine's own sampler, as a pixel source.
fn sampler<'a>(
    network: &'a Network,
    request: &'a SampleRequest,
) -> impl FnMut(PixelPosition, &[f32], &mut [f32]) -> Result<(), BackendError> + Send + 'a {
    let graph = network.graph();
    move |at, parameters, values| {
        let pixel = (at.row * request.size.1 + at.column) as u32;
        let of_images = parameters
            .chunks(graph.output().parameters())
            .zip(values.chunks_mut(graph.output().channels()));
        for ((parameters, values), image) in of_images.zip(&request.images) {
            let draws = Philox::new(request.seed, image.index, pixel)
                .draws(at.stage * graph.output().draws());
            let (input, sampler) = (graph.input(), Sampler::default());
            graph
                .output()
                .sample(parameters, draws, &sampler, input, values);
            let given = image.prefix.len() > pixel as usize * graph.channels();
            for value in values {
                *value = match given {
                    true => f32::NAN, // Is not used.
                    false => input.value(input.code(*value)),
                };
            }
        }
        Ok(())
    }
}

test_on_devices!(a_pixel_source_that_samples_gives_the_samplers_images: Cpu, CpuBf16, CudaGraph, CudaBf16);
fn a_pixel_source_that_samples_gives_the_samplers_images(device: Device) {
    for (network, size) in networks() {
        let engine = engine(&network, &device.target());
        let request = completion(&network, size, 5);
        let expected = engine.sample(&request).unwrap();
        let mut source = sampler(&network, &request);
        let mut hooks = Hooks::new().pixel_source(&mut source);
        let found = engine.sample_with(&request, &mut hooks).unwrap();
        let family = network.info().family;
        // On a GPU the sampler's elementary functions are not the host's.
        assert!(found.to_codes() == expected.to_codes(), "{family}");
    }
}

test_on_devices!(a_pixel_source_is_asked_for_every_part_of_every_pixel_in_order: Cpu, CudaGraph);
fn a_pixel_source_is_asked_for_every_part_of_every_pixel_in_order(device: Device) {
    let network = staged(4);
    let engine = engine(&network, &device.target());
    let request = request(&network, (2, 3), 2);
    let mut asked = Vec::new();
    let mut source = |at: PixelPosition, _: &[f32], values: &mut [f32]| {
        values.fill((asked.len() % 4) as f32);
        asked.push((at.row, at.column, at.stage));
        Ok(())
    };
    let mut hooks = Hooks::new().pixel_source(&mut source);
    let found = engine.sample_with(&request, &mut hooks).unwrap();
    let pixels = (0..2).flat_map(|row| (0..3).map(move |column| (row, column)));
    let expected: Vec<_> = pixels
        .flat_map(|(row, column)| (0..3).map(move |stage| (row, column, stage)))
        .collect();
    assert_eq!(asked, expected);
    let values: Vec<f32> = (0..18).map(|at| (at % 4) as f32).collect();
    assert_eq!(found.values, [values.clone(), values].concat());
}

test_on_devices!(pixels_that_all_images_keep_are_not_asked_for: Cpu, CudaGraph);
fn pixels_that_all_images_keep_are_not_asked_for(device: Device) {
    let network = mixture(2);
    let mut request = request(&network, (4, 3), 5);
    for image in &mut request.images {
        image.prefix = vec![3u16; 2 * 3 * 2].into();
    }
    let engine = engine(&network, &device.target());
    let mut asked = Vec::new();
    let mut source = |at: PixelPosition, _: &[f32], values: &mut [f32]| {
        asked.push((at.row, at.column));
        values.fill(0.5); // Unrounded: fed back as it is.
        Ok(())
    };
    let mut hooks = Hooks::new().pixel_source(&mut source);
    let found = engine.sample_with(&request, &mut hooks).unwrap();
    let expected = (2..4).flat_map(|row| (0..3).map(move |column| (row, column)));
    assert_eq!(asked, expected.collect::<Vec<_>>());
    for image in found.values.chunks(4 * 3 * 2) {
        let (kept, chosen) = image.split_at(2 * 3 * 2);
        assert!(kept.iter().all(|&x| x == network.graph().input().value(3)));
        assert!(chosen.iter().all(|&x| x == 0.5));
    }
}

test_on_devices!(what_a_pixel_source_chooses_decides_the_pixels_after_it: Cpu, CudaGraph);
fn what_a_pixel_source_chooses_decides_the_pixels_after_it(device: Device) {
    // Choosing given images records their parameters: those of evaluation.
    let network = random(&hyper(3, 6, 2), 4);
    let engine = engine(&network, &device.target());
    let request = request(&network, (4, 4), 2);
    let codes = test_support::networks::images(&network, 2, (4, 4));
    let expected = engine.parameters(codes.clone(), &[], Mode::Cached).unwrap();
    let mut found = vec![0.0f32; expected.values.len()];
    let per_pixel = network.graph().parameters();
    let mut source = |at: PixelPosition, parameters: &[f32], values: &mut [f32]| {
        for (image, parameters) in parameters.chunks(per_pixel).enumerate() {
            let pixel = (image * 4 + at.row) * 4 + at.column;
            found[pixel * per_pixel..][..per_pixel].copy_from_slice(parameters);
            for channel in 0..3 {
                let code = codes.values[pixel * 3 + channel];
                values[image * 3 + channel] = network.graph().input().value(code);
            }
        }
        Ok(())
    };
    let mut hooks = Hooks::new().pixel_source(&mut source);
    let images = engine.sample_with(&request, &mut hooks).unwrap();
    assert!(images.to_codes() == codes);
    assert!(found == expected.values);
}

fn error(engine: &Engine, request: &SampleRequest, mut hooks: Hooks<'_>) -> String {
    match engine.sample_with(request, &mut hooks) {
        Ok(_) => "none".to_owned(),
        Err(EngineError::Backend(BackendError::Cancelled)) => "cancelled".to_owned(),
        Err(error) => error.to_string(),
    }
}

test_on_devices!(a_pixel_source_can_end_the_run_and_is_checked: Cpu, CudaGraph);
fn a_pixel_source_can_end_the_run_and_is_checked(device: Device) {
    let mixtures: &[_] = &[(1.5, "expected -1 to 1, found 1.5 ")];
    let halves: &[_] = &[(-0.75, "expected -0.5 to 0.5, found -0.75 ")];
    let classes: &[_] = &[
        (6.0, "expected a class, 0 to 5, found 6 "),
        (0.5, "expected a class, 0 to 5, found 0.5 "),
        (-1.0, "expected a class, 0 to 5, found -1 "),
        (f32::NAN, "expected a class, 0 to 5, found NaN "),
    ];
    for (network, wrong) in [
        (mixture(2), mixtures),
        (dialect(2), halves),
        (staged(6), classes),
        (dilated(6), classes),
    ] {
        let engine = engine(&network, &device.target());
        let request = request(&network, (3, 3), 2);
        let expected = engine.sample(&request).unwrap();
        for &(value, message) in wrong {
            let mut source = |at: PixelPosition, _: &[f32], values: &mut [f32]| {
                let wrong = (at.row, at.column) == (1, 2);
                values.fill(if wrong { value } else { 0.0 });
                Ok(())
            };
            let text = error(&engine, &request, Hooks::new().pixel_source(&mut source));
            assert!(text.contains(message), "{text}");
            assert!(text.contains("row 1, column 2"), "{text}");
        }
        let mut source = |at: PixelPosition, _: &[f32], values: &mut [f32]| {
            values.fill(0.0);
            match at.row {
                2 => Err(BackendError::Cancelled),
                _ => Ok(()),
            }
        };
        let text = error(&engine, &request, Hooks::new().pixel_source(&mut source));
        assert_eq!(text, "cancelled");
        // What was begun does not change what comes after it.
        assert!(engine.sample(&request).unwrap() == expected);
    }
}

test_on_devices!(a_row_hook_can_cancel: Cpu, CudaGraph);
fn a_row_hook_can_cancel(device: Device) {
    let network = dilated(5);
    let engine = engine(&network, &device.target());
    let request = request(&network, (9, 2), 1);
    let cancel = AtomicBool::new(false);
    let rows = Mutex::new(0);
    let mut take = |_: SampledRow<'_>| {
        *rows.lock().unwrap() += 1;
        cancel.store(true, Ordering::Relaxed);
    };
    let mut hooks = Hooks::new().cancel(&cancel).row_done(&mut take);
    let ended = engine.stream(&request, &mut hooks);
    assert!(ended.is_err_and(|error| error.is_cancelled()));
    // A device may have queued some rows more.
    assert!(*rows.lock().unwrap() < 9);
}

test_on_devices!(a_profile_is_filled_or_refused: Cpu, CudaGraph);
fn a_profile_is_filled_or_refused(device: Device) {
    let network = dilated(5);
    let engine = engine(&network, &device.target());
    let request = request(&network, (4, 4), 1);
    let mut profile = Profile::default();
    let text = error(&engine, &request, Hooks::new().profile(&mut profile));
    if device.is_cpu() {
        assert_eq!(text, "none");
        assert!(profile.row + profile.pixel + profile.sampling > std::time::Duration::ZERO);
    } else {
        assert!(text.contains("cuda"), "{text}");
    }
}
