//! Integer, floating-point, logic and comparison instructions.

use super::Builder;
use super::memory::bits_type;
use super::modifiers::Modifiers;
use crate::counters::Class;
use crate::exec::op::{CarryKind, Op, PredicateUse, Test2, lift1, lift2, lift3, lift4, test2};
use crate::float::{
    self, BF16, F16, F32, NAN16, NAN32, Perturb, Rounding, accurate, add_odd, bf16_to_f32,
    direct64, div_odd, f16_to_f32, flush, fma_odd, sqrt_odd, two_sum, zero_sign,
};
use crate::ptx::{Instruction, Kind, Operand, PtxError, Type};

pub(super) type Lane2 = Box<dyn Fn(u64, u64) -> u64 + Send + Sync>;
type Lane1 = Box<dyn Fn(u64) -> u64 + Send + Sync>;
type Lane3 = Box<dyn Fn(u64, u64, u64) -> u64 + Send + Sync>;

/// How a floating-point operation rounds and clamps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Style {
    pub rounding: Option<Rounding>,
    pub ftz: bool,
    pub sat: bool,
    pub relu: bool,
    pub nan: bool,
    pub xorsign: bool,
}

/// The value of a float of type `ty` as f64; exact.
pub(super) fn decode_float(x: u64, ty: Type) -> f64 {
    match (ty.kind, ty.bits) {
        (Kind::BFloat, _) => f64::from(bf16_to_f32(x as u16)),
        (_, 16) => f64::from(f16_to_f32(x as u16)),
        (_, 64) => f64::from_bits(x),
        _ => f64::from(f32::from_bits(x as u32)),
    }
}

/// The float of type `ty` nearest to `v`, with the NaN that PTX prescribes.
pub(super) fn encode_float(v: f64, ty: Type) -> u64 {
    finish(v, ty, &Style::default())
}

/// Rounds an odd-rounded result to `ty` as the style says.
fn finish(v: f64, ty: Type, style: &Style) -> u64 {
    let mut v = v;
    if style.sat {
        v = if v.is_nan() {
            0.0
        } else {
            v.clamp(0.0, 1.0) + 0.0
        };
    }
    if style.relu && v < 0.0 {
        v = 0.0;
    }
    let rounding = style.rounding.unwrap_or(Rounding::Nearest);
    match (ty.kind, ty.bits) {
        (_, 64) => v.to_bits(),
        (Kind::BFloat, _) if v.is_nan() => u64::from(NAN16),
        (_, 16) if v.is_nan() => u64::from(NAN16),
        (_, 32) if v.is_nan() => u64::from(NAN32),
        (Kind::BFloat, _) => u64::from(float::round(v, BF16, rounding)),
        (_, 16) => u64::from(float::round(v, F16, rounding)),
        _ => {
            let r = f32::from_bits(float::round(v, F32, rounding));
            u64::from(if style.ftz { flush(r) } else { r }.to_bits())
        }
    }
}

fn input(x: u64, ty: Type, style: &Style) -> f64 {
    if style.ftz && ty.bits == 32 {
        return f64::from(flush(f32::from_bits(x as u32)));
    }
    let v = decode_float(x, ty);
    if style.ftz && ty.bits == 16 && ty.kind == Kind::Float && v.abs() < 2f64.powi(-14) {
        return 0f64.copysign(v);
    }
    v
}

/// f32 arithmetic in the default rounding, fast; NaN becomes canonical.
fn fast(v: f32, style: &Style) -> u64 {
    let mut v = v;
    if style.sat {
        v = if v.is_nan() {
            0.0
        } else {
            v.clamp(0.0, 1.0) + 0.0
        };
    }
    if v.is_nan() {
        return u64::from(NAN32);
    }
    u64::from(if style.ftz { flush(v) } else { v }.to_bits())
}

