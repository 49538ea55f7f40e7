//! What networks are asked for when only time matters: grey images, silence, and conditions of zeros.

use anyhow::Result;
use fastpix::network::{Map, MapArray};
use fastpix::{Codes, Engine, EvaluationRequest, SampleRequest};

/// Given images with what they are conditioned on.
pub struct Given {
    images: Codes,
    classes: Vec<usize>,
    vectors: Vec<f32>,
    maps: Vec<Map>,
}

impl Given {
    /// Images of the middle code of this (height, width).
    pub fn new(engine: &Engine, size: (usize, usize), batch: usize) -> Result<Self> {
        let graph = engine.graph();
        let shape = [batch, size.0, size.1, graph.channels()];
        let middle = (graph.input().codes() / 2) as u16;
        let condition = graph.condition();
        Ok(Self {
            images: Codes {
                shape,
                values: vec![middle; shape.iter().product()],
            },
            classes: vec![0; condition.classes().map_or(0, |_| batch)],
            vectors: vec![0.0; condition.vector().map_or(0, |length| length * batch)],
            maps: map(engine, size)?.map_or_else(Vec::new, |map| vec![map; batch]),
        })
    }

    /// Their evaluation.
    pub fn request(&self) -> EvaluationRequest<'_> {
        EvaluationRequest::new(&self.images)
            .classes(&self.classes)
            .vectors(&self.vectors)
            .maps(&self.maps)
    }
}

/// A batch of images to sample.
pub fn request(engine: &Engine, size: (usize, usize), batch: usize) -> Result<SampleRequest> {
    let mut request = SampleRequest::new(size, batch);
    let condition = engine.graph().condition();
    let map = map(engine, size)?;
    for image in &mut request.images {
        image.class = condition.classes().map(|_| 0);
        image.vector = vec![0.0; condition.vector().unwrap_or(0)];
        image.map = map.clone();
    }
    Ok(request)
}

/// The map of a size, for networks that have one: made of frames if they make that many rows.
fn map(engine: &Engine, (height, width): (usize, usize)) -> Result<Option<Map>> {
    let Some(channels) = engine.graph().map_channels() else {
        return Ok(None);
    };
    if let (Some(encoder), 1) = (engine.map_encoder(), width) {
        let frames = frames(engine, height);
        if encoder.rows(frames) == height {
            let frames = vec![0.0; frames * encoder.channels()];
            return Ok(Some(encoder.encode(frames)?));
        }
    }
    let zeros = vec![0.0; height * width * channels];
    Ok(MapArray::new([height, width, channels], zeros).map(Map::new))
}

/// As few frames as make at least so many rows.
fn frames(engine: &Engine, rows: usize) -> usize {
    let Some(encoder) = engine.map_encoder() else {
        return 0;
    };
    // No frame makes less than a row.
    let (mut few, mut enough) = (0, rows);
    while few + 1 < enough {
        let middle = few + (enough - few) / 2;
        match encoder.rows(middle) >= rows {
            true => enough = middle,
            false => few = middle,
        }
    }
    enough
}

/// The length of a sound of at least so many samples that whole frames make.
pub fn whole_frames(engine: &Engine, length: usize) -> usize {
    let encoder = engine.map_encoder();
    encoder.map_or(length, |encoder| encoder.rows(frames(engine, length)))
}
