//! Comparisons, tests of a property, and logic on predicates.

use super::Builder;
use super::floating::{Style, decode_float, half_of, input};
use super::modifiers::Modifiers;
use crate::counters::Class;
use crate::exec::op::{Op, Row, Test1, Test2, test2};
use crate::memory::{GLOBAL_BASE, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW};
use crate::ptx::{Instruction, Kind, Operand, PtxError, Space, Type};

const COMPARISONS: [&str; 18] = [
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu",
    "geu", "num", "nan",
];

pub(super) type Logic = fn(u32, u32) -> u32;

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

impl<'s, 'a> Builder<'s, 'a> {
    pub(super) fn comparison(
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
                Some(Box::new(move |a: &Row, b: &Row| {
                    f(
                        &a.map(|x| x >> shift & 0xffff),
                        &b.map(|x| x >> shift & 0xffff),
                    )
                }))
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

    /// `testp`.
    pub(super) fn property(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
    ) -> Result<(Op, Class), PtxError> {
        let holds: fn(f64, f64) -> bool = m
            .find(|n| {
                Some(match n {
                    "finite" => (|v, _| v.is_finite()) as fn(f64, f64) -> bool,
                    "infinite" => |v: f64, _| v.is_infinite(),
                    "number" => |v: f64, _| !v.is_nan(),
                    "notanumber" => |v: f64, _| v.is_nan(),
                    "normal" => |v: f64, smallest| v.is_finite() && v.abs() >= smallest,
                    "subnormal" => |v: f64, smallest| v != 0.0 && v.abs() < smallest,
                    _ => return None,
                })
            })
            .ok_or_else(|| m.error("expected a property"))?;
        let ty = m.ty()?;
        let smallest = match ty {
            Type::F64 => f64::MIN_POSITIVE,
            Type::F32 => f64::from(f32::MIN_POSITIVE),
            _ => return Err(m.error("only .f32 and .f64 have properties")),
        };
        let p = self.predicate(i, 0)?.slot;
        let a = self.value(i, 1, ty)?;
        let f = test1(move |x| holds(decode_float(x, ty), smallest));
        Ok((Op::Test { f, p, a }, Class::Float))
    }

    /// `isspacep`: whether a generic address points into a space.
    pub(super) fn space_test(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
    ) -> Result<(Op, Class), PtxError> {
        let space = m
            .find(Space::from_name)
            .ok_or_else(|| m.error("expected a space"))?;
        let window = match space {
            Space::Shared => SHARED_WINDOW,
            Space::Local => LOCAL_WINDOW,
            Space::Param => PARAM_WINDOW,
            Space::Global => GLOBAL_BASE,
            _ => return Err(m.error("this space is not supported")),
        };
        let p = self.predicate(i, 0)?.slot;
        let a = self.value(i, 1, Type::B64)?;
        let f = test1(move |x| x.wrapping_sub(window) < WINDOW);
        Ok((Op::Test { f, p, a }, Class::Integer))
    }
}

/// Lifts a property of one lane to a row.
fn test1(f: impl Fn(u64) -> bool + Send + Sync + 'static) -> Test1 {
    Box::new(move |row| {
        (row.iter().enumerate()).fold(0, |bits, (lane, x)| bits | u32::from(f(*x)) << lane)
    })
}