fn in32(x: u64, ftz: bool) -> f32 {
    let v = f32::from_bits(x as u32);
    if ftz { flush(v) } else { v }
}

/// A two-operand float function of one lane.
pub(super) fn float2(name: &str, ty: Type, style: &Style) -> Option<Lane2> {
    let s = *style;
    let rounding = s.rounding.unwrap_or(Rounding::Nearest);
    let simple = ty == Type::F32 && rounding == Rounding::Nearest && !s.relu;
    if matches!(ty.kind, Kind::PackedFloat | Kind::PackedBFloat) {
        let f = float2(name, half_of(ty), style)?;
        return Some(Box::new(move |a, b| {
            f(a & 0xffff, b & 0xffff) | f(a >> 16 & 0xffff, b >> 16 & 0xffff) << 16
        }));
    }
    Some(match name {
        "add" if simple => Box::new(move |a, b| fast(in32(a, s.ftz) + in32(b, s.ftz), &s)),
        "sub" if simple => Box::new(move |a, b| fast(in32(a, s.ftz) - in32(b, s.ftz), &s)),
        "mul" if simple => Box::new(move |a, b| fast(in32(a, s.ftz) * in32(b, s.ftz), &s)),
        "div" if simple => Box::new(move |a, b| fast(in32(a, s.ftz) / in32(b, s.ftz), &s)),
        "add" | "sub" => {
            let negate = name == "sub";
            Box::new(move |a, b| {
                let x = input(a, ty, &s);
                let y = input(b, ty, &s);
                let y = if negate { -y } else { y };
                if ty.bits == 64 {
                    let (v, e) = two_sum(x, y);
                    return zero_sign(direct64(v, e, rounding), x, y, rounding).to_bits();
                }
                finish(zero_sign(add_odd(x, y), x, y, rounding), ty, &s)
            })
        }
        "mul" => Box::new(move |a, b| {
            let (x, y) = (input(a, ty, &s), input(b, ty, &s));
            let v = x * y;
            if ty.bits == 64 {
                return direct64(v, x.mul_add(y, -v), rounding).to_bits();
            }
            finish(v, ty, &s)
        }),
        "div" => Box::new(move |a, b| {
            let (x, y) = (input(a, ty, &s), input(b, ty, &s));
            if ty.bits == 64 {
                let q = x / y;
                let r = (-q).mul_add(y, x);
                return direct64(q, if y < 0.0 { -r } else { r }, rounding).to_bits();
            }
            finish(div_odd(x, y), ty, &s)
        }),
        "min" | "max" => {
            let max = name == "max";
            Box::new(move |a, b| {
                let (x, y) = (input(a, ty, &s), input(b, ty, &s));
                let sign = s.xorsign && (x.is_sign_negative() != y.is_sign_negative());
                let (x, y) = if s.xorsign {
                    (x.abs(), y.abs())
                } else {
                    (x, y)
                };
                let v = if s.nan && (x.is_nan() || y.is_nan()) || x.is_nan() && y.is_nan() {
                    f64::NAN
                } else if y.is_nan()
                    || !x.is_nan() && (x.total_cmp(&y) == std::cmp::Ordering::Greater) == max
                {
                    x
                } else {
                    y
                };
                if ty.bits == 64 && !v.is_nan() {
                    return v.to_bits();
                }
                finish(if sign && !v.is_nan() { -v } else { v }, ty, &s)
            })
        }
        _ => return None,
    })
}

fn half_of(ty: Type) -> Type {
    if ty.kind == Kind::PackedFloat {
        Type::F16
    } else {
        Type::BF16
    }
}

