//! Names: registers, variables and labels in nested scopes, and operands made of them.

use super::Builder;
use crate::exec::op::{Address, PredicateUse, Slot, Special};
use crate::ptx::{Instruction, Kind, Operand, Position, PtxError, Space, Type};
use std::collections::HashMap;

#[derive(Debug, Clone)]
pub(super) enum Symbol<'a> {
    Register(Type, Option<Slot>),
    /// `name<count>` with the slots of those in use.
    Registers(Type, u32, HashMap<u32, Slot>),
    KernelParam(u64),
    Local(u64),
    Shared(u64),
    DynamicShared,
    Label(u32),
    Targets(Vec<&'a str>),
}

#[derive(Default)]
pub(super) struct Scopes<'a> {
    stack: Vec<HashMap<&'a str, Symbol<'a>>>,
}

impl<'a> Scopes<'a> {
    pub(super) fn open(&mut self) {
        self.stack.push(HashMap::new());
    }

    pub(super) fn close(&mut self) {
        self.stack.pop();
    }

    pub(super) fn depth(&self) -> usize {
        self.stack.len()
    }

    pub(super) fn take_above(&mut self, depth: usize) -> Vec<HashMap<&'a str, Symbol<'a>>> {
        self.stack.split_off(depth.min(self.stack.len()))
    }

    pub(super) fn restore(&mut self, scopes: Vec<HashMap<&'a str, Symbol<'a>>>) {
        self.stack.extend(scopes);
    }

    pub(super) fn define(
        &mut self,
        name: &'a str,
        symbol: Symbol<'a>,
        position: Position,
    ) -> Result<(), PtxError> {
        match self.stack.last_mut() {
            Some(scope) => match scope.insert(name, symbol) {
                None => Ok(()),
                Some(_) => Err(PtxError::at(
                    position,
                    format!("'{name}' is declared twice"),
                )),
            },
            None => Err(PtxError::at(position, "no scope is open")),
        }
    }

    pub(super) fn register(
        &mut self,
        name: &'a str,
        ty: Type,
        count: Option<u32>,
        position: Position,
    ) -> Result<(), PtxError> {
        let symbol = match count {
            Some(n) => Symbol::Registers(ty, n, HashMap::new()),
            None => Symbol::Register(ty, None),
        };
        self.define(name, symbol, position)
    }

    pub(super) fn find(&self, name: &str) -> Option<&Symbol<'a>> {
        self.stack.iter().rev().find_map(|s| s.get(name))
    }

    /// The register `name`, exactly or as a numbered one: its symbol and number.
    fn find_register(&mut self, name: &str) -> Option<(&mut Symbol<'a>, u32)> {
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number: Option<u32> = name[prefix.len()..].parse().ok();
        for scope in self.stack.iter_mut().rev() {
            let exact = matches!(scope.get(name), Some(Symbol::Register(..)));
            if exact {
                return scope.get_mut(name).map(|s| (s, 0));
            }
            if let (Some(n), Some(Symbol::Registers(_, count, _))) = (number, scope.get(prefix))
                && n < *count
            {
                return scope.get_mut(prefix).map(|s| (s, n));
            }
        }
        None
    }
}

impl<'s, 'a> Builder<'s, 'a> {
    /// The slot and type of a register, if `name` is one.
    fn register(
        &mut self,
        name: &str,
        position: Position,
    ) -> Result<Option<(Slot, Type)>, PtxError> {
        let (ty, known, number) = match self.scopes.find_register(name) {
            Some((Symbol::Register(ty, slot), _)) => (*ty, *slot, 0),
            Some((Symbol::Registers(ty, _, slots), n)) => (*ty, slots.get(&n).copied(), n),
            _ => return Ok(None),
        };
        let slot = match known {
            Some(slot) => slot,
            None => {
                let slot = if ty.kind == Kind::Pred {
                    self.new_predicate()
                } else {
                    self.new_slot(position)?
                };
                match self.scopes.find_register(name) {
                    Some((Symbol::Register(_, s), _)) => *s = Some(slot),
                    Some((Symbol::Registers(_, _, slots), _)) => {
                        slots.insert(number, slot);
                    }
                    _ => {}
                }
                slot
            }
        };
        Ok(Some((slot, ty)))
    }

    pub(super) fn predicate_named(
        &mut self,
        name: &str,
        position: Position,
    ) -> Result<PredicateUse, PtxError> {
        match self.register(name, position)? {
            Some((
                slot,
                Type {
                    kind: Kind::Pred, ..
                },
            )) => Ok(PredicateUse {
                slot,
                negated: false,
            }),
            _ => Err(PtxError::at(
                position,
                format!("'{name}' is not a predicate register"),
            )),
        }
    }

