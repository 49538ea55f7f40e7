//! Branches, calls, barriers and exchanges within a warp.

use super::Builder;
use super::modifiers::Modifiers;
use super::scope::Symbol;
use crate::counters::Class;
use crate::exec::op::{BarrierKind, Op, PredicateUse, Shuffle, Vote};
use crate::ptx::{Instruction, Operand, PtxError, Space, Type};

impl<'s, 'a> Builder<'s, 'a> {
    fn label(&mut self, i: &Instruction<'a>, name: &str) -> Result<u32, PtxError> {
        match self.scopes.find(name) {
            Some(Symbol::Label(id)) => Ok(*id),
            _ => Err(PtxError::at(
                i.position,
                format!("label '{name}' is not defined"),
            )),
        }
    }

    pub(super) fn control(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
        guard: Option<PredicateUse>,
        source: u32,
    ) -> Result<bool, PtxError> {
        let (op, class) = match i.opcode {
            "bra" => {
                m.take("uni");
                let Operand::Name(name) = self.operand(i, 0)?.clone() else {
                    return Err(m.error("expected a label"));
                };
                (
                    Op::Branch {
                        target: self.label(i, name)?,
                    },
                    Class::Control,
                )
            }
            "brx" => {
                m.take("idx");
                m.take("uni");
                let index = self.value(i, 0, Type::U32)?;
                let Operand::Name(list) = self.operand(i, 1)?.clone() else {
                    return Err(m.error("expected the name of a .branchtargets"));
                };
                let Some(Symbol::Targets(names)) = self.scopes.find(list).cloned() else {
                    return Err(m.error(format!("'{list}' is not a .branchtargets")));
                };
                let mut targets = Vec::new();
                for name in names {
                    targets.push(self.label(i, name)?);
                }
                (Op::BranchIndexed { index, targets }, Class::Control)
            }
            "ret" => {
                m.take("uni");
                match self.returns.last() {
                    Some(&end) if self.stack.len() > 1 => {
                        (Op::Branch { target: end }, Class::Control)
                    }
                    _ => (Op::Exit, Class::Control),
                }
            }
            "exit" => (Op::Exit, Class::Control),
            "trap" => (
                Op::Trap {
                    message: "the kernel executed trap".into(),
                },
                Class::Control,
            ),
            "brkpt" => (
                Op::Trap {
                    message: "the kernel executed brkpt".into(),
                },
                Class::Control,
            ),
            "call" => {
                self.call(i, m, guard, source)?;
                return Ok(true);
            }
            "bar" | "barrier" => {
                m.take("cta");
                m.take("aligned");
                if m.take("warp") {
                    m.take("sync");
                    let mask = self.value(i, 0, Type::B32)?;
                    (Op::WarpBarrier { mask }, Class::Barrier)
                } else if m.take("red") {
                    let reduce = m.find(|n| match n {
                        "popc" | "and" | "or" => Some(n.to_string()),
                        _ => None,
                    });
                    m.find(Type::from_name);
                    let last = i.operands.len().saturating_sub(1);
                    let p = self.predicate(i, last)?;
                    let kind = match reduce.as_deref() {
                        Some("popc") => BarrierKind::Count {
                            d: self.target(i, 0, 32, false)?,
                            p,
                        },
                        Some("and") => BarrierKind::And {
                            d: self.predicate(i, 0)?.slot,
                            p,
                        },
                        Some("or") => BarrierKind::Or {
                            d: self.predicate(i, 0)?.slot,
                            p,
                        },
                        _ => return Err(m.error("expected .popc, .and or .or")),
                    };
                    let id = self.value(i, 1, Type::U32)?;
                    let count = if last > 2 {
                        Some(self.value(i, 2, Type::U32)?)
                    } else {
                        None
                    };
                    (Op::Barrier { kind, id, count }, Class::Barrier)
                } else {
                    let kind = if m.take("sync") {
                        BarrierKind::Sync
                    } else if m.take("arrive") {
                        BarrierKind::Arrive
                    } else {
                        return Err(m.error("expected .sync, .arrive or .red"));
                    };
                    let id = self.value(i, 0, Type::U32)?;
                    let count = if i.operands.len() > 1 {
                        Some(self.value(i, 1, Type::U32)?)
                    } else {
                        None
                    };
                    (Op::Barrier { kind, id, count }, Class::Barrier)
                }
            }
            "membar" | "fence" => {
                let block = m.take("cta");
                while m
                    .find(|n| {
                        matches!(
                            n,
                            "gl" | "sys" | "gpu" | "sc" | "acq_rel" | "acquire" | "release"
                        )
                        .then_some(())
                    })
                    .is_some()
                {}
                (Op::Fence { device: !block }, Class::Barrier)
            }
            "shfl" => {
                m.take("sync");
                let mode = m
                    .find(|n| match n {
                        "up" => Some(Shuffle::Up),
                        "down" => Some(Shuffle::Down),
                        "bfly" => Some(Shuffle::Butterfly),
                        "idx" => Some(Shuffle::Index),
                        _ => None,
                    })
                    .ok_or_else(|| m.error("expected .up, .down, .bfly or .idx"))?;
                m.take("b32");
                let (d, p) = self.pair(i)?;
                let a = self.value(i, 1, Type::B32)?;
                let b = self.value(i, 2, Type::B32)?;
                let c = self.value(i, 3, Type::B32)?;
                let mask = self.value(i, 4, Type::B32)?;
                (
                    Op::Shuffle {
                        mode,
                        d,
                        p,
                        a,
                        b,
                        c,
                        mask,
                    },
                    Class::Warp,
                )
            }
            "vote" => {
                m.take("sync");
                let mode = m
                    .find(|n| match n {
                        "all" => Some(Vote::All),
                        "any" => Some(Vote::Any),
                        "uni" => Some(Vote::Uniform),
                        "ballot" => Some(Vote::Ballot),
                        _ => None,
                    })
                    .ok_or_else(|| m.error("expected .all, .any, .uni or .ballot"))?;
                m.take("pred");
                m.take("b32");
                let d = if mode == Vote::Ballot {
                    self.target(i, 0, 32, false)?
                } else {
                    self.predicate(i, 0)?.slot
                };
                let p = self.predicate(i, 1)?;
                let mask = self.value(i, 2, Type::B32)?;
                (Op::Vote { mode, d, p, mask }, Class::Warp)
            }
            "match" => {
                m.take("sync");
                let all = m.take("all");
                if !all && !m.take("any") {
                    return Err(m.error("expected .any or .all"));
                }
                let ty = m.ty()?;
                let (d, p) = self.pair(i)?;
                let a = self.value(i, 1, ty)?;
                let mask = self.value(i, 2, Type::B32)?;
                (Op::Match { all, d, p, a, mask }, Class::Warp)
            }
            "redux" => {
                m.take("sync");
                let name = m
                    .find(|n| {
                        ["add", "min", "max", "and", "or", "xor"]
                            .contains(&n)
                            .then(|| n.to_string())
                    })
                    .ok_or_else(|| m.error("expected an operation"))?;
                let ty = m.ty()?;
                let logic = matches!(name.as_str(), "and" | "or" | "xor");
                if ty.bits != 32 || ty.is_float() || logic == ty.is_integer() {
                    return Err(m.error("operation and type do not go together"));
                }
                let f: fn(u32, u32) -> u32 = match (name.as_str(), ty.is_signed()) {
                    ("add", _) => u32::wrapping_add,
                    ("min", false) => u32::min,
                    ("max", false) => u32::max,
                    ("min", true) => |a, b| (a as i32).min(b as i32) as u32,
                    ("max", true) => |a, b| (a as i32).max(b as i32) as u32,
                    ("and", _) => |a, b| a & b,
                    ("or", _) => |a, b| a | b,
                    _ => |a, b| a ^ b,
                };
                let d = self.target(i, 0, 32, false)?;
                let a = self.value(i, 1, Type::B32)?;
                let mask = self.value(i, 2, Type::B32)?;
                (Op::Reduce { f, d, a, mask }, Class::Warp)
            }
            "elect" => {
                m.take("sync");
                let Operand::Pair(pair) = self.operand(i, 0)?.clone() else {
                    return Err(m.error("expected d|p"));
                };
                let d = match &pair[0] {
                    Operand::Sink => None,
                    other => Some(self.target_operand(i, other, 32, false)?.0),
                };
                let p = self.predicate_operand(i, &pair[1])?.slot;
                let mask = self.value(i, 1, Type::B32)?;
                (Op::Elect { d, p, mask }, Class::Warp)
            }
            "activemask" => {
                m.take("b32");
                let d = self.target(i, 0, 32, false)?;
                (
                    Op::Read {
                        what: crate::exec::op::Dynamic::ActiveMask,
                        d,
                    },
                    Class::Warp,
                )
            }
            "nanosleep" => {
                m.take("u32");
                (Op::Hint { spins: true }, Class::Control)
            }
            // Launches are ordered whole, so waiting for the one before and letting the next one
            // start change nothing.
            "griddepcontrol" => {
                m.take("wait");
                m.take("launch_dependents");
                (Op::Hint { spins: false }, Class::Barrier)
            }
            _ => return Ok(false),
        };
        self.push(guard, op, class, source);
        Ok(true)
    }