fn float3(ty: Type, style: &Style) -> Lane3 {
    let s = *style;
    let rounding = s.rounding.unwrap_or(Rounding::Nearest);
    if matches!(ty.kind, Kind::PackedFloat | Kind::PackedBFloat) {
        let f = float3(half_of(ty), style);
        return Box::new(move |a, b, c| {
            f(a & 0xffff, b & 0xffff, c & 0xffff)
                | f(a >> 16 & 0xffff, b >> 16 & 0xffff, c >> 16 & 0xffff) << 16
        });
    }
    if ty == Type::F64 {
        return Box::new(|a, b, c| {
            f64::from_bits(a)
                .mul_add(f64::from_bits(b), f64::from_bits(c))
                .to_bits()
        });
    }
    Box::new(move |a, b, c| {
        let (x, y, z) = (input(a, ty, &s), input(b, ty, &s), input(c, ty, &s));
        finish(zero_sign(fma_odd(x, y, z), x * y, z, rounding), ty, &s)
    })
}

fn float1(name: &str, ty: Type, style: &Style, perturb: Option<u64>) -> Option<Lane1> {
    let s = *style;
    if matches!(ty.kind, Kind::PackedFloat | Kind::PackedBFloat) {
        let f = float1(name, half_of(ty), style, perturb)?;
        return Some(Box::new(move |a| f(a & 0xffff) | f(a >> 16 & 0xffff) << 16));
    }
    let top = 1u64 << (ty.bits - 1);
    Some(match name {
        "neg" if s.ftz => Box::new(move |a| finish(-input(a, ty, &s), ty, &s)),
        "abs" if s.ftz => Box::new(move |a| finish(input(a, ty, &s).abs(), ty, &s)),
        "neg" => Box::new(move |a| a ^ top),
        "abs" => Box::new(move |a| a & !top),
        "sqrt" | "rcp" if s.rounding.is_some() => {
            let root = name == "sqrt";
            let rounding = s.rounding.unwrap_or(Rounding::Nearest);
            Box::new(move |a| {
                let x = input(a, ty, &s);
                if ty.bits == 64 {
                    let v = if root { x.sqrt() } else { 1.0 / x };
                    let e = if root {
                        (-v).mul_add(v, x)
                    } else {
                        let r = (-v).mul_add(x, 1.0);
                        if x < 0.0 { -r } else { r }
                    };
                    return direct64(v, e, rounding).to_bits();
                }
                finish(if root { sqrt_odd(x) } else { div_odd(1.0, x) }, ty, &s)
            })
        }
        _ => {
            accurate(name, 1.0)?;
            let perturb = Perturb(perturb);
            let name = name.to_string();
            let which: &'static str = ["ex2", "lg2", "rcp", "sqrt", "rsqrt", "sin", "cos", "tanh"]
                .into_iter()
                .find(|n| *n == name)?;
            // Narrow formats have errors of their own width.
            let scale = if ty.bits == 16 { 2f64.powi(12) } else { 1.0 };
            Box::new(move |a| {
                let x = input(a, ty, &s);
                let Some((v, relative, absolute)) = accurate(which, x) else {
                    return 0;
                };
                finish(
                    perturb.apply(v, a, relative * scale, absolute * scale),
                    ty,
                    &s,
                )
            })
        }
    })
}

