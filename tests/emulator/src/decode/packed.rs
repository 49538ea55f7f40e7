//! Bytes and halves of a word: packed integers, dot products, permutations of bytes.

use super::Builder;
use super::modifiers::Modifiers;
use crate::counters::Class;
use crate::exec::op::{Op, lift2, lift3};
use crate::ptx::{Instruction, Kind, PtxError, Type};

impl<'s, 'a> Builder<'s, 'a> {
    /// `add`, `min` and `max` of two 16-bit integers side by side.
    pub(super) fn packed_integer(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
    ) -> Result<Option<(Op, Class)>, PtxError> {
        let (sat, relu) = (m.take("sat"), m.take("relu"));
        let ty = m.ty()?;
        let signed = ty.kind == Kind::PackedSigned;
        if sat && i.opcode != "add" || relu && (!signed || i.opcode == "add") {
            return Err(m.error("these modifiers do not go together"));
        }
        let half: fn(u16, u16) -> u16 = match (i.opcode, signed, sat) {
            ("add", _, false) => u16::wrapping_add,
            ("add", false, true) => u16::saturating_add,
            ("add", true, true) => |a, b| (a as i16).saturating_add(b as i16) as u16,
            ("min", false, _) => u16::min,
            ("max", false, _) => u16::max,
            ("min", true, _) => |a, b| (a as i16).min(b as i16) as u16,
            ("max", true, _) => |a, b| (a as i16).max(b as i16) as u16,
            _ => return Ok(None),
        };
        let d = self.target(i, 0, 32, false)?;
        let (a, b) = (self.value(i, 1, Type::B32)?, self.value(i, 2, Type::B32)?);
        let f = lift2(move |a, b| {
            let one = |shift: u32| {
                let v = half((a >> shift) as u16, (b >> shift) as u16);
                u64::from(if relu { (v as i16).max(0) as u16 } else { v }) << shift
            };
            one(0) | one(16)
        });
        Ok(Some((Op::Binary { f, d, a, b }, Class::Integer)))
    }

    /// `dp4a` and `dp2a`: products of bytes with bytes or with halves, added to a word.
    pub(super) fn dot_product(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
    ) -> Result<(Op, Class), PtxError> {
        let four = i.opcode == "dp4a";
        let (low, high) = (m.take("lo"), m.take("hi"));
        if if four { low || high } else { low == high } {
            return Err(m.error("dp2a needs .lo or .hi, dp4a neither"));
        }
        let (first, second) = (m.ty()?, m.ty()?);
        if [first, second]
            .iter()
            .any(|t| !t.is_integer() || t.bits != 32)
        {
            return Err(m.error("only .u32 and .s32 are supported"));
        }
        let d = self.target(i, 0, 32, false)?;
        let (a, b) = (self.value(i, 1, Type::B32)?, self.value(i, 2, Type::B32)?);
        let c = self.value(i, 3, Type::B32)?;
        let part = |v: u64, at: u32, bits: u32, signed: bool| -> i64 {
            let v = (v >> at << (64 - bits)) as i64;
            if signed {
                v >> (64 - bits)
            } else {
                (v as u64 >> (64 - bits)) as i64
            }
        };
        let (signed_a, signed_b) = (first.is_signed(), second.is_signed());
        let (count, bits, from) = if four {
            (4, 8, 0)
        } else {
            (2, 16, 16 * u32::from(high))
        };
        let f = lift3(move |a, b, c| {
            let sum: i64 = (0..count)
                .map(|k| part(a, bits * k, bits, signed_a) * part(b, from + 8 * k, 8, signed_b))
                .sum();
            u64::from((c as u32).wrapping_add(sum as u32))
        });
        Ok((Op::Ternary { f, d, a, b, c }, Class::Integer))
    }
}

/// How `prmt` chooses the bytes of its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum PermuteMode {
    /// A nibble of the selector for each byte.
    #[default]
    Index,
    Forward,
    Backward,
    Replicate8,
    ClampLeft,
    ClampRight,
    Replicate16,
}

impl PermuteMode {
    pub(super) fn from_name(name: &str) -> Option<PermuteMode> {
        Some(match name {
            "f4e" => PermuteMode::Forward,
            "b4e" => PermuteMode::Backward,
            "rc8" => PermuteMode::Replicate8,
            "ecl" => PermuteMode::ClampLeft,
            "ecr" => PermuteMode::ClampRight,
            "rc16" => PermuteMode::Replicate16,
            _ => return None,
        })
    }

    /// Four of the eight bytes of `both`.
    pub(super) fn permute(self, both: u64, selector: u64) -> u64 {
        let from = selector & 3;
        (0..4).fold(0, |out, k| {
            let pick = match self {
                PermuteMode::Index => selector >> (4 * k) & 15,
                PermuteMode::Forward => from + k,
                PermuteMode::Backward => from.wrapping_sub(k) & 7,
                PermuteMode::Replicate8 => from,
                PermuteMode::ClampLeft => k.max(from),
                PermuteMode::ClampRight => k.min(from),
                PermuteMode::Replicate16 => (k & 1) + 2 * (from & 1),
            };
            let byte = both >> (8 * (pick & 7)) & 0xff;
            // The top bit of a nibble asks for the byte's sign instead.
            let byte = match pick & 8 {
                0 => byte,
                _ if byte & 0x80 != 0 => 0xff,
                _ => 0,
            };
            out | byte << (8 * k)
        })
    }
}
