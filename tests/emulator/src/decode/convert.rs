//! `cvt`, `cvta` and moves.

use super::Builder;
use super::floating::{decode_float, encode_float};
use super::memory::bits_type;
use super::modifiers::Modifiers;
use crate::counters::Class;
use crate::exec::op::{F1, Op, PredicateUse, lift1, lift2, lift3};
use crate::float::{BF16, F16, NAN32, Rounding, TF32, flush, round};
use crate::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use crate::ptx::{Instruction, Kind, Operand, PtxError, Space, Type};

impl<'s, 'a> Builder<'s, 'a> {
    pub(super) fn convert(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
        guard: Option<PredicateUse>,
        source: u32,
    ) -> Result<bool, PtxError> {
        match i.opcode {
            "mov" => self.mov(i, m, guard, source)?,
            "cvta" => {
                let to = m.take("to");
                let space = m
                    .find(Space::from_name)
                    .ok_or_else(|| m.error("expected a space"))?;
                let ty = m.ty()?;
                let window = match space {
                    Space::Shared => SHARED_WINDOW,
                    Space::Local => LOCAL_WINDOW,
                    Space::Param => PARAM_WINDOW,
                    _ => 0,
                };
                let a = self.value(i, 1, ty)?;
                let d = self.target(i, 0, ty.bits, false)?;
                let f: F1 = if to {
                    lift1(move |x| x.wrapping_sub(window))
                } else {
                    lift1(move |x| x.wrapping_add(window))
                };
                self.push(guard, Op::Unary { f, d, a }, Class::Integer, source);
            }
            "cvt" => {
                let (op, class) = self.cvt(i, m)?;
                self.push(guard, op, class, source);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn mov(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
        guard: Option<PredicateUse>,
        source: u32,
    ) -> Result<(), PtxError> {
        let ty = m.ty()?;
        let op = match (self.operand(i, 0)?.clone(), self.operand(i, 1)?.clone()) {
            _ if ty.kind == Kind::Pred => {
                let a = self.predicate(i, 1)?;
                let d = self.predicate(i, 0)?.slot;
                Op::Logic {
                    f: |a, _| a,
                    d,
                    a,
                    b: a,
                }
            }
            (Operand::Vector(parts), _) => {
                let a = self.value(i, 1, bits_type(ty))?;
                let bits = ty.bits / (parts.len().max(1) as u32);
                let mut out = Vec::new();
                for p in &parts {
                    out.push(match p {
                        Operand::Sink => None,
                        other => Some(self.target_operand(i, other, bits, false)?.0),
                    });
                }
                if bits == 0 || out.len() as u32 * bits != ty.bits {
                    return Err(m.error("the parts do not fill the register"));
                }
                Op::Unpack {
                    parts: out,
                    bits,
                    a,
                }
            }
            (_, Operand::Vector(parts)) => {
                let bits = ty.bits / (parts.len().max(1) as u32);
                if bits < 8 || parts.len() as u32 * bits != ty.bits {
                    return Err(m.error("the parts do not fill the register"));
                }
                let mut rows = Vec::new();
                for p in &parts {
                    rows.push(self.value_operand(
                        i,
                        p,
                        Type {
                            kind: Kind::Bits,
                            bits,
                        },
                        false,
                    )?);
                }
                let d = self.target(i, 0, ty.bits, false)?;
                Op::Pack {
                    d,
                    parts: rows,
                    bits,
                }
            }
            (_, Operand::Name("%clock" | "%clock64" | "%globaltimer" | "%clock_hi")) => {
                let d = self.target(i, 0, ty.bits, false)?;
                Op::Read {
                    what: crate::exec::op::Dynamic::Clock,
                    d,
                }
            }
            // The address of the grid workspace of cooperative groups, in two halves.
            (_, Operand::Name("%envreg1" | "%envreg2")) => {
                let d = self.target(i, 0, ty.bits, false)?;
                let high = matches!(self.operand(i, 1)?, Operand::Name("%envreg1"));
                let address = self
                    .context
                    .variables
                    .get(super::WORKSPACE)
                    .map_or(0, |p| p.address);
                let a = self.constant(if high {
                    address >> 32
                } else {
                    address & 0xffff_ffff
                });
                Op::Copy { d, a }
            }
            _ => {
                let d = self.target(i, 0, ty.bits, false)?;
                let a = self.value(i, 1, ty)?;
                Op::Copy { d, a }
            }
        };
        self.push(guard, op, Class::Move, source);
        Ok(())
    }

    /// `cvt.pack`: two integers, saturated, beside each other below the third.
    fn cvt_pack(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
    ) -> Result<(Op, Class), PtxError> {
        let sat = m.take("sat");
        let (to, from) = (m.ty()?, m.ty()?);
        let third = to.bits == 8;
        if !sat || !to.is_integer() || !matches!(to.bits, 8 | 16) || from != Type::S32 {
            return Err(m.error("only .sat of .s32 to integers of 8 and 16 bits is supported"));
        }
        let d = self.target(i, 0, 32, false)?;
        let (a, b) = (self.value(i, 1, from)?, self.value(i, 2, from)?);
        let c = if third {
            m.take("b32");
            self.value(i, 3, Type::B32)?
        } else {
            self.constant(0)
        };
        let narrow = integer_to_integer(from, to, true);
        let mask = u64::MAX >> (64 - to.bits);
        let f = lift3(move |a, b, c| {
            let pair = (narrow(a) & mask) << to.bits | narrow(b) & mask;
            (c << (2 * to.bits) | pair) & 0xffff_ffff
        });
        Ok((Op::Ternary { f, d, a, b, c }, Class::Convert))
    }

    fn cvt(&mut self, i: &Instruction<'a>, m: &mut Modifiers) -> Result<(Op, Class), PtxError> {
        if m.take("pack") {
            return self.cvt_pack(i, m);
        }
        let rounding = m.rounding();
        let integral = i
            .modifiers
            .iter()
            .any(|n| matches!(*n, "rni" | "rzi" | "rmi" | "rpi"));
        let ftz = m.take("ftz");
        let sat = m.take("sat");
        let satfinite = m.take("satfinite");
        let relu = m.take("relu");
        let to = m.ty()?;
        let from = m.ty()?;
        if matches!(to.kind, Kind::PackedFloat | Kind::PackedBFloat) {
            if from != Type::F32 || i.operands.len() != 3 {
                return Err(m.error("only packing two .f32 is supported"));
            }
            let half = if to.kind == Kind::PackedFloat {
                Type::F16
            } else {
                Type::BF16
            };
            let one = float_to_float(
                Type::F32,
                half,
                rounding.unwrap_or(Rounding::Zero),
                false,
                ftz,
                sat,
                relu,
                satfinite,
            );
            let d = self.target(i, 0, 32, false)?;
            let a = self.value(i, 1, from)?;
            let b = self.value(i, 2, from)?;
            // The first operand becomes the high half.
            let f = lift2(move |a, b| one(a) << 16 | one(b));
            return Ok((Op::Binary { f, d, a, b }, Class::Convert));
        }
        let (d, width) = {
            let operand = self.operand(i, 0)?.clone();
            self.target_operand(i, &operand, to.bits, true)?
        };
        let operand = self.operand(i, 1)?.clone();
        let a = self.value_operand(i, &operand, from, true)?;
        let keep = if width == 64 {
            u64::MAX
        } else {
            (1 << width) - 1
        };
        let f: F1 = match (from.is_float(), to.is_float()) {
            (false, false) => {
                let f = integer_to_integer(from, to, sat);
                lift1(move |x| f(x) & keep)
            }
            (false, true) => {
                let rounding = rounding.unwrap_or(Rounding::Nearest);
                lift1(move |x| integer_to_float(widen(x, from), to, rounding))
            }
            (true, false) => {
                let rounding =
                    rounding.ok_or_else(|| m.error("expected a rounding such as .rzi"))?;
                lift1(move |x| float_to_integer(from, to, rounding, ftz, x) as u64 & keep)
            }
            (true, true) => {
                let rounding = rounding.unwrap_or(Rounding::Nearest);
                if integral || from == to {
                    lift1(move |x| {
                        let v = input(from, x, ftz);
                        let v = if integral {
                            integral_value(v, rounding)
                        } else {
                            v
                        };
                        let v = if sat { saturate(v) } else { v };
                        if relu && v.is_nan() {
                            encode_float(f64::NAN, to)
                        } else {
                            encode_float(if relu { v.max(0.0) } else { v }, to)
                        }
                    })
                } else {
                    lift1(float_to_float(
                        from, to, rounding, integral, ftz, sat, relu, satfinite,
                    ))
                }
            }
        };
        Ok((Op::Unary { f, d, a }, Class::Convert))
    }
}

/// An integer operand of type `ty`, which reads only the lowest bits of its register.
fn widen(x: u64, ty: Type) -> i128 {
    let shift = 64 - ty.bits;
    if ty.is_signed() {
        i128::from(((x << shift) as i64) >> shift)
    } else {
        i128::from((x << shift) >> shift)
    }
}

fn range(ty: Type) -> (i128, i128) {
    if ty.is_signed() {
        (-(1i128 << (ty.bits - 1)), (1i128 << (ty.bits - 1)) - 1)
    } else {
        (0, (1i128 << ty.bits) - 1)
    }
}

fn integer_to_integer(from: Type, to: Type, sat: bool) -> impl Fn(u64) -> u64 + Send + Sync {
    let (low, high) = range(to);
    move |x| {
        let v = widen(x, from);
        let v = if sat { v.clamp(low, high) } else { v };
        // Truncated to the target, then extended to its register as the target's type says.
        widen(v as u64, to) as u64
    }
}

fn integer_to_float(v: i128, to: Type, rounding: Rounding) -> u64 {
    // The f64 nearest to the integer, odd-rounded so that the second rounding is right.
    let nearest = v as f64;
    let error = v - nearest as i128;
    if to == Type::F64 {
        return crate::float::direct64(nearest, error as f64, rounding).to_bits();
    }
    let odd = crate::float::to_odd(nearest, error as f64);
    u64::from(round(odd, format_of(to), rounding))
}

fn format_of(ty: Type) -> crate::float::Format {
    match (ty.kind, ty.bits) {
        (Kind::BFloat, _) => BF16,
        (Kind::Tf32, _) => TF32,
        (_, 16) => F16,
        _ => crate::float::F32,
    }
}

/// A float operand as f64, flushed if asked.
fn input(ty: Type, x: u64, ftz: bool) -> f64 {
    if ftz && ty == Type::F32 {
        f64::from(flush(f32::from_bits(x as u32)))
    } else {
        decode_float(x, ty)
    }
}

fn saturate(v: f64) -> f64 {
    if v.is_nan() {
        0.0
    } else {
        v.clamp(0.0, 1.0) + 0.0
    }
}

fn integral_value(v: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => v.round_ties_even(),
        Rounding::Away => v.round(),
        Rounding::Zero => v.trunc(),
        Rounding::Down => v.floor(),
        Rounding::Up => v.ceil(),
    }
}

/// Out of range saturates; NaN is zero up to 32 bits and the top bit for 64 bits.
fn float_to_integer(from: Type, to: Type, rounding: Rounding, ftz: bool, x: u64) -> i128 {
    let v = input(from, x, ftz);
    if v.is_nan() {
        return if to.bits == 64 { 1 << 63 } else { 0 };
    }
    let (low, high) = range(to);
    (integral_value(v, rounding) as i128).clamp(low, high)
}

#[allow(clippy::too_many_arguments)]
fn float_to_float(
    from: Type,
    to: Type,
    rounding: Rounding,
    _integral: bool,
    ftz: bool,
    sat: bool,
    relu: bool,
    satfinite: bool,
) -> impl Fn(u64) -> u64 + Send + Sync + 'static {
    let format = format_of(to);
    let largest = (((1u64 << format.exponent) - 1) << format.fraction) - 1;
    move |x| {
        let mut v = input(from, x, ftz);
        if sat {
            v = saturate(v);
        }
        if relu && !v.is_nan() {
            v = v.max(0.0) + 0.0;
        }
        if v.is_nan() {
            return encode_float(v, to);
        }
        if to == Type::F64 {
            return v.to_bits();
        }
        let mut bits = u64::from(round(v, format, rounding));
        if to.kind == Kind::Tf32 {
            // tf32 keeps f32's layout with the lowest bits clear.
            bits <<= 13;
            if v.is_nan() {
                bits = u64::from(NAN32);
            }
        } else if satfinite && bits & (largest + 1) == largest + 1 {
            bits -= 1;
        }
        if ftz && to == Type::F32 {
            bits = u64::from(flush(f32::from_bits(bits as u32)).to_bits());
        }
        bits
    }
}
