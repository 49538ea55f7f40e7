//! The ops that `tests/golden/kernels/make.py` made.

use std::collections::BTreeMap;

use fastpix::cuda::parameters::Gate;
use test_support::reference::{Array, golden, npz};

/// One op as the script describes it.
pub struct Case {
    pub name: String,
    pub arrays: BTreeMap<String, Array>,
    pub batch: usize,
    pub rows: usize,
    pub columns: usize,
    /// By row and column, as all pairs below.
    pub input_step: [usize; 2],
    pub output_step: [usize; 2],
    pub parity: [usize; 2],
    /// log2 of the image's rows and columns per one of the grid.
    pub shift: [usize; 2],
    pub gate: Gate,
    pub residual: bool,
    /// Only the pixel phase knows the residual.
    pub late_residual: bool,
    pub taps: Vec<Tap>,
}

pub struct Tap {
    pub source: Array,
    pub weight: Array,
    pub offset: [i32; 2],
    pub pixel: bool,
}

impl Case {
    pub fn gated(&self) -> bool {
        self.gate != Gate::None
    }

    /// Whether the row phase finishes it.
    pub fn complete_in_row_phase(&self) -> bool {
        !self.late_residual && self.taps.iter().all(|tap| !tap.pixel)
    }
}

/// The arrays of each case of a file.
pub fn arrays(file: &str) -> Vec<BTreeMap<String, Array>> {
    let all = npz(&golden(&format!("kernels/{file}")));
    let case = |number: usize| {
        let prefix = format!("{number}/");
        let arrays: BTreeMap<String, Array> = all
            .iter()
            .filter_map(|(name, array)| Some((name.strip_prefix(&prefix)?.into(), array.clone())))
            .collect();
        (!arrays.is_empty()).then_some(arrays)
    };
    let cases: Vec<_> = (0..).map_while(case).collect();
    assert!(cases.len() > 5, "{file}: {} cases", cases.len());
    cases
}

/// The matrix products.
pub fn cases() -> Vec<Case> {
    let case = |(number, arrays): (usize, BTreeMap<String, Array>)| {
        let numbers = arrays["numbers"].usize();
        let pair = |at: usize| [numbers[at], numbers[at + 1]];
        let tap = |t: usize| {
            let offset = arrays.get(&format!("{t}/offset"))?;
            Some(Tap {
                source: arrays[&format!("{t}/source")].clone(),
                weight: arrays[&format!("{t}/weight")].clone(),
                offset: [offset.values[0] as i32, offset.values[1] as i32],
                pixel: offset.values[2] != 0.0,
            })
        };
        let taps = (0..).map_while(tap).collect();
        Case {
            name: format!("case {number}"),
            batch: numbers[0],
            rows: numbers[1],
            columns: numbers[2],
            input_step: pair(3),
            output_step: pair(5),
            parity: pair(7),
            shift: pair(9),
            gate: [Gate::None, Gate::Sigmoid, Gate::TanhSigmoid][numbers[11]],
            residual: numbers[12] != 0,
            late_residual: numbers[13] != 0,
            taps,
            arrays,
        }
    };
    arrays("ops.npz")
        .into_iter()
        .enumerate()
        .map(case)
        .collect()
}
