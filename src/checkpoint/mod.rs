//! Model files: one file per format, all yielding the same named tensors.
//!
//! [`Checkpoint::open`] recognises a format by its content: `.safetensors` (also sharded, by its
//! index), `.npz`, TensorFlow checkpoints (V1 and V2), PyTorch state dicts (zip and legacy),
//! flax' MessagePack and Keras' HDF5. [`TensorFile`] lists and reads the tensors of a file of any
//! model.
//! The tensors come out under the names of the original program, and are checked against the
//! hyperparameters before any is read.
//!
//! [`Checkpoint::save`] writes `.safetensors` and `.npz` with the hyperparameters as JSON: in
//! `.safetensors` under the metadata key `fastpix`, in `.npz` as the member `fastpix.json`.

mod archive;
mod bytes;
mod detect;
mod error;
mod hdf5;
mod hparams;
mod inspect;
mod mapping;
mod msgpack;
mod npz;
mod pytorch;
mod recipe;
mod safetensors;
mod save;
mod source;
mod tensor_file;
mod tensorflow;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::families::Hyperparameters;
use crate::network::{Dtype, Network};

pub use crate::families::{Tensor, Tensors};
pub use error::CheckpointError;
pub(crate) use error::shown;
pub use hparams::{beside as hparams_beside, read as read_hparams};
pub use inspect::{Inspection, TensorInfo};
pub(crate) use mapping::{FileView, Mapping};
pub(crate) use recipe::{BatchNorm, Recipe};
pub(crate) use source::Entry;
use source::Source;
pub use tensor_file::{StoredTensor, TensorFile};

/// What a model file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// One `.safetensors` file.
    Safetensors,
    /// Several `.safetensors` files with an index.
    SafetensorsSharded,
    /// A NumPy archive.
    Npz,
    /// A TensorFlow V1 checkpoint: a table of `SavedTensorSlices` in one file (or several).
    TensorFlowV1,
    /// A TensorFlow V2 checkpoint: an index and data shards.
    TensorFlowV2,
    /// A PyTorch file in the zip format (1.6 and later).
    PyTorchZip,
    /// A PyTorch file in the format before 1.6.
    PyTorchLegacy,
    /// A MessagePack file of flax.
    Flax,
    /// An HDF5 file, as Keras writes it.
    Hdf5,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::SafetensorsSharded => "sharded safetensors",
            Self::Npz => "NumPy npz",
            Self::TensorFlowV1 => "TensorFlow V1 checkpoint",
            Self::TensorFlowV2 => "TensorFlow V2 checkpoint",
            Self::PyTorchZip => "PyTorch (zip)",
            Self::PyTorchLegacy => "PyTorch (legacy)",
            Self::Flax => "flax MessagePack",
            Self::Hdf5 => "HDF5",
        })
    }
}

/// Whether a file holds exponential moving averages of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Averages {
    /// It does.
    Present {
        /// Whether they are what was loaded.
        used: bool,
    },
    /// It does not, or holds nothing else and does not say so.
    Absent,
}

/// Something in a file that is not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Its name in the file.
    pub name: String,
    /// Why it is not loaded.
    pub why: String,
}

/// How to load a model file.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Load the raw weights even where moving averages are present.
    pub raw_weights: bool,
    /// The hyperparameters, in place of those that the file states or that its tensors show.
    pub hyperparameters: Option<Hyperparameters>,
    /// Hyperparameters in the original's own form, for models whose files do not hold them:
    /// `hparams.json` of r9y9/wavenet_vocoder, for example. Without, a file of that name beside the
    /// model is read.
    pub hparams: Option<serde_json::Value>,
}

impl LoadOptions {
    /// The defaults: moving averages where there are any, hyperparameters from the file.
    pub const fn new() -> Self {
        Self {
            raw_weights: false,
            hyperparameters: None,
            hparams: None,
        }
    }

    /// Whether to load the raw weights even where moving averages are present.
    pub fn raw_weights(mut self, raw_weights: bool) -> Self {
        self.raw_weights = raw_weights;
        self
    }

    /// The hyperparameters, in place of those that the file states or that its tensors show.
    pub fn hyperparameters(mut self, hyperparameters: impl Into<Hyperparameters>) -> Self {
        self.hyperparameters = Some(hyperparameters.into());
        self
    }

    /// Hyperparameters in the original's own form.
    pub fn hparams(mut self, hparams: serde_json::Value) -> Self {
        self.hparams = Some(hparams);
        self
    }
}

