//! Hyperparameters in the original's own form: a flat JSON object.

use serde_json::Value;

use crate::checkpoint::shown;
use crate::families::HyperparametersError;

/// What such a file states, if there is one.
#[derive(Clone, Copy)]
pub(in super::super) struct Hparams<'a>(Option<&'a Value>);

impl<'a> Hparams<'a> {
    pub(in super::super) fn new(json: Option<&'a Value>) -> Self {
        Self(json)
    }

    /// The object under a name; nothing is stated where there is none.
    pub(super) fn within(self, name: &str) -> Self {
        Self(self.get(name))
    }

    /// What is stated under a name; null is nothing.
    fn get(self, name: &str) -> Option<&'a Value> {
        self.0?.get(name).filter(|value| !value.is_null())
    }

    /// Whether anything is stated under a name.
    pub(super) fn has(self, name: &str) -> bool {
        self.0.is_some_and(|json| json.get(name).is_some())
    }

    fn stated<T>(
        self,
        name: &'static str,
        expected: &str,
        of: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, HyperparametersError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match of(value) {
            Some(found) => Ok(Some(found)),
            None => Err(HyperparametersError::Stated {
                name,
                expected: format!("{expected} in the JSON of hyperparameters"),
                found: shown(&value.to_string()),
            }),
        }
    }

    /// A whole number that is not negative; those that are mean that something is not there.
    pub(super) fn count(self, name: &'static str) -> Result<Option<usize>, HyperparametersError> {
        let number = self.stated(name, "a whole number", Value::as_i64)?;
        Ok(number.and_then(|number| usize::try_from(number).ok()))
    }

    pub(super) fn number(self, name: &'static str) -> Result<Option<f32>, HyperparametersError> {
        let number = self.stated(name, "a number", Value::as_f64)?;
        Ok(number.map(|number| number as f32))
    }

    pub(super) fn text(self, name: &'static str) -> Result<Option<&'a str>, HyperparametersError> {
        self.stated(name, "a text", Value::as_str)
    }

    pub(super) fn flag(self, name: &'static str) -> Result<Option<bool>, HyperparametersError> {
        self.stated(name, "true or false", Value::as_bool)
    }

    /// Whole numbers.
    pub(super) fn counts(
        self,
        name: &'static str,
    ) -> Result<Option<Vec<usize>>, HyperparametersError> {
        let all = |value: &Value| {
            let numbers = value.as_array()?.iter();
            let numbers = numbers.map(|number| usize::try_from(number.as_u64()?).ok());
            numbers.collect::<Option<Vec<usize>>>()
        };
        self.stated(name, "whole numbers", all)
    }

    /// Samples per second.
    pub(in super::super) fn sample_rate(self) -> Result<Option<u32>, HyperparametersError> {
        let name = "sample_rate";
        let rate = |value: &Value| {
            let rate = u32::try_from(value.as_u64()?).ok()?;
            (rate > 0).then_some(rate)
        };
        self.stated(name, "samples per second", rate)
    }
}