    pub(super) fn operand<'i>(
        &self,
        i: &'i Instruction<'a>,
        n: usize,
    ) -> Result<&'i Operand<'a>, PtxError> {
        i.operands.get(n).ok_or_else(|| {
            PtxError::at(
                i.position,
                format!(
                    "'{}' has too few operands: {}",
                    i.full_name(),
                    i.operands.len()
                ),
            )
        })
    }

    /// A predicate operand, perhaps negated.
    pub(super) fn predicate(
        &mut self,
        i: &Instruction<'a>,
        n: usize,
    ) -> Result<PredicateUse, PtxError> {
        let operand = self.operand(i, n)?.clone();
        self.predicate_operand(i, &operand)
    }

    pub(super) fn predicate_operand(
        &mut self,
        i: &Instruction<'a>,
        operand: &Operand<'a>,
    ) -> Result<PredicateUse, PtxError> {
        match operand {
            Operand::Name(name) => self.predicate_named(name, i.position),
            Operand::Not(name) => {
                let p = self.predicate_named(name, i.position)?;
                Ok(PredicateUse { negated: true, ..p })
            }
            Operand::Int(v) => {
                // A constant predicate: one that is never written is false.
                let slot = self.new_predicate();
                Ok(PredicateUse {
                    slot,
                    negated: *v != 0,
                })
            }
            _ => Err(PtxError::at(
                i.position,
                format!("'{}': expected a predicate", i.full_name()),
            )),
        }
    }

    /// The register operand `n` is written to; its width must be that of `ty`, or at least that
    /// where `wider` allows it.
    pub(super) fn target(
        &mut self,
        i: &Instruction<'a>,
        n: usize,
        bits: u32,
        wider: bool,
    ) -> Result<Slot, PtxError> {
        let operand = self.operand(i, n)?.clone();
        Ok(self.target_operand(i, &operand, bits, wider)?.0)
    }

    pub(super) fn target_operand(
        &mut self,
        i: &Instruction<'a>,
        operand: &Operand<'a>,
        bits: u32,
        wider: bool,
    ) -> Result<(Slot, u32), PtxError> {
        if let Operand::Sink = operand {
            return Ok((self.new_slot(i.position)?, bits));
        }
        let Operand::Name(name) = operand else {
            return Err(PtxError::at(
                i.position,
                format!("'{}': expected a register to write to", i.full_name()),
            ));
        };
        match self.register(name, i.position)? {
            Some((slot, ty)) if ty.bits == bits || (wider && ty.bits >= bits) => {
                Ok((slot, ty.bits))
            }
            Some((_, ty)) => Err(PtxError::at(
                i.position,
                format!(
                    "'{}': register '{name}' is {ty}, expected {bits} bits",
                    i.full_name()
                ),
            )),
            None => Err(PtxError::at(
                i.position,
                format!("'{}': '{name}' is not a register", i.full_name()),
            )),
        }
    }

    pub(super) fn value(
        &mut self,
        i: &Instruction<'a>,
        n: usize,
        ty: Type,
    ) -> Result<Slot, PtxError> {
        let operand = self.operand(i, n)?.clone();
        self.value_operand(i, &operand, ty, false)
    }

    /// The row that holds an operand of type `ty`.
    pub(super) fn value_operand(
        &mut self,
        i: &Instruction<'a>,
        operand: &Operand<'a>,
        ty: Type,
        wider: bool,
    ) -> Result<Slot, PtxError> {
        let keep = if ty.bits >= 64 {
            u64::MAX
        } else {
            (1 << ty.bits) - 1
        };
        match operand {
            Operand::Int(v) if ty.is_float() => Err(PtxError::at(
                i.position,
                format!("'{}': {v} is not a float", i.full_name()),
            )),
            Operand::Int(v) => Ok(self.constant(v & keep)),
            Operand::F32(v) if ty.bits == 64 => {
                Ok(self.constant(f64::from(f32::from_bits(*v)).to_bits()))
            }
            Operand::F32(v) => Ok(self.constant(u64::from(*v))),
            Operand::F64(v) if ty.bits == 64 => Ok(self.constant(*v)),
            Operand::F64(v) => {
                let v = f64::from_bits(*v) as f32;
                Ok(self.constant(u64::from(v.to_bits())))
            }
            Operand::Name(name) => {
                if let Some((slot, found)) = self.register(name, i.position)? {
                    if found.bits == ty.bits || (wider && found.bits >= ty.bits) {
                        return Ok(slot);
                    }
                    return Err(PtxError::at(
                        i.position,
                        format!(
                            "'{}': register '{name}' is {found}, expected {} bits",
                            i.full_name(),
                            ty.bits
                        ),
                    ));
                }
                if let Some(special) = special(name, "") {
                    return Ok(self.special(special));
                }
                self.symbol_address(i, name, 0)
            }
            Operand::Component(name, part) => match special(name, part) {
                Some(s) => Ok(self.special(s)),
                None => Err(PtxError::at(
                    i.position,
                    format!("special register '{name}.{part}' is not supported"),
                )),
            },
            Operand::Sum(name, offset) => self.symbol_address(i, name, *offset),
            _ => Err(PtxError::at(
                i.position,
                format!("'{}': expected a register or a constant", i.full_name()),
            )),
        }
    }

    /// A constant row with the address of a variable in its own space.
    fn symbol_address(
        &mut self,
        i: &Instruction<'a>,
        name: &str,
        offset: i64,
    ) -> Result<Slot, PtxError> {
        let (_, address) = self.symbol(name).ok_or_else(|| {
            PtxError::at(
                i.position,
                format!("'{}': '{name}' is not defined", i.full_name()),
            )
        })?;
        match address {
            Some(a) => Ok(self.constant(a.wrapping_add(offset as u64))),
            None => Err(PtxError::at(i.position, format!("'{name}' has no address"))),
        }
    }

    /// The space and address of a variable.
    fn symbol(&mut self, name: &str) -> Option<(Space, Option<u64>)> {
        match self.scopes.find(name) {
            Some(Symbol::KernelParam(o)) => return Some((Space::Param, Some(*o))),
            Some(Symbol::Local(o)) => return Some((Space::Local, Some(*o))),
            Some(Symbol::Shared(o)) => return Some((Space::Shared, Some(*o))),
            Some(Symbol::DynamicShared) => {
                return Some((Space::Shared, Some(self.dynamic_base())));
            }
            _ => {}
        }
        let placed = self.context.variables.get(name)?;
        Some((placed.space, Some(placed.address)))
    }

    /// Dynamic shared memory follows every static variable, wherever it is declared.
    fn dynamic_base(&self) -> u64 {
        self.dynamic_shared_base
    }

    /// An address operand `[base + offset]`. A kernel parameter or a local copy of one is told
    /// apart by the space that is returned.
    pub(super) fn address(
        &mut self,
        i: &Instruction<'a>,
        n: usize,
        space: Space,
    ) -> Result<(Address, Space), PtxError> {
        let Operand::Address(base, offset) = self.operand(i, n)?.clone() else {
            return Err(PtxError::at(
                i.position,
                format!("'{}': expected an address in brackets", i.full_name()),
            ));
        };
        let Some(name) = base else {
            let base = self.constant(0);
            return Ok((Address { base, offset }, space));
        };
        if let Some((slot, ty)) = self.register(name, i.position)? {
            if ty.bits != 64 && ty.bits != 32 {
                return Err(PtxError::at(
                    i.position,
                    format!("'{}': register '{name}' is {ty}, no address", i.full_name()),
                ));
            }
            return Ok((Address { base: slot, offset }, space));
        }
        let found = self.symbol(name);
        let Some((actual, Some(address))) = found else {
            return Err(PtxError::at(
                i.position,
                format!("'{}': '{name}' is not defined", i.full_name()),
            ));
        };
        let base = self.constant(address);
        // Parameters of device functions live in local memory.
        let space = if space == Space::Param || space == Space::Generic {
            actual
        } else {
            space
        };
        Ok((Address { base, offset }, space))
    }
}

