//! The kernels at the end of a stage of a pixel, one by one, against NumPy in float64
//! (`tests/golden/kernels/make_output.py`).

use test_support::device::on_a_device;
use test_support::reference::assert_close;

use super::stage::{Gpu, Job, UNTOUCHED, config};
use super::stage_cases::Case;

/// Which pixels' parameters a launch writes.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    Current,
    All,
}

/// Threads per block that the kernels must work with.
const THREADS: [usize; 3] = [32, 96, 256];

/// Parameters: sums of at most 321 products of numbers about 1.
fn assert_params(gpu: &Gpu, job: &Job<'_>, threads: usize) {
    let what = format!("{} params by {threads} threads", job.case.name);
    let params = gpu.download(&job.params);
    let expected = &job.case.arrays["params"].values;
    assert_close(&what, &params, expected, 1e-5, 1e-5);
}

#[test]
fn every_pixel_is_drawn_as_by_numpy() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for case in Case::all() {
            for threads in THREADS {
                // As in a cache: the last two rows.
                let job = Job::new(&gpu, &case, 2);
                job.draw(&gpu, threads, case.pixels());

                assert_params(&gpu, &job, threads);
                let values = job.values(&gpu);
                let what = format!("{} by {threads} threads", case.name);
                let expected = &case.arrays["values"].values;
                // Less than half a code: rounded values are those of the same code. The noise
                // multiplies the scale by up to 11.5.
                assert_close(&what, &values, expected, 2e-5, 1e-5);
                let of_pixels = values
                    .chunks(case.channels)
                    .zip(expected.chunks(case.channels));
                for ((found, expected), given) in of_pixels.zip(case.given()) {
                    // Given values stay as they are; drawn ones are exactly those of codes.
                    let exactly = expected.iter().map(|&x| match given {
                        true => x as f32,
                        false => case.encoding.value(case.encoding.code(x as f32)),
                    });
                    let exact = given || !case.continuous;
                    assert!(!exact || found.iter().copied().eq(exactly), "{what}");
                }
                job.assert_input(&gpu, &what, &case.arrays["input"].values);
                let position = gpu.download(&job.position);
                assert_eq!(position, [case.rows as i32, 0].repeat(case.batch), "{what}");
            }
        }
    });
}

#[test]
fn a_draw_needs_no_place_for_parameters_and_values() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for case in Case::all() {
            let mut job = Job::new(&gpu, &case, case.rows + 1);
            job.parameters.parameters = 0;
            job.parameters.values = 0;
            job.draw(&gpu, 64, case.pixels());
            job.assert_input(&gpu, &case.name, &case.arrays["input"].values);
            assert!(gpu.download(&job.params).iter().all(|x| x.is_nan()));
            assert!(gpu.download(&job.values).iter().all(|&x| x == UNTOUCHED));
        }
    });
}

#[test]
fn a_stage_that_others_follow_leaves_the_position() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for case in Case::all() {
            let mut job = Job::new(&gpu, &case, 2);
            job.parameters.last = 0;
            job.draw(&gpu, 64, 1);
            assert!(gpu.download(&job.position).iter().all(|&at| at == 0));
            let values = job.values(&gpu);
            let of_image = case.pixels() * case.channels;
            let expected = case.arrays["values"].values.chunks(of_image);
            for (found, expected) in values.chunks(of_image).zip(expected) {
                let (found, expected) = (&found[..case.channels], &expected[..case.channels]);
                assert_close(&case.name, found, expected, 2e-5, 1e-5);
            }
        }
    });
}

