//! The modifiers of an instruction; each must be taken by someone.

use crate::float::Rounding;
use crate::ptx::{Instruction, PtxError, Type};

pub(super) struct Modifiers<'i, 'a> {
    instruction: &'i Instruction<'a>,
    taken: Vec<bool>,
}

impl<'i, 'a> Modifiers<'i, 'a> {
    pub(super) fn new(instruction: &'i Instruction<'a>) -> Self {
        Modifiers {
            instruction,
            taken: vec![false; instruction.modifiers.len()],
        }
    }

    pub(super) fn error(&self, message: impl AsRef<str>) -> PtxError {
        PtxError::at(
            self.instruction.position,
            format!("'{}': {}", self.instruction.full_name(), message.as_ref()),
        )
    }

    /// Takes a modifier if it is there.
    pub(super) fn take(&mut self, name: &str) -> bool {
        for (i, m) in self.instruction.modifiers.iter().enumerate() {
            if !self.taken[i] && *m == name {
                self.taken[i] = true;
                return true;
            }
        }
        false
    }

    /// Takes the first modifier that `f` accepts.
    pub(super) fn find<T>(&mut self, f: impl Fn(&str) -> Option<T>) -> Option<T> {
        for (i, m) in self.instruction.modifiers.iter().enumerate() {
            if !self.taken[i]
                && let Some(v) = f(m)
            {
                self.taken[i] = true;
                return Some(v);
            }
        }
        None
    }

    pub(super) fn ty(&mut self) -> Result<Type, PtxError> {
        match self.find(Type::from_name) {
            Some(t) => Ok(t),
            None => Err(self.error("expected a type")),
        }
    }

    pub(super) fn rounding(&mut self) -> Option<Rounding> {
        self.find(Rounding::from_name)
    }

    /// Refuses modifiers that nobody took.
    pub(super) fn finish(&self) -> Result<(), PtxError> {
        match self.taken.iter().position(|t| !t) {
            Some(i) => Err(self.error(format!(
                "modifier '.{}' is not supported",
                self.instruction.modifiers[i]
            ))),
            None => Ok(()),
        }
    }
}
