//! Integer instructions.

use super::Builder;
use super::memory::bits_type;
use super::modifiers::Modifiers;
use super::packed::PermuteMode;
use crate::counters::Class;
use crate::exec::op::{CarryKind, Op, lift1, lift2, lift3, lift4};
use crate::ptx::{Instruction, Kind, Operand, PtxError, Type};

impl<'s, 'a> Builder<'s, 'a> {
    pub(super) fn carry(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
    ) -> Result<(Op, Class), PtxError> {
        let gives = m.take("cc");
        let high = m.take("hi");
        m.take("lo");
        let ty = m.ty()?;
        let kind = match i.opcode {
            "add" | "addc" => CarryKind::Add,
            "sub" | "subc" => CarryKind::Sub,
            _ if high => CarryKind::MadHigh,
            _ => CarryKind::MadLow,
        };
        if !matches!(ty.bits, 32 | 64) {
            return Err(m.error("carry arithmetic is of 32 or 64 bits"));
        }
        let d = self.target(i, 0, ty.bits, false)?;
        let (a, b) = (self.value(i, 1, ty)?, self.value(i, 2, ty)?);
        let c = if i.operands.len() > 3 {
            self.value(i, 3, ty)?
        } else {
            a
        };
        let flag = self.carry_flag();
        let takes = i.opcode.ends_with('c');
        let op = Op::Carry {
            kind,
            bits: ty.bits,
            signed: ty.is_signed(),
            d,
            a,
            b,
            c,
            flag,
            takes,
            gives,
        };
        Ok((op, Class::Integer))
    }
    pub(super) fn integer(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
    ) -> Result<Option<(Op, Class)>, PtxError> {
        let wide = m.take("wide");
        let high = m.take("hi");
        m.take("lo");
        let sat = m.take("sat");
        let left = m.take("l");
        let right = m.take("r");
        let clamp = m.take("clamp");
        let wrap = m.take("wrap");
        let shiftamt = m.take("shiftamt");
        let ty = m.ty()?;
        let (bits, signed) = (ty.bits, ty.is_signed());
        if !(16..=64).contains(&bits) {
            return Ok(None);
        }
        let keep = u64::MAX >> (64 - bits);
        let w = move |v: u64| ((v << (64 - bits)) as i64) >> (64 - bits);
        let raw = bits_type(ty);
        let two = |b: &mut Self| -> Result<_, PtxError> {
            Ok((
                b.target(i, 0, bits, false)?,
                b.value(i, 1, raw)?,
                b.value(i, 2, raw)?,
            ))
        };
        let fits = match i.opcode {
            "mul" | "mad" | "mul24" | "mad24" => !(left || right || clamp || wrap || shiftamt),
            "shf" => !(wide || high || sat || shiftamt),
            "bmsk" | "szext" => !(wide || high || sat || left || right || shiftamt),
            "bfind" => !(wide || high || sat || left || right || clamp || wrap),
            _ => !(wide || high || left || right || clamp || wrap || shiftamt),
        };
        let saturates = match i.opcode {
            "add" | "sub" => signed && bits == 32,
            "mad" | "mad24" => signed && bits == 32 && high,
            _ => false,
        };
        if !fits || sat && !saturates || wide && (high || i.opcode.ends_with("24")) {
            return Err(m.error("these modifiers do not go together"));
        }
        let op = match i.opcode {
            "add" | "sub" if sat => {
                let negative = i.opcode == "sub";
                let (d, a, b) = two(self)?;
                let f = lift2(move |a, b| {
                    let (a, b) = (a as i32, b as i32);
                    u64::from(if negative {
                        a.saturating_sub(b)
                    } else {
                        a.saturating_add(b)
                    } as u32)
                });
                Op::Binary { f, d, a, b }
            }
            "add" | "sub" | "and" | "or" | "xor" | "min" | "max" | "div" | "rem" => {
                let (d, a, b) = two(self)?;
                let f = match (i.opcode, signed) {
                    ("add", _) => lift2(move |a, b| a.wrapping_add(b) & keep),
                    ("sub", _) => lift2(move |a, b| a.wrapping_sub(b) & keep),
                    ("and", _) => lift2(|a, b| a & b),
                    ("or", _) => lift2(|a, b| a | b),
                    ("xor", _) => lift2(|a, b| a ^ b),
                    ("min", false) => lift2(|a, b| a.min(b)),
                    ("max", false) => lift2(|a, b| a.max(b)),
                    ("min", true) => lift2(move |a, b| if w(b) < w(a) { b } else { a }),
                    ("max", true) => lift2(move |a, b| if w(b) > w(a) { b } else { a }),
                    // Division by zero gives all ones, the remainder its dividend.
                    ("div", false) => lift2(move |a, b| a.checked_div(b).unwrap_or(keep)),
                    ("rem", false) => lift2(|a, b| a.checked_rem(b).unwrap_or(a)),
                    ("div", true) => lift2(move |a, b| {
                        if b == 0 {
                            keep
                        } else {
                            w(a).wrapping_div(w(b)) as u64 & keep
                        }
                    }),
                    _ => lift2(move |a, b| {
                        if b == 0 {
                            a
                        } else {
                            w(a).wrapping_rem(w(b)) as u64 & keep
                        }
                    }),
                };
                Op::Binary { f, d, a, b }
            }
            "mul" | "mad" => {
                let out = if wide { bits * 2 } else { bits };
                if out > 64 {
                    return Err(m.error("a product of 128 bits is not supported"));
                }
                let keep = u64::MAX >> (64 - out);
                let d = self.target(i, 0, out, false)?;
                let (a, b) = (self.value(i, 1, raw)?, self.value(i, 2, raw)?);
                let product = move |a: u64, b: u64| -> u64 {
                    let shift = if high { bits } else { 0 };
                    if !high && (!wide || !signed) {
                        a.wrapping_mul(b) & keep
                    } else if signed {
                        ((i128::from(w(a)) * i128::from(w(b))) >> shift) as u64 & keep
                    } else {
                        ((u128::from(a) * u128::from(b)) >> shift) as u64 & keep
                    }
                };
                if i.opcode == "mul" {
                    Op::Binary {
                        f: lift2(product),
                        d,
                        a,
                        b,
                    }
                } else {
                    let c = self.value(
                        i,
                        3,
                        Type {
                            kind: Kind::Bits,
                            bits: out,
                        },
                    )?;
                    let f = lift3(move |a, b, c| {
                        if sat {
                            let v = i64::from(product(a, b) as i32) + i64::from(c as i32);
                            return v.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u32 as u64;
                        }
                        product(a, b).wrapping_add(c) & keep
                    });
                    Op::Ternary { f, d, a, b, c }
                }
            }
            "mul24" | "mad24" => {
                if bits != 32 || !ty.is_integer() {
                    return Err(m.error("only .u32 and .s32 are supported"));
                }
                let narrow = move |v: u64| {
                    let v = (v << 40) as i64;
                    if signed {
                        v >> 40
                    } else {
                        (v as u64 >> 40) as i64
                    }
                };
                // Of the 48 bits, the lower 32 or the upper 32.
                let product = move |a, b| {
                    let product = narrow(a) * narrow(b);
                    (if high { product >> 16 } else { product }) as u64 & keep
                };
                let (d, a, b) = two(self)?;
                if i.opcode == "mul24" {
                    let f = lift2(product);
                    Op::Binary { f, d, a, b }
                } else {
                    let c = self.value(i, 3, raw)?;
                    let f = lift3(move |a, b, c| {
                        if sat {
                            return u64::from(
                                (product(a, b) as i32).saturating_add(c as i32) as u32
                            );
                        }
                        product(a, b).wrapping_add(c) & keep
                    });
                    Op::Ternary { f, d, a, b, c }
                }
            }
            "sad" => {
                let (d, a, b) = two(self)?;
                let c = self.value(i, 3, raw)?;
                let f = lift3(move |a, b, c| {
                    let far = if signed {
                        w(a).abs_diff(w(b))
                    } else {
                        a.abs_diff(b)
                    };
                    far.wrapping_add(c) & keep
                });
                Op::Ternary { f, d, a, b, c }
            }
            "neg" | "abs" | "not" | "cnot" | "brev" => {
                let d = self.target(i, 0, bits, false)?;
                let a = self.value(i, 1, raw)?;
                let f = match i.opcode {
                    "neg" => lift1(move |a| a.wrapping_neg() & keep),
                    "abs" => lift1(move |a| w(a).wrapping_abs() as u64 & keep),
                    "not" => lift1(move |a| !a & keep),
                    "cnot" => lift1(|a| u64::from(a == 0)),
                    _ => lift1(move |a| a.reverse_bits() >> (64 - bits)),
                };
                Op::Unary { f, d, a }
            }
            "popc" | "clz" | "bfind" => {
                let d = self.target(i, 0, 32, false)?;
                let a = self.value(i, 1, raw)?;
                let f = match i.opcode {
                    "popc" => lift1(|a| u64::from(a.count_ones())),
                    "clz" => lift1(move |a| u64::from(a.leading_zeros() - (64 - bits))),
                    _ => lift1(move |a| {
                        let v = if signed && w(a) < 0 { !a & keep } else { a };
                        if v == 0 {
                            return 0xffff_ffff;
                        }
                        let at = 63 - u64::from(v.leading_zeros());
                        if shiftamt {
                            u64::from(bits) - 1 - at
                        } else {
                            at
                        }
                    }),
                };
                Op::Unary { f, d, a }
            }
            "shl" | "shr" => {
                let d = self.target(i, 0, bits, false)?;
                let a = self.value(i, 1, raw)?;
                let b = self.value(i, 2, Type::U32)?;
                let top = u64::from(bits);
                let f = match (i.opcode, signed) {
                    ("shl", _) => lift2(move |a, b| if b >= top { 0 } else { a << b & keep }),
                    (_, false) => lift2(move |a, b| if b >= top { 0 } else { a >> b }),
                    _ => lift2(move |a, b| (w(a) >> b.min(top - 1)) as u64 & keep),
                };
                Op::Binary { f, d, a, b }
            }
            "shf" => {
                if left == right || clamp == wrap {
                    return Err(m.error("expected .l or .r, and .clamp or .wrap"));
                }
                let (d, a, b) = two(self)?;
                let c = self.value(i, 3, Type::U32)?;
                let f = lift3(move |a, b, c| {
                    let n = if wrap { c & 31 } else { c.min(32) };
                    let both = b << 32 | a;
                    if left {
                        (u128::from(both) << n >> 32) as u64 & keep
                    } else {
                        both.checked_shr(n as u32).unwrap_or(0) & keep
                    }
                });
                Op::Ternary { f, d, a, b, c }
            }
            "bfe" => {
                let d = self.target(i, 0, bits, false)?;
                let a = self.value(i, 1, raw)?;
                let (b, c) = (self.value(i, 2, Type::U32)?, self.value(i, 3, Type::U32)?);
                let f = lift3(move |a, at, length| {
                    let (at, length) = (at & 0xff, length & 0xff);
                    let top = u64::from(bits) - 1;
                    let sign = signed && length > 0 && a >> (at + length - 1).min(top) & 1 != 0;
                    let length = length.min(64);
                    let mask = if length == 64 {
                        u64::MAX
                    } else {
                        (1 << length) - 1
                    };
                    let value = if at > top { 0 } else { a >> at };
                    // Bits beyond the register read as the sign.
                    let have = (top + 1).saturating_sub(at).min(64);
                    let fill = if have >= length.min(64) {
                        0
                    } else {
                        mask & !((1u64 << have) - 1)
                    };
                    let value = value & mask | if sign { fill } else { 0 };
                    (if sign { value | !mask } else { value }) & keep
                });
                Op::Ternary { f, d, a, b, c }
            }
            "bfi" => {
                let (d, a, b) = two(self)?;
                let (c, e) = (self.value(i, 3, Type::U32)?, self.value(i, 4, Type::U32)?);
                let f = lift4(move |a, b, at, length| {
                    let (at, length) = (at & 0xff, (length & 0xff).min(64));
                    if at >= u64::from(bits) || length == 0 {
                        return b;
                    }
                    let mask = if length == 64 {
                        u64::MAX
                    } else {
                        (1 << length) - 1
                    };
                    (b & !(mask << at) | (a & mask) << at) & keep
                });
                Op::Quaternary { f, d, a, b, c, e }
            }
            "lop3" => {
                let (d, a, b) = two(self)?;
                let c = self.value(i, 3, raw)?;
                let Operand::Int(table) = *self.operand(i, 4)? else {
                    return Err(m.error("expected a constant table"));
                };
                let f = lift3(move |a, b, c| {
                    let mut out = 0;
                    for k in 0..8u64 {
                        if table >> k & 1 != 0 {
                            let pick = |v: u64, bit: u64| if k >> bit & 1 != 0 { v } else { !v };
                            out |= pick(a, 2) & pick(b, 1) & pick(c, 0);
                        }
                    }
                    out & keep
                });
                Op::Ternary { f, d, a, b, c }
            }
            "prmt" => {
                let mode = m.find(PermuteMode::from_name).unwrap_or_default();
                let (d, a, b) = two(self)?;
                let c = self.value(i, 3, raw)?;
                let f = lift3(move |a, b, c| mode.permute(b << 32 | a, c));
                Op::Ternary { f, d, a, b, c }
            }
            "bmsk" => {
                if clamp == wrap {
                    return Err(m.error("expected .clamp or .wrap"));
                }
                let (d, a, b) = two(self)?;
                let f = lift2(move |at, length| {
                    let (at, length) = if wrap {
                        (at & 31, length & 31)
                    } else {
                        (at.min(32), length.min(32))
                    };
                    (((1u64 << length) - 1) << at) & keep
                });
                Op::Binary { f, d, a, b }
            }
            "szext" => {
                if clamp == wrap || bits != 32 {
                    return Err(m.error("expected .clamp or .wrap, and .u32 or .s32"));
                }
                let (d, a, b) = two(self)?;
                let f = lift2(move |a, n| {
                    let n = if wrap { n & 31 } else { n.min(32) };
                    if n == 0 {
                        return 0;
                    }
                    let v = a << (64 - n);
                    (if signed {
                        (v as i64 >> (64 - n)) as u64
                    } else {
                        v >> (64 - n)
                    }) & keep
                });
                Op::Binary { f, d, a, b }
            }
            _ => return Ok(None),
        };
        Ok(Some((op, Class::Integer)))
    }
}
