//! What the checks report and the clocks that order accesses.

pub(crate) mod clock;
mod fault;

pub use fault::{Fault, FaultKind};
pub(crate) use fault::Trouble;