#[test]
fn only_the_current_row_is_kept_where_that_is_asked_for() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for case in Case::all() {
            let mut job = Job::new(&gpu, &case, 2);
            let row = case.columns * case.image_channels;
            job.parameters.value_row = 0;
            job.parameters.value_image = row as u64;
            job.draw(&gpu, 64, case.pixels());
            let values = gpu.download(&job.values);
            let own = case.first_channel..case.first_channel + case.channels;
            let expected = case.arrays["values"]
                .values
                .chunks(case.pixels() * case.channels);
            for (found, expected) in values.chunks(row).zip(expected) {
                let found: Vec<f32> = found
                    .chunks(case.image_channels)
                    .flat_map(|pixel| &pixel[own.clone()])
                    .copied()
                    .collect();
                let last = &expected[(case.rows - 1) * case.columns * case.channels..];
                assert_close(&case.name, &found, last, 2e-5, 1e-5);
            }
        }
    });
}

#[test]
fn parameters_of_all_pixels_are_computed_and_nothing_else_is_written() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for case in Case::all() {
            for (threads, kept) in THREADS
                .into_iter()
                .zip([Kept::All, Kept::Current, Kept::All])
            {
                let mut job = Job::new(&gpu, &case, 2);
                let blocks = match kept {
                    Kept::All => case.pixels(),
                    Kept::Current => 1,
                };
                job.parameters.whole = (kept == Kept::All).into();
                job.launch(&gpu, "output_parameters", blocks, threads, 1);
                match kept {
                    Kept::All => assert_params(&gpu, &job, threads),
                    Kept::Current => {
                        let of_image = case.pixels() * case.distribution().parameters();
                        let count = case.distribution().parameters();
                        let found = gpu.download(&job.params);
                        let expected = case.arrays["params"].values.chunks(of_image);
                        for (found, expected) in found.chunks(of_image).zip(expected) {
                            assert_close(
                                &case.name,
                                &found[..count],
                                &expected[..count],
                                1e-5,
                                1e-5,
                            );
                            assert!(found[count..].iter().all(|x| x.is_nan()));
                        }
                    }
                }
                assert!(job.values(&gpu).iter().all(|&x| x == UNTOUCHED));
                assert!(gpu.download(&job.position).iter().all(|&at| at == 0));
                for buffer in &job.inputs {
                    assert!(gpu.download(buffer).iter().all(|&x| x == 0.0));
                }
            }
        }
    });
}

#[test]
fn fed_values_take_the_place_of_drawn_ones_but_not_of_given_ones() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for case in Case::all() {
            let mut job = Job::new(&gpu, &case, 2);
            let expected = case.arrays["values"].values.clone();
            let of_image = case.pixels() * case.channels;
            for pixel in 0..case.pixels() {
                let of_pixel = |(image, values): (usize, &[f64])| -> Vec<f32> {
                    let given = case.arrays["prefix_rows"].usize()[image];
                    let values = values[pixel * case.channels..][..case.channels].iter();
                    match pixel / case.columns < given {
                        // Must be ignored.
                        true => values.map(|_| 1.0).collect(),
                        false => values.map(|&x| x as f32).collect(),
                    }
                };
                let fed = expected.chunks(of_image).enumerate().flat_map(of_pixel);
                let fed: Vec<f32> = fed.collect();
                gpu.stream.memcpy_htod(&fed, &mut job.fed).unwrap();
                gpu.stream.synchronize().unwrap();
                job.launch(&gpu, "output_feed", 1, 64, 1);
            }
            assert_close(&case.name, &job.values(&gpu), &expected, 0.0, 1e-7);
            job.assert_input(&gpu, &case.name, &case.arrays["input"].values);
            let position = gpu.download(&job.position);
            assert_eq!(position, [case.rows as i32, 0].repeat(case.batch));
        }
    });
}

#[test]
fn the_input_of_given_values_is_filled_in() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for case in Case::all() {
            let job = Job::new(&gpu, &case, case.rows + 1);
            let blocks = (case.pixels() * case.batch * case.input_channels()).div_ceil(256);
            let config = config((blocks, 1), 256, 0);
            gpu.launch(("output", "fill"), config, &job.fill, 1);
            job.assert_input(&gpu, &case.name, &case.arrays["filled"].values);
        }
    });
}
