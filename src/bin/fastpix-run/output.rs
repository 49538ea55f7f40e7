//! What the program says on its standard output.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use serde::Serialize;

/// Writes text to the standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes one JSON object on one line.
pub fn print_json(object: &impl Serialize) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string(object)?))
}

/// Tells someone who is watching; says nothing when piped.
pub fn tell(line: &str) {
    if io::stderr().is_terminal() {
        eprintln!("{line}");
    }
}

/// Whether the reader of our output has gone, which is no fault of ours.
pub fn is_closed_pipe(fault: &anyhow::Error) -> bool {
    fault
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
