//! Hyperparameters beside a model, in the original's own form.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use super::error::shown;
use super::{CheckpointError, LoadOptions};

/// What such a file is called.
const NAME: &str = "hparams.json";
/// The largest such file that is read.
const LARGEST: u64 = 1 << 20;

/// The options with what stands beside a model, unless they have such hyperparameters themselves.
pub(super) fn with_beside<'o>(
    options: &'o LoadOptions,
    model: &Path,
) -> Result<Cow<'o, LoadOptions>, CheckpointError> {
    let beside = match &options.hparams {
        Some(_) => None,
        None => beside(model)?,
    };
    Ok(match beside {
        None => Cow::Borrowed(options),
        Some(beside) => Cow::Owned(options.clone().hparams(beside)),
    })
}

/// Reads the file `hparams.json` beside a model, if there is one.
///
/// # Errors
/// As [`read`].
pub fn beside(model: &Path) -> Result<Option<serde_json::Value>, CheckpointError> {
    let path = model.with_file_name(NAME);
    match path.is_file() {
        true => read(&path).map(Some),
        false => Ok(None),
    }
}

/// Reads a file of hyperparameters: one JSON object.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn read(path: &Path) -> Result<serde_json::Value, CheckpointError> {
    let io = |error| CheckpointError::io(path, "read", error);
    let file = std::fs::File::open(path).map_err(io)?;
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(io)?;
    let fail = |found: String| {
        CheckpointError::malformed(path, "hyperparameters", "a JSON object", shown(&found))
    };
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
    match json.is_object() {
        true => Ok(json),
        false => Err(fail("another value".into())),
    }
}
