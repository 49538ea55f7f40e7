//! What can be wrong with a model file, always in one line.

use std::path::{Path, PathBuf};

use crate::families::{HyperparametersError, WeightsError};

/// Longest piece of a file's own text that a message repeats.
const SHOWN: usize = 120;

/// A model file that cannot be read, understood or written.
///
/// Every message is one line naming the file, the tensor or offset, what was expected and what
/// was found. Text taken from the file is escaped and cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", shown_path(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The file is of no known format.
    #[error("{}: expected {expected}, found {found}", shown_path(path))]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// The formats that would do.
        expected: String,
        /// How the file begins.
        found: String,
    },
    /// The file breaks the rules of its format.
    #[error("{}: {place}: expected {expected}, found {found}", shown_path(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The tensor, entry or byte offset.
        place: String,
        /// What the format asks for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A checksum does not fit the bytes it covers.
    #[error(
        "{}: {place}: expected checksum {expected:#010x}, found {found:#010x}: the file is damaged",
        shown_path(path)
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The tensor, entry or byte offset.
        place: String,
        /// The checksum stored in the file.
        expected: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// A tensor has an element type that is not read.
    #[error(
        "{}: tensor {tensor}: expected element type {expected}, found {found}",
        shown_path(path)
    )]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// The types that can be read.
        expected: &'static str,
        /// Its type.
        found: String,
    },
    /// A tensor is missing, misshapen, superfluous or not finite.
    #[error("{}: {source}", shown_path(path))]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: WeightsError,
    },
    /// The tensors are those of no model.
    #[error("{}: {source}", shown_path(path))]
    Hyperparameters {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: HyperparametersError,
    },
    /// The hyperparameters stored in the file cannot be understood.
    #[error("{}: metadata `fastpix`: {reason}", shown_path(path))]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl CheckpointError {
    pub(crate) fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            action,
            source,
        }
    }

    pub(crate) fn malformed(
        path: &Path,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            place: place.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// Text from a file, fit for one line of a message: escaped, cut when long.
pub(crate) fn shown(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(SHOWN)
        .flat_map(|character| {
            // `escape_debug` would also escape quotes, which tensor names do not need.
            let escape = character.is_control() || is_line_separator(character);
            let (plain, escaped) = if escape {
                (None, Some(character.escape_unicode()))
            } else {
                (Some(character), None)
            };
            plain.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        line.push_str("...");
    }
    line
}

fn shown_path(path: &Path) -> String {
    // A path is the user's own and may be long; only what would break the line is escaped.
    path.to_string_lossy()
        .chars()
        .flat_map(|character| {
            let escape = character.is_control() || is_line_separator(character);
            let plain = (!escape).then_some(character);
            let escaped = escape.then(|| character.escape_default());
            plain.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

fn is_line_separator(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}')
}
