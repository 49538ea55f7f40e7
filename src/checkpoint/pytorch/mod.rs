//! PyTorch state dicts of ports that keep the original's structure.

pub(super) mod names;
mod recipe;

pub(crate) use recipe::Recipe;
