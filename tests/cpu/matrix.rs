//! Matrices with gaps between rows, as the kernels address them.

use fastpix::cpu::rows::Rows;

/// Numbers in [-1, 1) from a linear congruential generator.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// How rows lie in memory: rows per group, and what is left free behind rows and groups.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub group: usize,
    pub row_gap: usize,
    pub group_gap: usize,
}

pub const LAYOUTS: [Layout; 3] = [
    Layout {
        group: usize::MAX,
        row_gap: 0,
        group_gap: 0,
    },
    Layout {
        group: 3,
        row_gap: 5,
        group_gap: 7,
    },
    Layout {
        group: 1,
        row_gap: 0,
        group_gap: 64,
    },
];

/// Rows of elements, with a value in the gaps that would be noticed.
#[derive(Clone)]
pub struct Matrix<T> {
    pub data: Vec<T>,
    pub width: usize,
    layout: Layout,
}

impl<T: Copy> Matrix<T> {
    pub fn new(
        rows: usize,
        width: usize,
        layout: Layout,
        gap: T,
        mut value: impl FnMut(usize, usize) -> T,
    ) -> Self {
        let mut matrix = Self {
            data: Vec::new(),
            width,
            layout,
        };
        matrix.data = vec![
            gap;
            (0..rows)
                .map(|row| matrix.start(row) + width)
                .max()
                .unwrap_or(0)
        ];
        for row in 0..rows {
            for column in 0..width {
                let at = matrix.start(row) + column;
                matrix.data[at] = value(row, column);
            }
        }
        matrix
    }

    pub fn start(&self, row: usize) -> usize {
        let group = self.layout.group;
        (row / group) * self.group_stride() + (row % group) * (self.width + self.layout.row_gap)
    }

    fn group_stride(&self) -> usize {
        match self.layout.group {
            usize::MAX => 0,
            group => group * (self.width + self.layout.row_gap) + self.layout.group_gap,
        }
    }

    pub fn row(&self, row: usize) -> &[T] {
        &self.data[self.start(row)..][..self.width]
    }

    pub fn rows(&mut self) -> Rows<T> {
        Rows {
            base: self.data.as_mut_ptr(),
            row_stride: self.width + self.layout.row_gap,
            group: self.layout.group,
            group_stride: self.group_stride(),
        }
    }
}

/// Panics with the first ten places where bits differ (all NaN are alike).
#[track_caller]
pub fn assert_same_bits(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    let differing: Vec<String> = found
        .iter()
        .zip(expected)
        .enumerate()
        .filter(|(_, (a, b))| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan()))
        .map(|(at, (a, b))| format!("[{at}] {a:e} for {b:e}"))
        .collect();
    assert!(
        differing.is_empty(),
        "{what}: {} of {} differ: {}",
        differing.len(),
        found.len(),
        differing[..differing.len().min(10)].join(", ")
    );
}
