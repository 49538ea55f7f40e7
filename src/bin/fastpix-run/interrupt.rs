//! Ctrl-C: the first one asks for a clean end, the second one ends at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use fastpix::EngineError;

static CANCEL: AtomicBool = AtomicBool::new(false);

/// The exit code of a program that an interrupt ended.
const INTERRUPTED: i32 = 130;

/// Listens for interrupts; the flag is set by the first one.
pub fn listen() -> Result<&'static AtomicBool> {
    ctrlc::set_handler(|| {
        if CANCEL.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(&CANCEL)
}

/// Whether a run ended with this error because it was stopped.
pub fn is_cancelled(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<EngineError>();
    error.is_some_and(EngineError::is_cancelled)
}
