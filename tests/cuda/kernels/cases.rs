//! The steps that `tests/golden/kernels/make.py` made.

use std::collections::BTreeMap;
use std::path::Path;

use test_support::reference::{Array, npz};

/// One step as the script describes it.
pub struct Case {
    pub name: String,
    pub arrays: BTreeMap<String, Array>,
    pub batch: usize,
    pub rows: usize,
    pub columns: usize,
    pub input_step: usize,
    pub output_step: usize,
    pub parity: (usize, usize),
    pub gated: bool,
    pub terms: Vec<Tap>,
}

pub struct Tap {
    pub source: Array,
    pub weight: Array,
    pub offset: (i32, i32),
    pub pixel: bool,
}

pub fn cases() -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kernels/steps.npz");
    let all = npz(&file);
    let case = |number: usize| {
        let prefix = format!("{number}/");
        let arrays: BTreeMap<String, Array> = all
            .iter()
            .filter_map(|(name, array)| Some((name.strip_prefix(&prefix)?.into(), array.clone())))
            .collect();
        let numbers: Vec<usize> = arrays
            .get("numbers")?
            .values
            .iter()
            .map(|&v| v as usize)
            .collect();
        let tap = |t: usize| {
            let offset = arrays.get(&format!("{t}/offset"))?;
            Some(Tap {
                source: arrays[&format!("{t}/source")].clone(),
                weight: arrays[&format!("{t}/weight")].clone(),
                offset: (offset.values[0] as i32, offset.values[1] as i32),
                pixel: offset.values[2] != 0.0,
            })
        };
        let terms = (0..).map_while(tap).collect();
        Some(Case {
            name: format!("case {number}"),
            batch: numbers[0],
            rows: numbers[1],
            columns: numbers[2],
            input_step: numbers[3],
            output_step: numbers[4],
            parity: (numbers[5], numbers[6]),
            gated: numbers[7] != 0,
            terms,
            arrays,
        })
    };
    (0..).map_while(case).collect()
}
