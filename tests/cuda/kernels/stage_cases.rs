//! The ends of stages that `tests/golden/kernels/make_output.py` made.

use std::collections::BTreeMap;

use fastpix::cuda::parameters::Mixture;
use fastpix::network::{
    BinRule, CoefficientLink, InputEncoding, LogisticMixture, MixtureLayout, OutputDistribution,
    ScaleLink,
};
use test_support::reference::Array;

use super::cases::arrays;

/// A case of `output.npz`.
pub struct Case {
    pub name: String,
    pub arrays: BTreeMap<String, Array>,
    pub rows: usize,
    pub columns: usize,
    pub batch: usize,
    pub channels: usize,
    pub components: usize,
    pub continuous: bool,
    pub categorical: bool,
    pub encoding: InputEncoding,
    pub first_channel: usize,
    pub first_draw: usize,
    pub image_channels: usize,
    pub classes: usize,
    /// Of each tap.
    pub depths: Vec<usize>,
}

impl Case {
    pub fn all() -> Vec<Self> {
        let case = |(number, arrays): (usize, BTreeMap<String, Array>)| {
            let numbers = arrays["numbers"].usize();
            let limit = arrays["limit"].f32()[0];
            let encoding = encoding(&numbers[7..11], limit);
            Self {
                name: format!("case {number}"),
                rows: numbers[0],
                columns: numbers[1],
                batch: numbers[2],
                channels: numbers[3],
                components: numbers[4],
                continuous: numbers[5] != 0,
                categorical: numbers[6] != 0,
                encoding,
                first_channel: numbers[11],
                first_draw: numbers[12],
                image_channels: numbers[13],
                classes: numbers[14],
                depths: numbers[15..].to_vec(),
                arrays,
            }
        };
        let cases = arrays("output.npz").into_iter().enumerate();
        cases.map(case).collect()
    }

    pub fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    /// The pixels of all images, image by image, as (row, column, image).
    pub fn places(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (pixels, columns) = (self.pixels(), self.columns);
        (0..self.batch * pixels).map(move |at| (at % pixels / columns, at % columns, at / pixels))
    }

    pub fn input_channels(&self) -> usize {
        self.arrays["input"].shape[2]
    }

    pub fn distribution(&self) -> OutputDistribution {
        distribution(&self.arrays, self.components, self.channels)
    }

    /// Whether a pixel is given, of all in order `[image][pixel]`.
    pub fn given(&self) -> impl Iterator<Item = bool> {
        let rows = self.arrays["prefix_rows"].usize();
        self.places().map(move |(row, _, image)| row < rows[image])
    }
}

/// An encoding from its number, codes, whether there are ones, and channels of the table.
pub fn encoding(numbers: &[usize], limit: f32) -> InputEncoding {
    let (classes, codes) = (numbers[1], numbers[1]);
    match numbers[0] {
        0 => InputEncoding::Scaled {
            codes,
            limit,
            ones: numbers[2] != 0,
        },
        1 => InputEncoding::OneHot { classes },
        _ => InputEncoding::Embedding {
            classes,
            channels: numbers[3],
            table: 0,
        },
    }
}

/// The mixture of a case as `mixture.py` describes it; else so many classes of so many channels.
pub fn distribution(
    arrays: &BTreeMap<String, Array>,
    classes: usize,
    channels: usize,
) -> OutputDistribution {
    let Some(numbers) = arrays.get("mixture").map(Array::usize) else {
        return OutputDistribution::Categorical { classes, channels };
    };
    let [sampling, likelihood] = [0, 1].map(|at| arrays["bounds"].f32()[at]);
    let three = |at: usize| [numbers[at], numbers[at + 1], numbers[at + 2]];
    OutputDistribution::LogisticMixture(LogisticMixture {
        mixtures: numbers[0],
        channels: numbers[1],
        layout: MixtureLayout {
            parameters: numbers[2],
            logit: [numbers[3], numbers[4]],
            mean: three(5),
            scale: three(8),
            coefficient: [numbers[11], numbers[12], numbers[13], numbers[14]],
            groups: numbers[15],
        },
        scale: match numbers[16] {
            0 => ScaleLink::Exp {
                sampling_floor: sampling,
                likelihood_floor: likelihood,
            },
            1 => ScaleLink::Softplus { epsilon: sampling },
            _ => ScaleLink::InverseSoftplus { floor: sampling },
        },
        coefficients: [CoefficientLink::Tanh, CoefficientLink::Identity][numbers[17]],
        bins: [BinRule::Original, BinRule::Exact][numbers[18]],
    })
}

/// A distribution as the kernels see it: a mixture, or so many classes.
pub fn parameters(distribution: &OutputDistribution) -> (Mixture, i32) {
    match distribution {
        OutputDistribution::LogisticMixture(mixture) => (mixture.into(), 0),
        OutputDistribution::Categorical { classes, .. } => (Mixture::default(), *classes as i32),
    }
}
