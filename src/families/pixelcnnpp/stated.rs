//! What tensors do not tell, and a file of hyperparameters beside the model can: `condition`, and
//! arguments of TensorFlow Probability's `PixelCNN` under their own names.

use serde_json::Value;

use super::Hyperparameters;
use crate::families::HyperparametersError;
use crate::network::{Activation, Condition};

/// The largest whole number of `low` and `high`.
const LARGEST: i64 = 1 << 32;

/// Applies what is stated to hyperparameters that were inferred; other keys are left alone, as the
/// file need not be about this model.
///
/// # Errors
/// When a value is none that there can be.
pub(super) fn apply(
    mut hyper: Hyperparameters,
    hparams: Option<&Value>,
) -> Result<Hyperparameters, HyperparametersError> {
    let Some(hparams) = hparams else {
        return Ok(hyper);
    };
    let rows = hyper.condition.rows();
    if let Some(value) = hparams.get("condition")
        && rows > 0
    {
        hyper.condition = match value.as_str() {
            Some("class") => Condition::Class(rows),
            Some("vector") => Condition::Vector(rows),
            _ => return wrong("condition", "\"class\" or \"vector\"", value),
        };
    }
    let bound = |name, default| match hparams.get(name) {
        None => Ok(default),
        Some(value) => match whole(value) {
            Some(number) => Ok(number),
            None => wrong(name, "a whole number", value),
        },
    };
    if hparams.get("low").is_some() || hparams.get("high").is_some() {
        let (low, high) = (bound("low", 0)?, bound("high", 255)?);
        hyper.dialect.codes = match usize::try_from(high - low + 1) {
            Ok(codes) if (2..=1 << 16).contains(&codes) => codes,
            _ => {
                return Err(HyperparametersError::Stated {
                    name: "high",
                    expected: "1 to 65535 above low".into(),
                    found: format!("low {low}, high {high}"),
                });
            }
        };
    }
    if let Some(value) = hparams.get("resnet_activation") {
        let stated = match value.as_str() {
            Some("concat_elu") => Activation::ConcatElu,
            Some("elu") => Activation::Elu,
            Some("relu") => Activation::Relu,
            _ => {
                return wrong(
                    "resnet_activation",
                    "\"concat_elu\", \"elu\" or \"relu\"",
                    value,
                );
            }
        };
        // Which of them have as many inputs, the tensors tell.
        if stated.channels(1) == hyper.dialect.activation.channels(1) {
            hyper.dialect.activation = stated;
        }
    }
    if let Some(value) = hparams.get("image_shape") {
        let sides = value.as_array().map(|sides| {
            let sides = sides.iter().map(Value::as_u64);
            sides.map(|side| side.and_then(|side| usize::try_from(side).ok()))
        });
        let sides: Option<Vec<usize>> = sides.and_then(Iterator::collect);
        hyper.image_size = match sides.as_deref() {
            Some(&[height, width, channels]) if channels == hyper.channels => Some((height, width)),
            _ => {
                let expected = format!("[height, width, {}]", hyper.channels);
                return wrong("image_shape", &expected, value);
            }
        };
    }
    hyper.validate()?;
    Ok(hyper)
}

/// A whole number, also where it is written as a float.
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
    (number.abs() <= LARGEST as f64).then_some(number as i64)
}

fn wrong<T>(name: &'static str, expected: &str, found: &Value) -> Result<T, HyperparametersError> {
    const SHOWN: usize = 60;
    let text: String = found.to_string().chars().take(SHOWN).collect();
    Err(HyperparametersError::Stated {
        name,
        expected: expected.to_owned(),
        found: text,
    })
}
