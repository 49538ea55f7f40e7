//! Loads, stores, atomics, asynchronous copies and matrix instructions.

use super::Builder;
use super::modifiers::Modifiers;
use crate::counters::Class;
use crate::exec::op::{Access, MatrixFormat, Mma, Modify, Op, PredicateUse, Slot};
use crate::ptx::{Instruction, Kind, Operand, PtxError, Space, Type};

/// An ordinary access.
pub(super) fn plain(space: Space, element: u32, count: u32) -> Access {
    Access {
        space,
        element,
        count,
        strong: false,
        acquire: false,
        release: false,
        constant: false,
    }
}

/// Cache hints change no result.
fn hint(name: &str) -> bool {
    matches!(
        name,
        "ca" | "cg" | "cs" | "cv" | "lu" | "wb" | "wt" | "nc" | "weak" | "unified"
    ) || name.starts_with("L1::")
        || name.starts_with("L2::")
        || name.starts_with("level::")
}

/// Takes qualifiers of ordering and scope.
fn ordering(m: &mut Modifiers, access: &mut Access) {
    while let Some(name) = m.find(|n| {
        [
            "volatile", "relaxed", "acquire", "release", "acq_rel", "gpu", "sys", "cta", "cluster",
        ]
        .contains(&n)
        .then(|| n.to_string())
    }) {
        match name.as_str() {
            "acquire" => (access.strong, access.acquire) = (true, true),
            "release" => (access.strong, access.release) = (true, true),
            "acq_rel" => {
                (access.strong, access.acquire, access.release) = (true, true, true);
            }
            "volatile" | "relaxed" => access.strong = true,
            _ => {}
        }
    }
    while m.find(|n| hint(n).then_some(())).is_some() {}
}

fn class_of(space: Space) -> Class {
    match space {
        Space::Global | Space::Generic => Class::Global,
        Space::Shared => Class::Shared,
        Space::Local => Class::Local,
        Space::Const | Space::Param => Class::Constant,
    }
}

impl<'s, 'a> Builder<'s, 'a> {
    pub(super) fn memory(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
        guard: Option<PredicateUse>,
        source: u32,
    ) -> Result<bool, PtxError> {
        let (op, class) = match i.opcode {
            "ld" | "ldu" | "st" => return self.load_store(i, m, guard, source),
            "atom" | "red" => return self.atomic(i, m, guard, source),
            "prefetch" | "prefetchu" | "applypriority" | "discard" => {
                while m
                    .find(|n| {
                        let level = matches!(n, "L1" | "L2" | "tensormap") || hint(n);
                        (level || Space::from_name(n).is_some()).then_some(())
                    })
                    .is_some()
                {}
                (Op::Hint { spins: false }, Class::Global)
            }
            "cp" => {
                if !m.take("async") {
                    return Err(m.error("only cp.async is supported"));
                }
                if m.take("commit_group") {
                    (Op::AsyncCommit, Class::Shared)
                } else if m.take("wait_group") {
                    let Operand::Int(n) = self.operand(i, 0)?.clone() else {
                        return Err(m.error("expected a constant"));
                    };
                    (
                        Op::AsyncWait {
                            pending: Some(n.min(1 << 20) as u32),
                        },
                        Class::Shared,
                    )
                } else if m.take("wait_all") {
                    (Op::AsyncWait { pending: None }, Class::Shared)
                } else {
                    m.take("shared");
                    m.take("shared::cta");
                    m.take("global");
                    while m.find(|n| hint(n).then_some(())).is_some() {}
                    let (to, _) = self.address(i, 0, Space::Shared)?;
                    let (from, _) = self.address(i, 1, Space::Global)?;
                    let Operand::Int(bytes @ (4 | 8 | 16)) = *self.operand(i, 2)? else {
                        return Err(m.error("expected a size of 4, 8 or 16"));
                    };
                    let given = if i.operands.len() > 3 {
                        Some(self.value(i, 3, Type::U32)?)
                    } else {
                        None
                    };
                    let bytes = bytes as u32;
                    (
                        Op::AsyncCopy {
                            to,
                            from,
                            bytes,
                            source: given,
                            space: Space::Global,
                        },
                        Class::Shared,
                    )
                }
            }
            "ldmatrix" => {
                for n in ["sync", "aligned", "m8n8", "shared", "shared::cta", "b16"] {
                    m.take(n);
                }
                let transpose = m.take("trans");
                let count = m
                    .find(|n| match n {
                        "x1" => Some(1),
                        "x2" => Some(2),
                        "x4" => Some(4),
                        _ => None,
                    })
                    .ok_or_else(|| m.error("expected .x1, .x2 or .x4"))?;
                let d = self.registers_of(i, 0, 32)?;
                if d.len() != count {
                    return Err(m.error(format!("expected {count} registers")));
                }
                let (at, _) = self.address(i, 1, Space::Shared)?;
                (Op::LoadMatrix { at, d, transpose }, Class::Shared)
            }
            "mma" => (Op::Matrix(Box::new(self.mma(i, m)?)), Class::Matrix),
            _ => return Ok(false),
        };
        self.push(guard, op, class, source);
        Ok(true)
    }