fn compare(name: &str, ty: Type, ftz: bool) -> Option<Test2> {
    if ty.is_float() {
        let s = Style {
            ftz,
            ..Style::default()
        };
        let (ordered, unordered): (fn(f64, f64) -> bool, bool) = match name {
            "eq" => (|a, b| a == b, false),
            "ne" => (|a, b| a != b, false),
            "lt" => (|a, b| a < b, false),
            "le" => (|a, b| a <= b, false),
            "gt" => (|a, b| a > b, false),
            "ge" => (|a, b| a >= b, false),
            "equ" => (|a, b| a == b, true),
            "neu" => (|a, b| a != b, true),
            "ltu" => (|a, b| a < b, true),
            "leu" => (|a, b| a <= b, true),
            "gtu" => (|a, b| a > b, true),
            "geu" => (|a, b| a >= b, true),
            "num" => (|_, _| true, false),
            "nan" => (|_, _| false, true),
            _ => return None,
        };
        return Some(test2(move |a, b| {
            let (x, y) = (input(a, ty, &s), input(b, ty, &s));
            if x.is_nan() || y.is_nan() {
                unordered
            } else {
                ordered(x, y)
            }
        }));
    }
    let shift = 64 - ty.bits;
    if ty.is_signed() {
        let w = move |v: u64| ((v << shift) as i64) >> shift;
        return Some(match name {
            "eq" => test2(|a, b| a == b),
            "ne" => test2(|a, b| a != b),
            "lt" => test2(move |a, b| w(a) < w(b)),
            "le" => test2(move |a, b| w(a) <= w(b)),
            "gt" => test2(move |a, b| w(a) > w(b)),
            "ge" => test2(move |a, b| w(a) >= w(b)),
            _ => return None,
        });
    }
    Some(match name {
        "eq" => test2(|a, b| a == b),
        "ne" => test2(|a, b| a != b),
        "lt" | "lo" => test2(|a, b| a < b),
        "le" | "ls" => test2(|a, b| a <= b),
        "gt" | "hi" => test2(|a, b| a > b),
        "ge" | "hs" => test2(|a, b| a >= b),
        _ => return None,
    })
}

const COMPARISONS: [&str; 18] = [
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu",
    "geu", "num", "nan",
];

