//! The demonstration models that come with the program.

use crate::checkpoint::{Checkpoint, CheckpointError, Inspection, LoadOptions};

/// A model that is part of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedModel {
    /// What users call it.
    pub name: &'static str,
    /// One line that says what it draws.
    pub description: &'static str,
    /// The card: data, licence, size and bits/dim, in Markdown.
    pub card: &'static str,
    bytes: &'static [u8],
}

/// All embedded models, the default one first.
pub const EMBEDDED: [EmbeddedModel; 2] = [
    EmbeddedModel {
        name: "avatars",
        description: "16x16 RGB pixel-art faces",
        card: include_str!("../models/avatars.md"),
        bytes: include_bytes!("../models/avatars.safetensors"),
    },
    EmbeddedModel {
        name: "fashion",
        description: "28x28 grayscale clothing, ten classes",
        card: include_str!("../models/fashion.md"),
        bytes: include_bytes!("../models/fashion.safetensors"),
    },
];

/// Finds an embedded model by name.
pub fn embedded(name: &str) -> Option<&'static EmbeddedModel> {
    EMBEDDED.iter().find(|model| model.name == name)
}

impl EmbeddedModel {
    /// Loads the model.
    ///
    /// # Errors
    /// None in a program that was built whole: as [`Checkpoint::from_bytes`].
    pub fn checkpoint(&self) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::from_bytes(self.name, self.bytes, &LoadOptions::default())
    }

    /// Looks into the model's file.
    ///
    /// # Errors
    /// As [`EmbeddedModel::checkpoint`].
    pub fn inspect(&self) -> Result<Inspection, CheckpointError> {
        Checkpoint::inspect_bytes(self.name, self.bytes)
    }
}
