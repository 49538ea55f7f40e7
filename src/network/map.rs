//! Conditions that differ from position to position: mel frames, low-resolution images.

use std::fmt::Debug;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// The condition of every position of an image or a sequence, made row by row: it need not be held
/// whole.
pub trait ConditionMap: Debug + Send + Sync {
    /// Rows, columns and channels.
    fn shape(&self) -> [usize; 3];

    /// Fills in some of the rows: `[row][column][channel]`.
    fn rows(&self, rows: Range<usize>, to: &mut [f32]);
}

/// A shared [`ConditionMap`]; equal to itself and its copies only.
#[derive(Clone, Debug)]
pub struct Map(Arc<dyn ConditionMap>);

impl Map {
    /// Shares a map.
    pub fn new(map: impl ConditionMap + 'static) -> Self {
        Self(Arc::new(map))
    }
}

impl Deref for Map {
    type Target = dyn ConditionMap;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A map that is held whole.
#[derive(Clone, Debug, PartialEq)]
pub struct MapArray {
    shape: [usize; 3],
    values: Vec<f32>,
}

impl MapArray {
    /// A map of this many rows, columns and channels; none if there are not as many values.
    pub fn new(shape: [usize; 3], values: Vec<f32>) -> Option<Self> {
        let mut sides = shape.into_iter();
        let length = sides.try_fold(1usize, usize::checked_mul);
        (length == Some(values.len())).then_some(Self { shape, values })
    }
}

impl ConditionMap for MapArray {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn rows(&self, rows: Range<usize>, to: &mut [f32]) {
        let [_, width, channels] = self.shape;
        let row = width * channels;
        to.copy_from_slice(&self.values[rows.start * row..rows.end * row]);
    }
}