fn special(name: &str, part: &str) -> Option<Special> {
    let axis = match part {
        "x" => 0,
        "y" => 1,
        "z" => 2,
        _ => 3,
    };
    if axis < 3 {
        return match name {
            "%tid" => Some(Special::Tid(axis)),
            "%ntid" => Some(Special::Ntid(axis)),
            "%ctaid" => Some(Special::Ctaid(axis)),
            "%nctaid" => Some(Special::Nctaid(axis)),
            _ => None,
        };
    }
    Some(match name {
        "%laneid" => Special::LaneId,
        "%warpid" => Special::WarpId,
        "%nwarpid" => Special::WarpCount,
        "%smid" => Special::SmId,
        "%nsmid" => Special::SmCount,
        "%gridid" => Special::GridId,
        "%lanemask_eq" => Special::LaneMaskEq,
        "%lanemask_lt" => Special::LaneMaskLt,
        "%lanemask_le" => Special::LaneMaskLe,
        "%lanemask_gt" => Special::LaneMaskGt,
        "%lanemask_ge" => Special::LaneMaskGe,
        "%dynamic_smem_size" => Special::DynamicShared,
        "%total_smem_size" => Special::TotalShared,
        "WARP_SZ" => Special::Constant(32),
        _ => return None,
    })
}