    /// `d` or `d|p` as first operand.
    fn pair(&mut self, i: &Instruction<'a>) -> Result<(u32, Option<u32>), PtxError> {
        match self.operand(i, 0)?.clone() {
            Operand::Pair(pair) => {
                let d = self.target_operand(i, &pair[0], 32, false)?.0;
                let p = match &pair[1] {
                    Operand::Sink => None,
                    other => Some(self.predicate_operand(i, other)?.slot),
                };
                Ok((d, p))
            }
            other => Ok((self.target_operand(i, &other, 32, false)?.0, None)),
        }
    }

    /// Expands a device function in place; its parameters are the caller's variables.
    fn call(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
        guard: Option<PredicateUse>,
        source: u32,
    ) -> Result<(), PtxError> {
        m.take("uni");
        let mut lists = Vec::new();
        let mut name = None;
        for operand in &i.operands {
            match operand {
                Operand::List(items) => lists.push((name.is_some(), items.clone())),
                Operand::Name(n) if name.is_none() => name = Some(*n),
                _ => {}
            }
        }
        let Some(name) = name else {
            return Err(m.error("expected a function name"));
        };
        let results: Vec<Operand> = lists
            .iter()
            .filter(|l| !l.0)
            .flat_map(|l| l.1.clone())
            .collect();
        let arguments: Vec<Operand> = lists
            .iter()
            .filter(|l| l.0)
            .flat_map(|l| l.1.clone())
            .collect();
        if name == "vprintf" || name == "__assertfail" {
            let op = if name == "vprintf" {
                let format = self.parameter_value(i, &arguments, 0, source)?;
                let values = self.parameter_value(i, &arguments, 1, source)?;
                // The result is the number of arguments on hardware; nobody reads it here.
                Op::Print {
                    format,
                    arguments: values,
                    d: None,
                }
            } else {
                Op::Trap {
                    message: "an assertion in the kernel failed".into(),
                }
            };
            self.push(guard, op, Class::Control, source);
            return Ok(());
        }
        let Some(&function) = self.functions.get(name) else {
            return Err(m.error(format!("function '{name}' is not defined")));
        };
        let function = self
            .context
            .source
            .functions
            .iter()
            .find(|f| f.name == name && f.body.is_some())
            .unwrap_or(function);
        if function.entry || function.body.is_none() {
            return Err(m.error(format!("function '{name}' has no body to call")));
        }
        if function.returns.len() != results.len() || function.parameters.len() != arguments.len() {
            return Err(m.error(format!(
                "'{name}' has {} parameters and {} results, the call gives {} and {}",
                function.parameters.len(),
                function.returns.len(),
                arguments.len(),
                results.len()
            )));
        }
        let mut bindings = Vec::new();
        let formals = function.returns.iter().chain(&function.parameters);
        for (formal, actual) in formals.zip(results.iter().chain(&arguments)) {
            let symbol = match actual {
                Operand::Name(n) => self.scopes.find(n).cloned(),
                _ => None,
            };
            match symbol {
                Some(symbol @ Symbol::Local(_)) if !formal.register => {
                    bindings.push((formal.name, symbol, formal.position));
                }
                _ => {
                    return Err(m.error(format!(
                        "argument for '{}' is not a .param variable",
                        formal.name
                    )));
                }
            }
        }
        let skip = match guard {
            Some(p) => {
                let label = self.new_label("after the call", i.position);
                let guard = Some(PredicateUse {
                    negated: !p.negated,
                    ..p
                });
                self.push(guard, Op::Branch { target: label }, Class::Control, source);
                Some(label)
            }
            None => None,
        };
        // The callee sees its own names and the module's, not the caller's.
        let hidden = self.scopes.take_above(1);
        self.scopes.open();
        for (name, symbol, position) in bindings {
            self.scopes.define(name, symbol, position)?;
        }
        self.scopes.open();
        let location = self.location;
        self.body(function)?;
        self.location = location;
        self.scopes.take_above(1);
        self.scopes.restore(hidden);
        if let Some(label) = skip {
            self.labels[label as usize] = self.instructions.len() as u32;
        }
        Ok(())
    }

    /// Loads a 64-bit argument that was stored to a .param variable.
    fn parameter_value(
        &mut self,
        i: &Instruction<'a>,
        arguments: &[Operand<'a>],
        n: usize,
        source: u32,
    ) -> Result<u32, PtxError> {
        let offset = match arguments.get(n) {
            Some(Operand::Name(name)) => match self.scopes.find(name) {
                Some(Symbol::Local(offset)) => *offset,
                _ => {
                    return Err(PtxError::at(
                        i.position,
                        format!("'{name}' is no parameter"),
                    ));
                }
            },
            _ => return Err(PtxError::at(i.position, "expected two parameters")),
        };
        let d = self.new_slot(i.position)?;
        let base = self.constant(offset);
        let op = Op::Load {
            access: super::memory::plain(Space::Local, 8, 1),
            at: crate::exec::op::Address { base, offset: 0 },
            d: vec![Some(d)],
            signed: false,
            width: 64,
        };
        self.push(None, op, Class::Local, source);
        Ok(d)
    }
}
