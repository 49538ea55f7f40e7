//! What images are conditioned on, at random.

use fastpix::distribution::Philox;
use fastpix::network::{Condition, Given, Map, MapArray, Network};
use fastpix::{EvaluationRequest, SampleRequest};

/// The conditions of a batch of images: as many of each kind as there are images, or none.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Classes.
    pub classes: Vec<usize>,
    /// Vectors, one after the other.
    pub vectors: Vec<f32>,
    /// Maps.
    pub maps: Vec<Map>,
    images: usize,
}

fn random(stream: u64, count: usize) -> Vec<f32> {
    let uniforms = Philox::new(41, stream, 0).uniforms();
    uniforms.take(count).map(|u| 3.0 * u - 1.5).collect()
}

impl Conditions {
    /// Conditions of so many images of this (height, width), of the kinds that the network has.
    pub fn new(network: &Network, images: usize, (height, width): (usize, usize)) -> Self {
        let (mut classes, mut vectors) = (Vec::new(), Vec::new());
        match *network.graph().condition() {
            Condition::None => {}
            Condition::Class(count) => classes = (0..images).map(|image| image % count).collect(),
            Condition::Vector(length) => vectors = random(0, images * length),
        }
        let map = |channels: usize, image: usize| {
            let values = random(image as u64 + 1, height * width * channels);
            Map::new(MapArray::new([height, width, channels], values).unwrap())
        };
        let maps = network.graph().map_channels().map_or(vec![], |channels| {
            (0..images).map(|image| map(channels, image)).collect()
        });
        Self {
            classes,
            vectors,
            maps,
            images,
        }
    }

    /// The class or the vector of an image.
    pub fn given(&self, image: usize) -> Given<'_> {
        let length = self.vectors.len() / self.images.max(1);
        match self.classes.get(image) {
            Some(&class) => Given::Class(class),
            None if length == 0 => Given::None,
            None => Given::Vector(&self.vectors[image * length..][..length]),
        }
    }

    /// Puts them into a request for as many images.
    pub fn sampling(&self, mut request: SampleRequest) -> SampleRequest {
        for (index, image) in request.images.iter_mut().enumerate() {
            match self.given(index) {
                Given::None => {}
                Given::Class(class) => image.class = Some(class),
                Given::Vector(vector) => image.vector = vector.to_vec(),
            }
            image.map = self.maps.get(index).cloned();
        }
        request
    }

    /// Puts them into an evaluation of as many images.
    pub fn evaluation<'a>(&'a self, request: EvaluationRequest<'a>) -> EvaluationRequest<'a> {
        let request = request.classes(&self.classes).vectors(&self.vectors);
        request.maps(&self.maps)
    }
}
