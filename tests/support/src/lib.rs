//! What the tests share, compiled once for all of them.
//!
//! [`engine`] is the one place where tests build engines and batches and call them.

pub mod allocator;
pub mod checkpoint_files;
pub mod child;
pub mod device;
pub mod devices;
pub mod engine;
pub mod mutations;
pub mod networks;
pub mod reference;
