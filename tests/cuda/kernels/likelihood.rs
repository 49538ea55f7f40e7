//! The likelihood kernels against NumPy in float64 (`tests/golden/kernels/make_output.py`) and against
//! the CPU.

use std::collections::BTreeMap;

use fastpix::cuda::parameters::Likelihood;
use fastpix::network::{InputEncoding, OutputDistribution};
use test_support::device::on_a_device;
use test_support::reference::Array;

use super::cases::arrays;
use super::stage::{Gpu, config, distribution};

/// A case of `likelihood.npz`.
struct Scored {
    arrays: BTreeMap<String, Array>,
    stages: usize,
    codes: usize,
    distribution: OutputDistribution,
}

impl Scored {
    fn all() -> Vec<Self> {
        let case = |arrays: BTreeMap<String, Array>| {
            let numbers = arrays["numbers"].usize();
            Self {
                stages: numbers[1],
                codes: numbers[4],
                distribution: distribution(numbers[0] != 0, numbers[3], numbers[2]),
                arrays,
            }
        };
        arrays("likelihood.npz").into_iter().map(case).collect()
    }

    /// Log-likelihoods by the kernel.
    fn nats(&self, gpu: &Gpu) -> Vec<f64> {
        let (kernel, components) = match self.distribution {
            OutputDistribution::LogisticMixture(mixture) => {
                ("log_likelihood_mixture", mixture.mixtures)
            }
            OutputDistribution::Categorical { classes, .. } => {
                ("log_likelihood_categorical", classes)
            }
        };
        let pixels = self.arrays["nats"].values.len();
        let params = gpu.upload(&self.arrays["params"].f32());
        let codes = gpu.upload(&self.codes());
        let nats = gpu.upload(&vec![f64::NAN; pixels]);
        let parameters = Likelihood {
            parameters: gpu.address(&params),
            codes: gpu.address(&codes),
            nats: gpu.address(&nats),
            pixels: pixels as u64,
            stages: self.stages as i32,
            count: self.distribution.parameters() as i32,
            components: components as i32,
            channels: self.distribution.channels() as i32,
            code_count: self.codes as i32,
            log_centre: ((self.codes - 1) as f64 / 2.0).ln() as f32,
        };
        let config = config((pixels.div_ceil(128), 1), 128, 0);
        gpu.launch(("likelihood", kernel), config, &parameters, 1);
        gpu.download(&nats)
    }

    fn codes(&self) -> Vec<u16> {
        let codes = self.arrays["codes"].usize();
        codes.iter().map(|&code| code as u16).collect()
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
                // Bins are computed in f32, as the original does: `rounding` says what that can
                // change.
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
            let input = InputEncoding::Scaled {
                codes: case.codes,
                limit: 1.0,
                ones: false,
            };
            let (params, codes) = (case.arrays["params"].f32(), case.codes());
            let pixels = case.arrays["nats"].values.len();
            let of_stage = params.chunks(case.distribution.parameters());
            let stages: Vec<f64> = of_stage
                .zip(codes.chunks(case.distribution.channels()))
                .map(|(params, codes)| {
                    let values: Vec<f32> = codes.iter().map(|&code| input.value(code)).collect();
                    case.distribution.log_likelihood(params, &values, &input)
                })
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
