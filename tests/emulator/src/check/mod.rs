//! What the checks report and the clocks that order accesses.

pub(crate) mod clock;
mod fault;
pub(crate) mod warps;

pub(crate) use fault::Trouble;
pub use fault::{Fault, FaultKind};
