//! PyTorch files, of the zip and of the older format: the tensors of the state dict in them.

mod facts;
mod file;
mod pickle;

pub(crate) use file::{PyTorchFile, looks_legacy, looks_like};
