//! What the program says on its standard output.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use serde::Serialize;

/// The standard output cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct OutputError(#[from] io::Error);

/// Writes text to the standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(OutputError)?;
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

/// Whether the reader of our standard output has gone, which is no error; a file that is a pipe
/// without a reader is one.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<OutputError>()
        .is_some_and(|OutputError(error)| error.kind() == io::ErrorKind::BrokenPipe)
}
