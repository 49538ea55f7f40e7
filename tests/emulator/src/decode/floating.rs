//! Floating-point instructions.

use super::Builder;
use super::modifiers::Modifiers;
use crate::counters::Class;
use crate::exec::op::{F2, Op, lift1, lift2, lift3};
use crate::float::{
    self, BF16, F16, F32, NAN16, NAN32, Perturb, Rounding, accurate, add_odd, bf16_to_f32, div_odd,
    documented_error, f16_to_f32, flush, fma_odd, sqrt_odd, zero_sign,
};
use crate::ptx::{Instruction, Kind, PtxError, Type};

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

pub(super) fn input(x: u64, ty: Type, style: &Style) -> f64 {
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
                    return float::fused64(x, 1.0, y, rounding).to_bits();
                }
                finish(zero_sign(add_odd(x, y), x, y, rounding), ty, &s)
            })
        }
        "mul" => Box::new(move |a, b| {
            let (x, y) = (input(a, ty, &s), input(b, ty, &s));
            if ty.bits == 64 {
                // A zero of the product's sign changes neither the sum nor its sign.
                return float::fused64(x, y, 0f64.copysign(x * y), rounding).to_bits();
            }
            finish(x * y, ty, &s)
        }),
        "div" => Box::new(move |a, b| {
            let (x, y) = (input(a, ty, &s), input(b, ty, &s));
            if ty.bits == 64 {
                return float::quotient64(x, y, rounding).to_bits();
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

pub(super) fn half_of(ty: Type) -> Type {
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
        return Box::new(move |a, b, c| {
            let [a, b, c] = [a, b, c].map(f64::from_bits);
            float::fused64(a, b, c, rounding).to_bits()
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
                    let v = if root {
                        float::root64(x, rounding)
                    } else {
                        float::quotient64(1.0, x, rounding)
                    };
                    return v.to_bits();
                }
                finish(if root { sqrt_odd(x) } else { div_odd(1.0, x) }, ty, &s)
            })
        }
        _ => {
            accurate(name, 1.0)?;
            let perturb = Perturb(perturb);
            let which: &'static str = ["ex2", "lg2", "rcp", "sqrt", "rsqrt", "sin", "cos", "tanh"]
                .into_iter()
                .find(|n| *n == name)?;
            let format = match (ty.kind, ty.bits) {
                (Kind::BFloat, _) => BF16,
                (_, 16) => F16,
                _ => F32,
            };
            Box::new(move |a| {
                let x = input(a, ty, &s);
                let Some(v) = accurate(which, x) else {
                    return 0;
                };
                let (relative, absolute) = documented_error(which, x, format);
                finish(perturb.apply(v, a, relative, absolute), ty, &s)
            })
        }
    })
}

impl<'s, 'a> Builder<'s, 'a> {
    pub(super) fn float(
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
        let magnitude = m.take("abs");
        let special = matches!(
            i.opcode,
            "div" | "sqrt" | "rcp" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh"
        );
        let extremum = matches!(i.opcode, "min" | "max");
        if (approx || full) && !special
            || full && i.opcode != "div"
            || magnitude != style.xorsign
            || (style.nan || style.xorsign) && !extremum
            || style.relu && !matches!(i.opcode, "fma")
            || style.sat && !matches!(i.opcode, "add" | "sub" | "mul" | "fma" | "mad")
            || (style.sat || style.ftz) && ty.bits == 64 && !approx
            || style.rounding == Some(Rounding::Away)
            || style.rounding.is_some_and(|r| r != Rounding::Nearest) && ty.bits < 32
        {
            return Err(m.error("these modifiers do not go together"));
        }
        let d = |b: &mut Self| b.target(i, 0, ty.bits, false);
        let op = match i.opcode {
            "fma" | "mad" => {
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
                        perturb.apply(v, a ^ b << 32, 2f64.powi(-22), 0.0),
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
}

/// Rows of a two-operand float function; common cases without a call per lane.
fn float_rows(name: &str, ty: Type, style: &Style) -> Option<F2> {
    let s = *style;
    let simple = ty == Type::F32 && s.rounding.is_none_or(|r| r == Rounding::Nearest) && !s.relu;
    Some(match name {
        "add" if simple => lift2(move |a, b| fast(in32(a, s.ftz) + in32(b, s.ftz), &s)),
        "sub" if simple => lift2(move |a, b| fast(in32(a, s.ftz) - in32(b, s.ftz), &s)),
        "mul" if simple => lift2(move |a, b| fast(in32(a, s.ftz) * in32(b, s.ftz), &s)),
        _ => lift2(float2(name, ty, style)?),
    })
}
