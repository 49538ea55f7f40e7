//! Which instructions the inner loops use: chosen once, at run time, here.

/// An instruction set that the inner loops are instantiated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust, any processor.
    Portable,
}

impl Isa {
    /// The best instruction set of this processor.
    pub fn detect() -> Self {
        Self::Portable
    }
}
