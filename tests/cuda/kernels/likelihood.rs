//! The likelihood kernels against NumPy in float64 (`tests/golden/kernels/make_output.py`) and against
//! the CPU.

use std::collections::BTreeMap;

use fastpix::cuda::parameters::{Codes, Likelihood};
use fastpix::network::{InputEncoding, OutputDistribution};
use test_support::device::on_a_device;
use test_support::reference::Array;

use super::cases::arrays;
use super::stage::{Gpu, config};
use super::stage_cases::{distribution, encoding, parameters};

/// A case of `likelihood.npz`.
struct Scored {
    arrays: BTreeMap<String, Array>,
    stages: usize,
    encoding: InputEncoding,
    distribution: OutputDistribution,
}

impl Scored {
    fn all() -> Vec<Self> {
        let case = |arrays: BTreeMap<String, Array>| {
            let numbers = arrays["numbers"].usize();
            let limit = arrays["limit"].f32()[0];
            Self {
                stages: numbers[1],
                encoding: encoding(&[numbers[5], numbers[4], 0, 0], limit),
                distribution: distribution(&arrays, numbers[3], numbers[2]),
                arrays,
            }
        };
        arrays("likelihood.npz").into_iter().map(case).collect()
    }

    /// Log-likelihoods by the kernel.
    fn nats(&self, gpu: &Gpu) -> Vec<f64> {
        let kernel = match self.distribution {
            OutputDistribution::LogisticMixture(_) => "log_likelihood_mixture",
            OutputDistribution::Categorical { .. } => "log_likelihood_categorical",
        };
        let (mixture, classes) = parameters(&self.distribution);
        let codes = Codes::from(&self.encoding);
        let half_bin = codes.limit / (codes.count - 1) as f32;
        let pixels = self.arrays["nats"].values.len();
        let params = gpu.upload(&self.arrays["params"].f32());
        let values = gpu.upload(&self.arrays["values"].f32());
        let nats = gpu.upload(&vec![f64::NAN; pixels]);
        let parameters = Likelihood {
            parameters: gpu.address(&params),
            values: gpu.address(&values),
            nats: gpu.address(&nats),
            pixels: pixels as u64,
            mixture,
            codes,
            stages: self.stages as i32,
            count: self.distribution.parameters() as i32,
            classes,
            channels: self.distribution.channels() as i32,
            half_bin,
            log_bin: (2.0 * half_bin).ln(),
            unused: 0,
        };
        let config = config((pixels.div_ceil(128), 1), 128, 0);
        gpu.launch(("likelihood", kernel), config, &parameters, 1);
        gpu.download(&nats)
    }
}

#[test]
fn log_likelihoods_are_those_of_numpy() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for (number, case) in Scored::all().iter().enumerate() {
            let expected = &case.arrays["nats"].values;
            let rounding = &case.arrays["rounding"].values;
            for (pixel, (a, &b)) in case.nats(&gpu).into_iter().zip(expected).enumerate() {
                // Bins are computed in f32, as the original does, or from f32 means and scales:
                // `rounding` says what that can change.
                let close = (a - b).abs() <= 1e-4 + rounding[pixel] + 1e-5 * b.abs();
                assert!(
                    close,
                    "case {number}, pixel {pixel}: found {a}, expected {b}"
                );
            }
        }
    });
}

#[test]
fn log_likelihoods_are_those_of_the_cpu() {
    on_a_device(|| {
        let gpu = Gpu::new();
        for (number, case) in Scored::all().iter().enumerate() {
            let input = &case.encoding;
            let [params, values] = ["params", "values"].map(|name| case.arrays[name].f32());
            let pixels = case.arrays["nats"].values.len();
            let of_stage = params.chunks(case.distribution.parameters());
            let stages: Vec<f64> = of_stage
                .zip(values.chunks(case.distribution.channels()))
                .map(|(params, values)| case.distribution.log_likelihood(params, values, input))
                .collect();
            assert_eq!(stages.len(), pixels * case.stages);
            let expected = stages
                .chunks(case.stages)
                .map(|stages| stages.iter().sum::<f64>());
            for (pixel, (found, expected)) in case.nats(&gpu).iter().zip(expected).enumerate() {
                let rounding = case.arrays["rounding"].values[pixel];
                // The same operations; only the elementary functions round differently.
                let close = (found - expected).abs() <= 1e-5 + rounding + 1e-6 * expected.abs();
                assert!(
                    close,
                    "case {number}, pixel {pixel}: found {found}, expected {expected}"
                );
            }
        }
    });
}
