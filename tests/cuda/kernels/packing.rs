//! An op's weights in the order in which the kernels of a dtype read them, written down from
//! what `kernels/*.cu` say.

use fastpix::Dtype;

use super::cases::{Case, Tap};

/// A case for the kernels of a dtype.
pub struct Packing<'a> {
    pub case: &'a Case,
    pub dtype: Dtype,
}

/// Weights, and how many k they have with padding.
pub struct Packed {
    pub weights: Vec<f32>,
    pub depth: usize,
}

impl Packing<'_> {
    /// Channels are padded to a multiple of this.
    pub fn multiple(&self) -> usize {
        match self.dtype {
            Dtype::F32 => 4,
            _ => 8,
        }
    }

    fn halves(&self) -> usize {
        if self.case.gated() { 2 } else { 1 }
    }

    pub fn channels(&self) -> usize {
        self.case.arrays["y"].shape[3]
    }

    pub fn padded(&self) -> usize {
        self.channels().next_multiple_of(self.multiple())
    }

    /// Outputs with padding.
    pub fn width(&self) -> usize {
        (self.padded() * self.halves()).next_multiple_of(32)
    }

    /// The output at place `j`: gated outputs lie in fours a, a, b, b, or in blocks of 16 a and 16 b.
    /// None for padding.
    fn output(&self, j: usize) -> Option<usize> {
        let (half, channel) = match (self.case.gated(), self.dtype) {
            (false, _) => (0, j),
            (true, Dtype::F32) => (j / 2 % 2, j / 4 * 2 + j % 2),
            (true, _) => (j / 16 % 2, j / 32 * 16 + j % 16),
        };
        (channel < self.channels()).then_some(half * self.channels() + channel)
    }

    fn weight(&self, tap: &Tap, k: usize, n: Option<usize>) -> f32 {
        let &[depth, outputs] = tap.weight.shape.as_slice() else {
            panic!("two sides");
        };
        match n {
            Some(n) if k < depth => tap.weight.values[k * outputs + n] as f32,
            _ => 0.0,
        }
    }

    /// Every k of some taps, padded.
    fn operands(&self, pixel_only: bool) -> Vec<(&Tap, usize)> {
        let taps = self.case.taps.iter().filter(|tap| tap.pixel || !pixel_only);
        let every = |tap| {
            self.padded_depth(tap, self.multiple())
                .map(move |k| (tap, k))
        };
        taps.flat_map(every).collect()
    }

    fn padded_depth(&self, tap: &Tap, multiple: usize) -> std::ops::Range<usize> {
        0..tap.weight.shape[0].next_multiple_of(multiple)
    }

    /// What the sums start from: `[class][width]`.
    pub fn bias(&self) -> Vec<f32> {
        let bias = &self.case.arrays["bias"];
        let outputs = bias.shape[1];
        let of = |class: usize, j| {
            self.output(j)
                .map_or(0.0, |n| bias.values[class * outputs + n] as f32)
        };
        (0..bias.shape[0])
            .flat_map(|class| (0..self.width()).map(move |j| of(class, j)))
            .collect()
    }

    /// For the row kernel: all taps.
    pub fn wide(&self) -> Packed {
        let mut weights = Vec::new();
        for tile in (0..self.width()).step_by(32) {
            if self.dtype == Dtype::F32 {
                for tap in &self.case.taps {
                    for k in self.padded_depth(tap, 16) {
                        let columns = tile..tile + 32;
                        weights.extend(columns.map(|j| self.weight(tap, k, self.output(j))));
                    }
                }
            } else {
                // [k / 32][mma][lane][8]
                for chunk in self.operands(false).chunks(32) {
                    for mma in 0..4 {
                        let place = |c| tile + 16 * (mma / 2) + 4 * (c / 2) + 2 * (mma % 2) + c % 2;
                        self.lanes(&mut weights, chunk, |c| self.output(place(c)));
                    }
                }
            }
        }
        let depth = weights.len() / self.width();
        Packed { weights, depth }
    }

    /// For the pixel kernel: the taps of the pixel phase.
    pub fn pixel(&self) -> Packed {
        let operands = self.operands(true);
        let mut weights = Vec::new();
        if self.dtype == Dtype::F32 {
            for panel in 0..self.padded() / 4 {
                for piece in 0..4 * self.halves() {
                    for four in operands.chunks(4) {
                        let (tap, k) = four[piece / self.halves()];
                        let first = 4 * (panel * self.halves() + piece % self.halves());
                        let columns = first..first + 4;
                        weights.extend(columns.map(|j| self.weight(tap, k, self.output(j))));
                    }
                }
            }
            let depth = operands.len();
            return Packed { weights, depth };
        }
        // [panel][k / 32][lane][8]: 8 channels, or a and b of 4 by turns.
        for panel in 0..self.panels() {
            for chunk in operands.chunks(32) {
                self.lanes(&mut weights, chunk, |c| {
                    let channels = 8 / self.halves();
                    let channel = panel * channels + c / self.halves();
                    let known = channel < self.channels();
                    known.then_some(c % self.halves() * self.channels() + channel)
                });
            }
        }
        let depth = operands.len();
        Packed { weights, depth }
    }

    /// Blocks of the pixel kernel for each group of images.
    pub fn panels(&self) -> usize {
        match self.dtype {
            Dtype::F32 => self.padded() / 4,
            _ => self.padded() * self.halves() / 8,
        }
    }

    /// A chunk of 32 k of 8 columns: lane 4 g + t holds k 8 t to 8 t + 7 of column g.
    fn lanes(
        &self,
        weights: &mut Vec<f32>,
        chunk: &[(&Tap, usize)],
        sum: impl Fn(usize) -> Option<usize>,
    ) {
        for lane in 0..32 {
            for k in lane % 4 * 8..lane % 4 * 8 + 8 {
                let operand = chunk.get(k);
                weights.push(operand.map_or(0.0, |&(tap, k)| self.weight(tap, k, sum(lane / 4))));
            }
        }
    }
}
