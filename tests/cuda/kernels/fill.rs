//! Given values written into a tensor, a few rows at a time, as maps are.

use fastpix::cuda::parameters::Fill;
use test_support::device::on_a_device;

use super::stage::{Gpu, Job, config};
use super::stage_cases::Case;

/// Rows of those given that are on the device together.
const GIVEN: usize = 2;

/// Copies rows `first..first + GIVEN` of what is given to the device, as many as there are; what was there
/// of others is overwritten with what must not be read.
fn give(gpu: &Gpu, job: &Job<'_>, first: usize) -> (cudarc::driver::CudaSlice<f32>, u64) {
    let case = job.case;
    let row = case.columns * case.image_channels;
    let mut given = vec![f32::NAN; case.batch * GIVEN * row];
    let all = case.arrays["prefix"].f32();
    for image in 0..case.batch {
        for at in first..case.rows.min(first + GIVEN) {
            let from = &all[(image * case.rows + at) * row..][..row];
            given[(image * GIVEN + at % GIVEN) * row..][..row].copy_from_slice(from);
        }
    }
    (gpu.upload(&given), (GIVEN * row) as u64)
}

fn launch(gpu: &Gpu, job: &Job<'_>, fill: &Fill) {
    let rows = fill.rows.max(1) as usize;
    let numbers = rows * job.case.columns * job.case.batch * job.case.input_channels();
    let config = config((numbers.div_ceil(256), 1), 256, 0);
    gpu.launch(("output", "fill"), config, fill, 1);
}

#[test]
fn blocks_of_rows_fill_a_whole_tensor() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for case in Case::all() {
            let job = Job::new(&gpu, &case, case.rows + 1);
            for first in (0..case.rows).step_by(GIVEN) {
                let (given, given_image) = give(&gpu, &job, first);
                let fill = Fill {
                    given: gpu.address(&given),
                    given_image,
                    given_rows: GIVEN as i32,
                    first_row: first as i32,
                    rows: GIVEN.min(case.rows - first) as i32,
                    ..job.fill
                };
                launch(&gpu, &job, &fill);
            }
            job.assert_input(&gpu, &case.name, &case.arrays["filled"].values);
        }
    });
}

#[test]
fn the_current_row_is_written_over_the_oldest() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for case in Case::all() {
            let mut job = Job::new(&gpu, &case, 2);
            for row in 0..case.rows {
                let (given, given_image) = give(&gpu, &job, row / GIVEN * GIVEN);
                let position = [row as i32, 0].repeat(case.batch);
                gpu.stream
                    .memcpy_htod(&position, &mut job.position)
                    .unwrap();
                gpu.stream.synchronize().unwrap();
                let fill = Fill {
                    given: gpu.address(&given),
                    given_image,
                    given_rows: GIVEN as i32,
                    rows: 0,
                    ..job.fill
                };
                launch(&gpu, &job, &fill);
            }
            job.assert_input(&gpu, &case.name, &case.arrays["filled"].values);
        }
    });
}