    /// The registers of a vector operand.
    fn registers_of(
        &mut self,
        i: &Instruction<'a>,
        n: usize,
        bits: u32,
    ) -> Result<Vec<Slot>, PtxError> {
        let items = match self.operand(i, n)?.clone() {
            Operand::Vector(items) => items,
            other => vec![other],
        };
        items
            .iter()
            .map(|o| Ok(self.target_operand(i, o, bits, false)?.0))
            .collect()
    }

    fn mma(&mut self, i: &Instruction<'a>, m: &mut Modifiers) -> Result<Mma, PtxError> {
        let layout: Vec<&str> = (i.modifiers.iter().copied())
            .filter(|n| matches!(*n, "row" | "col"))
            .collect();
        if layout != ["row", "col"] {
            return Err(m.error("factors must be .row and .col"));
        }
        for n in ["sync", "aligned", "row", "col"] {
            m.take(n);
        }
        let depth = m
            .find(|n| match n {
                "m16n8k4" => Some(4),
                "m16n8k8" => Some(8),
                "m16n8k16" => Some(16),
                _ => None,
            })
            .ok_or_else(|| m.error("shape is not supported; m16n8k4, k8 and k16 are"))?;
        let (d, a, b, c) = (m.ty()?, m.ty()?, m.ty()?, m.ty()?);
        let format = match (a.kind, a.bits) {
            (Kind::Float, 16) => MatrixFormat::F16,
            (Kind::BFloat, _) => MatrixFormat::Bf16,
            (Kind::Tf32, _) => MatrixFormat::Tf32,
            _ => return Err(m.error(format!("factors of type {a} are not supported"))),
        };
        let half = |t: Type| t == Type::F16;
        let depths: &[usize] = match format {
            MatrixFormat::Tf32 => &[4, 8],
            _ => &[8, 16],
        };
        if !depths.contains(&depth) {
            return Err(m.error(format!("no product of this shape has factors of type {a}")));
        }
        // Only products of f16 have accumulators of f16.
        let sums = |t: Type| t == Type::F32 || half(t) && format == MatrixFormat::F16;
        if a != b || !sums(c) || !sums(d) {
            return Err(m.error("types are not supported"));
        }
        let mma = Mma {
            format,
            depth,
            half_in: half(c),
            half_out: half(d),
            d: self.registers_of(i, 0, 32)?,
            a: self.registers_of(i, 1, 32)?,
            b: self.registers_of(i, 2, 32)?,
            c: {
                let items = match self.operand(i, 3)?.clone() {
                    Operand::Vector(items) => items,
                    other => vec![other],
                };
                let mut c = Vec::new();
                for o in &items {
                    c.push(self.value_operand(i, o, Type::B32, false)?);
                }
                c
            },
        };
        let per = if format == MatrixFormat::Tf32 { 4 } else { 8 };
        let accumulators = |half| if half { 2 } else { 4 };
        let expected = [
            (mma.d.len(), accumulators(mma.half_out)),
            (mma.a.len(), 2 * depth / per),
            (mma.b.len(), depth / per),
            (mma.c.len(), accumulators(mma.half_in)),
        ];
        match expected.iter().position(|(found, wanted)| found != wanted) {
            Some(at) => {
                let (found, wanted) = expected[at];
                Err(m.error(format!(
                    "operand {at} has {found} registers, expected {wanted}"
                )))
            }
            None => Ok(mma),
        }
    }

    fn load_store(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
        guard: Option<PredicateUse>,
        source: u32,
    ) -> Result<bool, PtxError> {
        let store = i.opcode == "st";
        let space = m.find(Space::from_name).unwrap_or(Space::Generic);
        let mut access = plain(space, 0, 1);
        ordering(m, &mut access);
        access.count = m
            .find(|n| match n {
                "v2" => Some(2),
                "v4" => Some(4),
                "v8" => Some(8),
                _ => None,
            })
            .unwrap_or(1);
        let ty = m.ty()?;
        access.element = ty.bytes();
        if access.bytes() > 32 || ty.bits > 64 || ty.bits == 1 {
            return Err(m.error("width is not supported"));
        }
        let (data, place) = if store { (1, 0) } else { (0, 1) };
        let (at, space) = self.address(i, place, space)?;
        access.space = space;
        if access.strong && matches!(space, Space::Global | Space::Generic) {
            self.parallel = false;
        }
        let items = match self.operand(i, data)?.clone() {
            Operand::Vector(items) => items,
            other => vec![other],
        };
        if items.len() != access.count as usize {
            return Err(m.error(format!(
                "expected {} registers, found {}",
                access.count,
                items.len()
            )));
        }
        let op = if store {
            let mut a = Vec::new();
            for o in &items {
                a.push(self.value_operand(i, o, bits_type(ty), true)?);
            }
            Op::Store { access, at, a }
        } else {
            let mut d = Vec::new();
            let mut width = ty.bits;
            for o in &items {
                if let Operand::Sink = o {
                    d.push(None);
                    continue;
                }
                let (slot, bits) = self.target_operand(i, o, ty.bits, true)?;
                width = bits;
                d.push(Some(slot));
            }
            Op::Load {
                access,
                at,
                d,
                signed: ty.is_signed(),
                width,
            }
        };
        self.push(guard, op, class_of(space), source);
        Ok(true)
    }

