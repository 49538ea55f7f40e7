//! A model file as a list of named tensors, whatever model they are of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::source::Source;
use super::{CheckpointError, Format, Tensor, detect};

/// A tensor in a file, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredTensor {
    /// Its name in the file; levels of nesting are joined with `/`.
    pub name: String,
    /// The name that the program gave it, where the file has that beside its own: the variable's
    /// name in an object-based TensorFlow checkpoint, `weight_norm_3/kernel`.
    pub full_name: Option<String>,
    /// Its element type: `f32`, `f16`, `bf16`, `f64`, `bool`, `int32`, ..., or what the file
    /// calls another.
    pub element_type: String,
    /// Row-major shape, in the file's axis order.
    pub shape: Vec<usize>,
}

/// An opened model file of any format and any model.
pub struct TensorFile<'a> {
    path: PathBuf,
    format: Format,
    source: Box<dyn Source + 'a>,
}

impl TensorFile<'static> {
    /// Opens a file of any known format, as [`Checkpoint::open`](super::Checkpoint::open) does,
    /// and reads its list of tensors.
    ///
    /// # Errors
    /// When the file cannot be read or breaks its format's rules.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let (format, source) = detect::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            format,
            source,
        })
    }
}

impl<'a> TensorFile<'a> {
    /// Opens a model that is a single file, given its bytes; `name` stands for the path in errors.
    ///
    /// # Errors
    /// As [`TensorFile::open`]; formats of several files are refused.
    pub fn from_bytes(name: &str, bytes: &'a [u8]) -> Result<Self, CheckpointError> {
        let path = Path::new(name);
        let (format, source) = detect::from_bytes(path, bytes)?;
        Ok(Self {
            path: path.to_owned(),
            format,
            source,
        })
    }

    /// The file's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Every tensor, in the file's order.
    pub fn tensors(&self) -> Vec<StoredTensor> {
        self.source
            .entries()
            .iter()
            .map(|entry| StoredTensor {
                name: entry.name.clone(),
                full_name: entry.full_name.clone(),
                element_type: entry.element.to_string(),
                shape: entry.shape.clone(),
            })
            .collect()
    }

    /// Plain values beside the tensors, by their path in the file joined with `/`:
    /// `hyper_parameters/c_in` in a file of PyTorch Lightning, `global_step`. At most
    /// 1024 of them, with texts of up to 256 bytes.
    pub fn facts(&self) -> &BTreeMap<String, String> {
        self.source.facts()
    }

    /// Reads the tensor at this place of [`TensorFile::tensors`] as f32; flags are 0 and 1, and
    /// integers are rounded to nearest.
    ///
    /// # Errors
    /// When there is no such tensor, its elements are no numbers, or a checksum fails.
    pub fn read(&mut self, index: usize) -> Result<Tensor, CheckpointError> {
        let entries = self.source.entries();
        let Some(entry) = entries.get(index) else {
            return Err(CheckpointError::malformed(
                &self.path,
                "list of tensors",
                format!("an index below {}", entries.len()),
                format!("{index}"),
            ));
        };
        let shape = entry.shape.clone();
        let values = self.source.read_numbers(index)?;
        Ok(Tensor { shape, values })
    }
}