/// A model's tensors, loaded and checked against its hyperparameters.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The file (or, for embedded models, the name) it came from.
    pub path: PathBuf,
    /// The file's format.
    pub format: Format,
    /// The tensors under their canonical names.
    pub tensors: Tensors,
    /// From the caller, the file's metadata, or inferred from the tensors, in this order.
    pub hyperparameters: Hyperparameters,
    /// Whether moving averages were present and used.
    pub averages: Averages,
    /// What else is in the file and why it was left out.
    pub ignored: Vec<Ignored>,
    /// What a user should know about where the weights come from, for example how a PyTorch port
    /// differs from the original.
    pub notes: Vec<String>,
}

impl Checkpoint {
    /// Loads a model from a file of any known format.
    ///
    /// A TensorFlow V2 checkpoint may be given by its prefix or by any of its files. Only the
    /// tensors that are used are read.
    ///
    /// # Errors
    /// When the file cannot be read, breaks its format's rules, fails a checksum, or does not
    /// hold exactly the tensors of a model. Whether the values are finite is checked by
    /// [`Checkpoint::into_network`].
    pub fn open(path: &Path, options: &LoadOptions) -> Result<Self, CheckpointError> {
        let options = hparams::with_beside(options, path)?;
        let (format, mut source) = detect::open(path)?;
        Self::load(path, format, source.as_mut(), &options)
    }

    /// Loads a model from the bytes of a single file; `name` stands for the path in errors.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; formats of several files are refused.
    pub fn from_bytes(
        name: &str,
        bytes: &[u8],
        options: &LoadOptions,
    ) -> Result<Self, CheckpointError> {
        let path = Path::new(name);
        let (format, mut source) = detect::from_bytes(path, bytes)?;
        Self::load(path, format, source.as_mut(), options)
    }

    fn load(
        path: &Path,
        format: Format,
        source: &mut dyn Source,
        options: &LoadOptions,
    ) -> Result<Self, CheckpointError> {
        let file = FileView::new(path, source, options);
        let mapping = Mapping::of(&file, source)?;
        let hyperparameters = mapping.hyperparameters(&file, options.hyperparameters.as_ref())?;
        mapping.check(&file, &hyperparameters)?;
        mapping.check_flags(path, source)?;
        let mut tensors = Tensors::new();
        for (name, recipe) in mapping.tensors() {
            tensors.insert(name.clone(), Mapping::read(recipe, path, source)?);
        }
        Ok(Self {
            path: path.to_owned(),
            format,
            tensors,
            hyperparameters,
            averages: mapping.averages,
            ignored: mapping.ignored,
            notes: mapping.notes,
        })
    }

    /// Folds the weights into a network, in place: they are in memory only once.
    ///
    /// # Errors
    /// Names the first tensor with a NaN or infinite value.
    pub fn into_network(self) -> Result<Network, CheckpointError> {
        self.hyperparameters
            .network(self.tensors)
            .map_err(|source| CheckpointError::Weights {
                path: self.path,
                source,
            })
    }

    /// Looks into a file of any known format, whether or not it holds a complete model.
    ///
    /// # Errors
    /// When the file cannot be read or breaks its format's rules. A file that is no model is
    /// no error: [`Inspection::problem`] says what is missing.
    pub fn inspect(path: &Path) -> Result<Inspection, CheckpointError> {
        Self::inspect_with(path, &LoadOptions::default())
    }

    /// As [`Checkpoint::inspect`], of what loading with these options gives.
    ///
    /// # Errors
    /// As [`Checkpoint::inspect`].
    pub fn inspect_with(path: &Path, options: &LoadOptions) -> Result<Inspection, CheckpointError> {
        let options = hparams::with_beside(options, path)?;
        let (format, source) = detect::open(path)?;
        inspect::inspect(path, format, source.as_ref(), &options)
    }

    /// As [`Checkpoint::inspect`], for the bytes of a single file.
    ///
    /// # Errors
    /// As [`Checkpoint::inspect`]; formats of several files are refused.
    pub fn inspect_bytes(name: &str, bytes: &[u8]) -> Result<Inspection, CheckpointError> {
        let path = Path::new(name);
        let (format, source) = detect::from_bytes(path, bytes)?;
        inspect::inspect(path, format, source.as_ref(), &LoadOptions::default())
    }

    /// Writes the tensors as f32 to a `.safetensors` or `.npz` file, with the hyperparameters as
    /// metadata. The file appears whole or not at all.
    ///
    /// # Errors
    /// When the path ends in neither extension, or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        self.save_as(path, Dtype::F32)
    }

    /// As [`Checkpoint::save`], with the matrices stored as `dtype`, rounded to nearest. Vectors (`g` and `b`),
    /// which take almost no room, stay f32.
    ///
    /// # Errors
    /// As [`Checkpoint::save`].
    pub fn save_as(&self, path: &Path, dtype: Dtype) -> Result<(), CheckpointError> {
        save::save(path, &self.tensors, &self.hyperparameters, dtype)
    }
}
