//! Batches of images as arrays.

use crate::network::InputEncoding;

/// A row-major array of shape (N, H, W, C): images, height, width, channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nhwc<T> {
    /// Number of images, height, width, channels.
    pub shape: [usize; 4],
    /// The numbers, as many as the sides of the shape multiply to.
    pub values: Vec<T>,
}

/// 8-bit images.
pub type U8Images = Nhwc<u8>;

/// Whole numbers from 0 on: 8-bit pixels, codes of a vector quantiser, classes.
pub type Codes = Nhwc<u16>;

/// Values as networks see them: -1 to 1, or the numbers of classes.
pub type Values = Nhwc<f32>;

/// Given images: as codes, or as values where these are no whole numbers.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Images<'a> {
    /// Whole numbers.
    Codes(&'a Codes),
    /// Values.
    Values(&'a Values),
}

impl<'a> From<&'a Codes> for Images<'a> {
    fn from(codes: &'a Codes) -> Self {
        Self::Codes(codes)
    }
}

impl<'a> From<&'a Values> for Images<'a> {
    fn from(values: &'a Values) -> Self {
        Self::Values(values)
    }
}

impl Images<'_> {
    /// Number of images, height, width, channels.
    pub fn shape(&self) -> [usize; 4] {
        match self {
            Self::Codes(codes) => codes.shape,
            Self::Values(values) => values.shape,
        }
    }

    /// Height and width.
    pub fn size(&self) -> (usize, usize) {
        let [_, height, width, _] = self.shape();
        (height, width)
    }

    /// The value at this index, as the input encoding says.
    pub fn value(&self, index: usize, input: &InputEncoding) -> f32 {
        match self {
            Self::Codes(codes) => input.value(codes.values[index]),
            Self::Values(values) => values.values[index],
        }
    }
}

impl<T> Nhwc<T> {
    /// Images, one after the other.
    pub fn images(&self) -> impl ExactSizeIterator<Item = &[T]> {
        let [count, height, width, channels] = self.shape;
        let length = (height * width * channels).max(1);
        self.values.chunks(length).take(count)
    }

    /// Height and width.
    pub fn size(&self) -> (usize, usize) {
        (self.shape[1], self.shape[2])
    }

    /// Whether there are as many numbers as the shape says.
    pub fn is_whole(&self) -> bool {
        let sides = self.shape.iter();
        let length = sides.copied().try_fold(1usize, usize::checked_mul);
        length == Some(self.values.len())
    }
}

impl From<&U8Images> for Codes {
    fn from(images: &U8Images) -> Self {
        Self {
            shape: images.shape,
            values: images.values.iter().map(|&value| value.into()).collect(),
        }
    }
}

impl From<U8Images> for Codes {
    fn from(images: U8Images) -> Self {
        Self::from(&images)
    }
}
