//! Which instructions the inner loops use: chosen once, at run time, here.

#[cfg(target_arch = "x86_64")]
mod amx;

use std::fmt;

/// Environment variable that forces an instruction set, by [`Isa::name`].
pub const VARIABLE: &str = "FASTPIX_CPU_FEATURES";

/// An instruction set that the inner loops are instantiated for.
///
/// In f32 all give the same bits. In bf16, [`Isa::Avx512Bf16`] and [`Isa::Amx`] use instructions
/// that round sums in their own way and flush denormals; the others agree with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust, any processor.
    Portable,
    /// NEON (aarch64).
    Neon,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// [`Isa::Avx512`] and AVX512-BF16.
    Avx512Bf16,
    /// [`Isa::Avx512`] and AMX tiles for bf16.
    Amx,
}

/// An instruction set was asked for that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsaError {
    /// No such name.
    #[error("unknown CPU features {found:?}: expected one of {}", names(&Isa::ALL))]
    Unknown {
        /// The name given.
        found: String,
    },
    /// This processor, or its operating system, does not offer it.
    #[error("this machine has no {wanted}: it has {}", names(available))]
    Unavailable {
        /// The instruction set asked for.
        wanted: Isa,
        /// What could be asked for.
        available: Vec<Isa>,
    },
}

fn names(all: &[Isa]) -> String {
    let names: Vec<&str> = all.iter().map(|isa| isa.name()).collect();
    names.join(", ")
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Isa {
    /// Every instruction set, slowest first.
    pub const ALL: [Self; 6] = [
        Self::Portable,
        Self::Neon,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Bf16,
        Self::Amx,
    ];

    /// The name by which it is asked for: `portable`, `neon`, `avx2`, `avx512`, `avx512bf16`,
    /// `amx`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }

    /// The instruction set of this name.
    ///
    /// # Errors
    /// If there is no such name, or this machine does not have it.
    pub fn from_name(name: &str) -> Result<Self, IsaError> {
        let wanted = Self::ALL
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| IsaError::Unknown { found: name.into() })?;
        if wanted.is_available() {
            Ok(wanted)
        } else {
            Err(IsaError::Unavailable {
                wanted,
                available: Self::available(),
            })
        }
    }

    /// The instruction sets of this machine, slowest first; never empty.
    pub fn available() -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|isa| isa.is_available())
            .collect()
    }

    /// The best instruction set of this machine.
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }

    /// The one that [`VARIABLE`] names, else the best one.
    ///
    /// # Errors
    /// As for [`Isa::from_name`].
    pub fn detect() -> Result<Self, IsaError> {
        match std::env::var(VARIABLE) {
            Ok(name) if !name.is_empty() => Self::from_name(&name),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(Self::best()),
            Err(std::env::VarError::NotUnicode(name)) => Err(IsaError::Unknown {
                found: name.to_string_lossy().into_owned(),
            }),
        }
    }

    /// This one if the machine has it, else portable code.
    pub(super) fn or_portable(self) -> Self {
        if self.is_available() {
            self
        } else {
            Self::Portable
        }
    }

    /// Whether it has instructions for products of bf16.
    pub fn computes_in_bf16(self) -> bool {
        matches!(self, Self::Avx512Bf16 | Self::Amx)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => has_avx512(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => has_avx512() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => has_avx512() && amx::available(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            _ => false,
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruction_sets_are_found_by_name_if_the_machine_has_them() {
        for isa in Isa::ALL {
            match Isa::from_name(isa.name()) {
                Ok(found) => assert!(found == isa && isa.is_available()),
                Err(error) => {
                    assert!(!isa.is_available());
                    let text = error.to_string();
                    assert!(
                        text.starts_with(&format!("this machine has no {isa}: it has portable"))
                    );
                }
            }
        }
        assert!(Isa::available().contains(&Isa::best()));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        assert_eq!(
            Isa::from_name("avx9").unwrap_err().to_string(),
            "unknown CPU features \"avx9\": expected one of portable, neon, avx2, avx512, \
             avx512bf16, amx"
        );
    }
}
