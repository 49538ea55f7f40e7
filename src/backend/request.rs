//! What is asked for.

use super::Codes;
use crate::distribution::{Sampler, Truncation};
use crate::network::{Given, InputEncoding, Map};

/// How pixels are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum EvaluationMode {
    /// By cached activations: one evaluation of the network in total.
    #[default]
    Cached,
    /// By evaluation of whole images: for sampling one per pixel (naive generation, the
    /// baseline), for given images a single one.
    WholeImage,
}

/// Values that an image is given, in raster order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Prefix {
    /// As codes.
    Codes(Vec<u16>),
    /// As values.
    Values(Vec<f32>),
}

impl Default for Prefix {
    fn default() -> Self {
        Self::Codes(Vec::new())
    }
}

impl Prefix {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Codes(codes) => codes.len(),
            Self::Values(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at this index; none beyond the end.
    pub fn value(&self, index: usize, input: &InputEncoding) -> Option<f32> {
        match self {
            Self::Codes(codes) => codes.get(index).map(|&code| input.value(code)),
            Self::Values(values) => values.get(index).copied(),
        }
    }
}

impl From<Vec<u16>> for Prefix {
    fn from(codes: Vec<u16>) -> Self {
        Self::Codes(codes)
    }
}

impl From<Vec<f32>> for Prefix {
    fn from(values: Vec<f32>) -> Self {
        Self::Values(values)
    }
}

/// One image of a [`SampleRequest`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageRequest {
    /// Decides the random numbers together with the seed: equal index, seed and model give equal
    /// images, in whatever batch.
    pub index: u64,
    /// Its class, for class-conditional models.
    pub class: Option<usize>,
    /// The vector it is conditioned on, for models that have one; else empty.
    pub vector: Vec<f32>,
    /// The condition of every position, for models that have one.
    pub map: Option<Map>,
    /// Rows that are kept, from the top: `rows * width * channels` codes or values (empty: none).
    pub prefix: Prefix,
}

impl ImageRequest {
    /// The image of this index, without condition or prefix.
    pub fn new(index: u64) -> Self {
        Self {
            index,
            ..Self::default()
        }
    }

    /// Its class or its vector.
    pub fn given(&self) -> Given<'_> {
        match self.class {
            Some(class) => Given::Class(class),
            None if self.vector.is_empty() => Given::None,
            None => Given::Vector(&self.vector),
        }
    }
}

/// A batch of images to sample.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SampleRequest {
    /// Height and width.
    pub size: (usize, usize),
    /// The images; at least one.
    pub images: Vec<ImageRequest>,
    /// Key of the random numbers.
    pub seed: u64,
    /// How values are drawn.
    pub sampler: Sampler,
    /// Feed samples of a logistic mixture back unrounded, as the original PixelCNN++ does;
    /// otherwise they are rounded to the nearest code first, so that the image saved is the image
    /// conditioned on.
    pub continuous: bool,
    /// Cached, or naive generation.
    pub mode: EvaluationMode,
}

impl SampleRequest {
    /// Images 0 to `count - 1` of this (height, width), with seed 0 and temperature 1, by cached
    /// activations.
    pub fn new(size: (usize, usize), count: usize) -> Self {
        Self::of(size, (0..count as u64).map(ImageRequest::new).collect())
    }

    /// As [`SampleRequest::new`], of these images.
    pub fn of(size: (usize, usize), images: Vec<ImageRequest>) -> Self {
        Self {
            size,
            images,
            seed: 0,
            sampler: Sampler::default(),
            continuous: false,
            mode: EvaluationMode::Cached,
        }
    }

    /// Keeps the first rows of given images (all, if there are fewer) and samples the rest.
    pub fn completing(images: &Codes, keep_rows: usize) -> Self {
        let [_, _, width, channels] = images.shape;
        let kept = keep_rows.saturating_mul(width * channels);
        let requests = (0..)
            .zip(images.images())
            .map(|(index, image)| ImageRequest {
                prefix: image[..kept.min(image.len())].to_vec().into(),
                ..ImageRequest::new(index)
            });
        Self::of(images.size(), requests.collect())
    }

    /// Key of the random numbers.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Index of the first image; the others count on from it.
    pub fn first_image(mut self, first: u64) -> Self {
        for (index, image) in (0..).zip(&mut self.images) {
            image.index = first.wrapping_add(index);
        }
        self
    }

    /// The class of all images.
    pub fn class(self, class: usize) -> Self {
        self.classes([class])
    }

    /// Classes of the images, taken in turn.
    pub fn classes<I>(mut self, classes: I) -> Self
    where
        I: IntoIterator<Item = usize>,
        I::IntoIter: Clone,
    {
        let classes = classes.into_iter().cycle();
        for (image, class) in self.images.iter_mut().zip(classes) {
            image.class = Some(class);
        }
        self
    }

    /// Divides the logits and multiplies the scales.
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.sampler.temperature = temperature;
        self
    }

    /// Which classes of a categorical distribution can be drawn at all.
    pub fn truncation(mut self, truncation: Truncation) -> Self {
        self.sampler.truncation = truncation;
        self
    }

    /// Whether samples are fed back unrounded: see [`SampleRequest::continuous`].
    pub fn continuous(mut self, continuous: bool) -> Self {
        self.continuous = continuous;
        self
    }

    /// Cached, or naive generation.
    pub fn mode(mut self, mode: EvaluationMode) -> Self {
        self.mode = mode;
        self
    }

    /// Pixels of each image.
    pub fn pixels(&self) -> usize {
        self.size.0 * self.size.1
    }
}