    fn atomic(
        &mut self,
        i: &Instruction<'a>,
        m: &mut Modifiers,
        guard: Option<PredicateUse>,
        source: u32,
    ) -> Result<bool, PtxError> {
        let returns = i.opcode == "atom";
        let space = m.find(Space::from_name).unwrap_or(Space::Generic);
        let mut access = plain(space, 0, 1);
        access.strong = true;
        ordering(m, &mut access);
        let noftz = m.take("noftz");
        let name = m
            .find(|n| {
                [
                    "add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec",
                ]
                .contains(&n)
                .then(|| n.to_string())
            })
            .ok_or_else(|| m.error("expected an operation"))?;
        let ty = m.ty()?;
        access.element = ty.bytes();
        let narrow = ty.is_float() && ty.bits == 16
            || matches!(ty.kind, Kind::PackedFloat | Kind::PackedBFloat);
        if narrow != noftz {
            return Err(m.error("additions of f16 and bf16, and only they, need .noftz"));
        }
        if name == "cas" && !returns {
            return Err(m.error("only atom compares and swaps"));
        }
        let f =
            modify(&name, ty).ok_or_else(|| m.error("operation and type do not go together"))?;
        let first = usize::from(returns);
        let (at, space) = self.address(i, first, space)?;
        access.space = space;
        let bits = bits_type(ty);
        let b = self.value(i, first + 1, if ty.is_float() { ty } else { bits })?;
        let c = if name == "cas" {
            self.value(i, first + 2, bits)?
        } else {
            b
        };
        let d = match self.operand(i, 0)? {
            Operand::Sink => None,
            _ if returns => Some(self.target(i, 0, ty.bits, false)?),
            _ => None,
        };
        // Integer sums come out the same in any order; anything else makes blocks run in turn.
        let commutes = !matches!(name.as_str(), "exch" | "cas" | "inc" | "dec");
        if space != Space::Shared
            && (d.is_some()
                || !commutes
                || ty.bits != 32
                || !(ty.is_integer() || ty.kind == Kind::Bits))
        {
            self.parallel = false;
        }
        self.push(
            guard,
            Op::Atomic {
                access,
                at,
                f,
                flushes: ty == Type::F32,
                d,
                b,
                c,
            },
            Class::Atomic,
            source,
        );
        Ok(true)
    }
}

/// The type as plain bits.
pub(super) fn bits_type(ty: Type) -> Type {
    Type {
        kind: Kind::Bits,
        bits: ty.bits,
    }
}

fn modify(name: &str, ty: Type) -> Option<Modify> {
    let keep = if ty.bits == 64 {
        u64::MAX
    } else {
        (1 << ty.bits) - 1
    };
    let extend = move |v: u64| ((v << (64 - ty.bits)) as i64) >> (64 - ty.bits);
    let word = matches!(ty.bits, 32 | 64);
    Some(match (name, ty.kind) {
        ("exch", Kind::Bits) if word => Box::new(|_, b, _| b),
        ("cas", Kind::Bits) if word || ty.bits == 16 => {
            Box::new(|old, b, c| if old == b { c } else { old })
        }
        ("and", Kind::Bits) if word => Box::new(|old, b, _| old & b),
        ("or", Kind::Bits) if word => Box::new(|old, b, _| old | b),
        ("xor", Kind::Bits) if word => Box::new(|old, b, _| old ^ b),
        ("inc", Kind::Unsigned) if ty.bits == 32 => {
            Box::new(|old, b, _| if old >= b { 0 } else { old + 1 })
        }
        ("dec", Kind::Unsigned) if ty.bits == 32 => {
            Box::new(|old, b, _| if old == 0 || old > b { b } else { old - 1 })
        }
        ("add", Kind::Unsigned | Kind::Signed) if word => {
            Box::new(move |old, b, _| old.wrapping_add(b) & keep)
        }
        ("min", Kind::Unsigned) if word => Box::new(|old, b, _| old.min(b)),
        ("max", Kind::Unsigned) if word => Box::new(|old, b, _| old.max(b)),
        ("min", Kind::Signed) if word => {
            Box::new(move |old, b, _| if extend(b) < extend(old) { b } else { old })
        }
        ("max", Kind::Signed) if word => {
            Box::new(move |old, b, _| if extend(b) > extend(old) { b } else { old })
        }
        ("add", Kind::Float | Kind::BFloat | Kind::PackedFloat | Kind::PackedBFloat) => {
            let f = super::floating::float2(name, ty, &Default::default())?;
            Box::new(move |old, b, _| f(old, b))
        }
        _ => return None,
    })
}