type Logic = fn(u32, u32) -> u32;

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
            "testp" => {
                let name = m
                    .find(|n| {
                        [
                            "finite",
                            "infinite",
                            "number",
                            "notanumber",
                            "normal",
                            "subnormal",
                        ]
                        .contains(&n)
                        .then(|| n.to_string())
                    })
                    .ok_or_else(|| m.error("expected a property"))?;
                let ty = m.ty()?;
                let p = self.predicate(i, 0)?.slot;
                let a = self.value(i, 1, ty)?;
                let smallest = if ty.bits == 64 {
                    f64::MIN_POSITIVE
                } else {
                    f64::from(f32::MIN_POSITIVE)
                };
                let f = move |x: u64| {
                    let v = decode_float(x, ty);
                    match name.as_str() {
                        "finite" => v.is_finite(),
                        "infinite" => v.is_infinite(),
                        "number" => !v.is_nan(),
                        "notanumber" => v.is_nan(),
                        "normal" => v.is_finite() && v.abs() >= smallest,
                        _ => v != 0.0 && v.abs() < smallest,
                    }
                };
                let test = Box::new(move |row: &crate::exec::op::Row| {
                    row.iter()
                        .enumerate()
                        .fold(0, |bits, (l, x)| bits | u32::from(f(*x)) << l)
                });
                (Op::Test { f: test, p, a }, Class::Float)
            }
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
            _ => {
                let Some(ty) = i.modifiers.iter().rev().find_map(|n| Type::from_name(n)) else {
                    return Ok(false);
                };
                let floating = !ty.is_integer()
                    && ty.kind != Kind::Bits
                    && ty.kind != Kind::Pred
                    && !matches!(ty.kind, Kind::PackedUnsigned | Kind::PackedSigned);
                let found = if floating {
                    self.float(i, m, ty)?
                } else {
                    self.integer(i, m)?
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

    fn comparison(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
    ) -> Result<(Op, Class), PtxError> {
        let name = m
            .find(|n| COMPARISONS.contains(&n).then(|| n.to_string()))
            .ok_or_else(|| m.error("expected a comparison"))?;
        let logic: Option<Logic> = m.find(|n| match n {
            "and" => Some((|a, b| a & b) as Logic),
            "or" => Some(|a, b| a | b),
            "xor" => Some(|a, b| a ^ b),
            _ => None,
        });
        let ftz = m.take("ftz");
        let result = if i.opcode == "set" {
            Some(m.ty()?)
        } else {
            None
        };
        let ty = m.ty()?;
        let class = if ty.is_integer() || ty.kind == Kind::Bits {
            Class::Integer
        } else {
            Class::Float
        };
        let bad = || m.error(format!("comparison .{name} of {ty} is not supported"));
        let a = self.value(i, 1, ty)?;
        let b = self.value(i, 2, ty)?;
        let combine = match logic {
            Some(f) => Some((f, self.predicate(i, 3)?)),
            None => None,
        };
        if let Some(result) = result {
            let test = compare(&name, ty, ftz).ok_or_else(bad)?;
            let yes = if result.is_float() {
                u64::from(1f32.to_bits())
            } else {
                0xffff_ffff
            };
            let d = self.target(i, 0, 32, false)?;
            return Ok((
                Op::Set {
                    test,
                    combine,
                    d,
                    yes,
                    a,
                    b,
                },
                class,
            ));
        }
        let (p, q) = match self.operand(i, 0)?.clone() {
            Operand::Pair(pair) => {
                let mut slots = [None, None];
                for (slot, o) in slots.iter_mut().zip(pair.iter()) {
                    if *o != Operand::Sink {
                        *slot = Some(self.predicate_operand(i, o)?.slot);
                    }
                }
                (slots[0], slots[1])
            }
            other => (Some(self.predicate_operand(i, &other)?.slot), None),
        };
        if matches!(ty.kind, Kind::PackedFloat | Kind::PackedBFloat) {
            let half = half_of(ty);
            let one = |shift: u32| -> Option<Test2> {
                let f = compare(&name, half, ftz)?;
                Some(Box::new(
                    move |a: &crate::exec::op::Row, b: &crate::exec::op::Row| {
                        f(
                            &a.map(|x| x >> shift & 0xffff),
                            &b.map(|x| x >> shift & 0xffff),
                        )
                    },
                ))
            };
            let low = one(0).ok_or_else(bad)?;
            let high = one(16).ok_or_else(bad)?;
            return Ok((
                Op::ComparePair {
                    low,
                    high,
                    combine,
                    p,
                    q,
                    a,
                    b,
                },
                class,
            ));
        }
        let test = compare(&name, ty, ftz).ok_or_else(bad)?;
        Ok((
            Op::Compare {
                test,
                combine,
                p,
                q,
                a,
                b,
            },
            class,
        ))
    }

    fn carry(&mut self, i: &Instruction<'a>, m: &mut Modifiers) -> Result<(Op, Class), PtxError> {
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

    fn float(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
        ty: Type,
    ) -> Result<Option<(Op, Class)>, PtxError> {
        m.ty()?;
        let mut class = Class::Float;
        let approx = m.take("approx");
        let full = m.take("full");
        let style = Style {
            rounding: m.rounding(),
            ftz: m.take("ftz"),
            sat: m.take("sat"),
            relu: m.take("relu"),
            nan: m.take("NaN"),
            xorsign: m.take("xorsign"),
        };
        m.take("abs");
        m.take("noftz");
        let d = |b: &mut Self| b.target(i, 0, ty.bits, false);
        let op = match i.opcode {
            "fma" | "mad" => {
                if ty.bits == 64 && style.rounding.is_some_and(|r| r != Rounding::Nearest) {
                    return Err(m.error("only .rn is supported for .f64"));
                }
                let (a, b, c) = (
                    self.value(i, 1, ty)?,
                    self.value(i, 2, ty)?,
                    self.value(i, 3, ty)?,
                );
                let d = d(self)?;
                let nearest = style.rounding.is_none_or(|r| r == Rounding::Nearest);
                let f = if ty == Type::F32 && nearest && !style.relu {
                    lift3(move |a, b, c| {
                        let z = style.ftz;
                        fast(in32(a, z).mul_add(in32(b, z), in32(c, z)), &style)
                    })
                } else {
                    lift3(float3(ty, &style))
                };
                Op::Ternary { f, d, a, b, c }
            }
            "div" if approx || full => {
                class = Class::Special;
                let perturb = Perturb(self.context.perturb);
                let (a, b) = (self.value(i, 1, ty)?, self.value(i, 2, ty)?);
                let d = d(self)?;
                let f = lift2(move |a, b| {
                    let v = f64::from(in32(a, style.ftz)) / f64::from(in32(b, style.ftz));
                    finish(
                        perturb.apply(v, a ^ b << 32, 2f64.powi(-23), 0.0),
                        ty,
                        &style,
                    )
                });
                Op::Binary { f, d, a, b }
            }
            "copysign" => {
                let (a, b) = (self.value(i, 1, ty)?, self.value(i, 2, ty)?);
                let top = 1u64 << (ty.bits - 1);
                Op::Binary {
                    f: lift2(move |a, b| b & !top | a & top),
                    d: d(self)?,
                    a,
                    b,
                }
            }
            "add" | "sub" | "mul" | "div" | "min" | "max" => {
                let f = float_rows(i.opcode, ty, &style)
                    .ok_or_else(|| m.error("type is not supported"))?;
                let (a, b) = (self.value(i, 1, ty)?, self.value(i, 2, ty)?);
                Op::Binary {
                    f,
                    d: d(self)?,
                    a,
                    b,
                }
            }
            "neg" | "abs" | "sqrt" | "rcp" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" => {
                if !matches!(i.opcode, "neg" | "abs") {
                    class = Class::Special;
                }
                let f = float1(i.opcode, ty, &style, self.context.perturb)
                    .ok_or_else(|| m.error("type is not supported"))?;
                let a = self.value(i, 1, ty)?;
                Op::Unary {
                    f: lift1(f),
                    d: d(self)?,
                    a,
                }
            }
            _ => return Ok(None),
        };
        Ok(Some((op, class)))
    }

    fn integer(
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
                if matches!(ty.kind, Kind::PackedUnsigned | Kind::PackedSigned) {
                    return Ok(None);
                }
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
            "mul" | "mad" | "mul24" | "mad24" => {
                let out = if wide { bits * 2 } else { bits };
                if out > 64 || i.opcode.ends_with("24") {
                    return Ok(None);
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
                let mode = m.find(|n| {
                    ["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]
                        .contains(&n)
                        .then_some(())
                });
                if mode.is_some() {
                    return Err(m.error("only the default mode is supported"));
                }
                let (d, a, b) = two(self)?;
                let c = self.value(i, 3, raw)?;
                let f = lift3(|a, b, c| {
                    let both = b << 32 | a;
                    (0..4).fold(0, |out, k| {
                        let pick = c >> (4 * k) & 15;
                        let byte = both >> (8 * (pick & 7)) & 0xff;
                        let byte = if pick & 8 != 0 {
                            if byte & 0x80 != 0 { 0xff } else { 0 }
                        } else {
                            byte
                        };
                        out | byte << (8 * k)
                    })
                });
                Op::Ternary { f, d, a, b, c }
            }
            _ => return Ok(None),
        };
        Ok(Some((op, Class::Integer)))
    }
}

/// Rows of a two-operand float function; common cases without a call per lane.
fn float_rows(name: &str, ty: Type, style: &Style) -> Option<crate::exec::op::F2> {
    let s = *style;
    let simple = ty == Type::F32 && s.rounding.is_none_or(|r| r == Rounding::Nearest) && !s.relu;
    Some(match name {
        "add" if simple => lift2(move |a, b| fast(in32(a, s.ftz) + in32(b, s.ftz), &s)),
        "sub" if simple => lift2(move |a, b| fast(in32(a, s.ftz) - in32(b, s.ftz), &s)),
        "mul" if simple => lift2(move |a, b| fast(in32(a, s.ftz) * in32(b, s.ftz), &s)),
        _ => lift2(float2(name, ty, style)?),
    })
}
