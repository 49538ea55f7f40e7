//! Whether requests fit the network: checked once, here, for every backend.

use super::{Engine, EngineError};
use crate::backend::{EvaluationRequest, Images, Prefix, SampleRequest};
use crate::distribution::{Sampler, Truncation};
use crate::network::{Given, Map, OutputDistribution};

fn error<T>(
    what: &'static str,
    expected: impl Into<String>,
    found: impl ToString,
) -> Result<T, EngineError> {
    Err(EngineError::Request {
        what,
        expected: expected.into(),
        found: found.to_string(),
    })
}

impl Engine {
    /// Checks a request as [`Engine::sample`] does, without running it.
    ///
    /// # Errors
    /// When the request does not fit the network.
    pub fn check(&self, request: &SampleRequest) -> Result<(), EngineError> {
        let (height, width) = request.size;
        self.graph.check_size(request.size)?;
        if request.images.is_empty() {
            return error("batch", "at least one image", "none");
        }
        self.check_sampler(&request.sampler)?;
        let row = width * self.graph.channels();
        for image in &request.images {
            self.check_given(image.given())?;
            self.check_map(image.map.as_ref(), request.size)?;
            let length = image.prefix.len();
            if !length.is_multiple_of(row) || length > row * height {
                return error(
                    "prefix",
                    format!("0 to {height} rows of {row} values"),
                    format!("{length} values"),
                );
            }
            match &image.prefix {
                Prefix::Codes(codes) => self.check_codes(codes)?,
                Prefix::Values(values) => self.check_values(values)?,
            }
        }
        Ok(())
    }

    /// Checks an evaluation as [`Engine::evaluate`] does, without running it.
    pub(super) fn check_evaluation(
        &self,
        request: &EvaluationRequest<'_>,
    ) -> Result<(), EngineError> {
        let [count, _, _, channels] = request.images.shape();
        let size = request.images.size();
        self.graph.check_size(size)?;
        if channels != self.graph.channels() {
            return error(
                "image channels",
                self.graph.channels().to_string(),
                channels,
            );
        }
        let (whole, length) = match request.images {
            Images::Codes(codes) => (codes.is_whole(), codes.values.len()),
            Images::Values(values) => (values.is_whole(), values.values.len()),
        };
        if !whole || count == 0 {
            let shape = request.images.shape();
            return error(
                "images",
                format!("values of {shape:?} and at least one image"),
                format!("{length} values"),
            );
        }
        match request.images {
            Images::Codes(codes) => self.check_codes(&codes.values)?,
            Images::Values(values) => self.check_values(&values.values)?,
        }
        if self.graph.condition.classes().is_none() && !request.classes.is_empty() {
            self.check_class(request.classes.first().copied())?;
        }
        for (what, found) in [
            ("vectors", request.vectors.len()),
            ("maps", request.maps.len()),
        ] {
            if found > 0 && !found.is_multiple_of(count) {
                return error(what, format!("as many for each of {count} images"), found);
            }
        }
        let preceding = request.preceding;
        if !preceding.is_empty() {
            if size.1 != 1 || preceding.len() != count * channels {
                return error(
                    "preceding values",
                    format!("{channels} for each of {count} images of width 1"),
                    format!("{} for images of width {}", preceding.len(), size.1),
                );
            }
            self.check_values(preceding)?;
        }
        (0..count).try_for_each(|image| {
            self.check_given(request.given(image))?;
            self.check_map(request.maps.get(image), size)
        })
    }

    fn check_codes(&self, codes: &[u16]) -> Result<(), EngineError> {
        let last = self.graph.input.codes() - 1;
        match codes.iter().find(|&&code| usize::from(code) > last) {
            None => Ok(()),
            Some(code) => error("value", format!("0 to {last}"), code),
        }
    }

    fn check_values(&self, values: &[f32]) -> Result<(), EngineError> {
        let input = &self.graph.input;
        match values.iter().find(|&&value| !input.has(value)) {
            None => Ok(()),
            Some(value) => error("value", input.values_in_words(), value),
        }
    }

    fn check_sampler(&self, sampler: &Sampler) -> Result<(), EngineError> {
        let temperature = sampler.temperature;
        if !(temperature.is_finite() && temperature > 0.0) {
            return error("temperature", "a positive number", temperature);
        }
        let (what, found) = match sampler.truncation {
            Truncation::None => return Ok(()),
            Truncation::TopK(0) => return error("top k", "at least 1", 0),
            Truncation::TopP(p) if !(p > 0.0 && p <= 1.0) => {
                return error("top p", "above 0, at most 1", p);
            }
            Truncation::TopK(k) => ("top k", k.to_string()),
            Truncation::TopP(p) => ("top p", p.to_string()),
            Truncation::Greedy => ("choice", "the likeliest class".to_owned()),
        };
        match self.graph.output {
            OutputDistribution::Categorical { .. } => Ok(()),
            OutputDistribution::LogisticMixture(_) => {
                error(what, "none: the model does not draw classes", found)
            }
        }
    }

    /// Checks the class of an image, or that it has none, against the network.
    ///
    /// # Errors
    /// When a class is missing, superfluous or out of range.
    pub fn check_class(&self, class: Option<usize>) -> Result<(), EngineError> {
        let expected = match (self.graph.condition.classes(), class) {
            (None, None) => return Ok(()),
            (Some(classes), Some(class)) if class < classes => return Ok(()),
            (Some(classes), _) => format!("0 to {} for this class-conditional model", classes - 1),
            (None, Some(_)) => "none: the model is not class-conditional".to_owned(),
        };
        Err(EngineError::Class {
            expected,
            found: class.map_or("none".to_owned(), |class| class.to_string()),
        })
    }

    /// Checks the class or the vector of an image.
    fn check_given(&self, given: Given<'_>) -> Result<(), EngineError> {
        let found = match given {
            Given::Vector(vector) => vector.len(),
            Given::None | Given::Class(_) => 0,
        };
        match self.graph.condition.vector() {
            Some(expected) if found == expected => {}
            Some(expected) => {
                return error(
                    "condition",
                    format!("a vector of {expected} numbers for each image"),
                    found,
                );
            }
            None if found > 0 => {
                return error("condition", "none: the model takes no vector", found);
            }
            None => {}
        }
        if let Given::Vector(vector) = given
            && let Some(number) = vector.iter().find(|number| !number.is_finite())
        {
            return error("condition", "finite numbers", number);
        }
        match given {
            Given::Class(class) => self.check_class(Some(class)),
            Given::None | Given::Vector(_) => self.check_class(None),
        }
    }

    /// Checks the map of an image.
    fn check_map(&self, map: Option<&Map>, size: (usize, usize)) -> Result<(), EngineError> {
        let (height, width) = size;
        let found = map.map(|map| map.shape());
        match (self.graph.map_channels(), found) {
            (None, None) => Ok(()),
            (Some(channels), Some(found)) if found == [height, width, channels] => Ok(()),
            (Some(channels), found) => error(
                "map",
                format!("one of shape {:?}", [height, width, channels]),
                found.map_or("none".to_owned(), |found| format!("{found:?}")),
            ),
            (None, Some(found)) => {
                error("map", "none: the model takes no map", format!("{found:?}"))
            }
        }
    }
}
