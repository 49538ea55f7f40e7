//! Arithmetic, logic and comparisons: which decoder an instruction belongs to.

use super::Builder;
use super::comparison::Logic;
use super::memory::bits_type;
use super::modifiers::Modifiers;
use crate::counters::Class;
use crate::exec::op::{Op, PredicateUse, lift3};
use crate::ptx::{Instruction, Kind, PtxError, Type};

impl<'s, 'a> Builder<'s, 'a> {
    pub(super) fn arithmetic(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
        guard: Option<PredicateUse>,
        source: u32,
    ) -> Result<bool, PtxError> {
        let (op, class) = match i.opcode {
            "setp" | "set" => self.comparison(i, m)?,
            "testp" => self.property(i, m)?,
            "isspacep" => self.space_test(i, m)?,
            "selp" => {
                let ty = m.ty()?;
                let d = self.target(i, 0, ty.bits, false)?;
                let (a, b) = (self.value(i, 1, ty)?, self.value(i, 2, ty)?);
                (
                    Op::Select {
                        d,
                        a,
                        b,
                        p: self.predicate(i, 3)?,
                    },
                    Class::Move,
                )
            }
            "slct" => self.select_by_sign(i, m)?,
            "and" | "or" | "xor" | "not" if i.modifiers.contains(&"pred") => {
                m.take("pred");
                let d = self.predicate(i, 0)?.slot;
                let a = self.predicate(i, 1)?;
                let b = if i.opcode == "not" {
                    a
                } else {
                    self.predicate(i, 2)?
                };
                let f: Logic = match i.opcode {
                    "and" => |a, b| a & b,
                    "or" => |a, b| a | b,
                    "xor" => |a, b| a ^ b,
                    _ => |a, _| !a,
                };
                (Op::Logic { f, d, a, b }, Class::Integer)
            }
            "add" | "sub" | "addc" | "subc" | "mad" | "madc"
                if i.modifiers.contains(&"cc") || i.opcode.ends_with('c') =>
            {
                self.carry(i, m)?
            }
            "dp4a" | "dp2a" => self.dot_product(i, m)?,
            _ => {
                let Some(ty) = i.modifiers.iter().rev().find_map(|n| Type::from_name(n)) else {
                    return Ok(false);
                };
                let found = match ty.kind {
                    Kind::Pred => None,
                    Kind::PackedUnsigned | Kind::PackedSigned => self.packed_integer(i, m)?,
                    Kind::Bits | Kind::Unsigned | Kind::Signed => self.integer(i, m)?,
                    _ => self.float(i, m, ty)?,
                };
                match found {
                    Some(found) => found,
                    None => return Ok(false),
                }
            }
        };
        self.push(guard, op, class, source);
        Ok(true)
    }

    /// `slct`: the first value where the third is at least zero, else (NaN too) the second.
    fn select_by_sign(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
    ) -> Result<(Op, Class), PtxError> {
        let ftz = m.take("ftz");
        let (ty, sign) = (m.ty()?, m.ty()?);
        let float = sign == Type::F32;
        if !matches!(ty.bits, 16..=64) || !(float || sign.is_signed() && sign.bits == 32) {
            return Err(m.error("types are not supported"));
        }
        if ftz && !float {
            return Err(m.error(".ftz needs .f32"));
        }
        let d = self.target(i, 0, ty.bits, false)?;
        let (a, b) = (
            self.value(i, 1, bits_type(ty))?,
            self.value(i, 2, bits_type(ty))?,
        );
        let c = self.value(i, 3, sign)?;
        let f = lift3(move |a, b, c| {
            // A negative subnormal counts as zero where it is flushed.
            let holds = if float {
                let v = f32::from_bits(c as u32);
                v >= 0.0 || (ftz && v.is_subnormal())
            } else {
                c as i32 >= 0
            };
            if holds { a } else { b }
        });
        Ok((Op::Ternary { f, d, a, b, c }, Class::Move))
    }
}
