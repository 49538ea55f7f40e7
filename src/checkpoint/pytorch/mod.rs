//! PyTorch state dicts of ports that keep the original's structure.

mod file;
pub(super) mod names;
mod pickle;
mod recipe;

pub(crate) use file::{PyTorchFile, looks_legacy, looks_like};
pub(crate) use recipe::Recipe;
