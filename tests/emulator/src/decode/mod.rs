//! Turns the syntax tree into the compact form: registers become slots, labels become indices,
//! device functions are expanded where they are called (PTX that recurses is refused).

mod arithmetic;
mod comparison;
mod control;
mod convert;
mod floating;
mod integer;
mod layout;
mod memory;
mod modifiers;
mod packed;
mod scope;

use crate::counters::Class;
use crate::exec::op::{Code, Instr, Op, PredicateUse, Slot, SourceLine, Special};
use crate::ptx::{Function, Instruction, Position, PtxError, Source, Space, Statement, Variable};
use modifiers::Modifiers;
use scope::{Scopes, Symbol};
use std::collections::HashMap;

/// Expanded kernels hold at most this many instructions.
const MAX_INSTRUCTIONS: usize = 400_000;
/// And this many register rows.
const MAX_SLOTS: u32 = 200_000;
/// Local and shared memory of a kernel at most, in bytes.
const MAX_SCRATCH: u64 = 64 << 20;
/// Device functions may call each other this deep.
const MAX_DEPTH: usize = 64;
/// Name under which the grid workspace of cooperative groups is placed.
pub(crate) const WORKSPACE: &str = "%grid_workspace";
/// Shared variables are kept this far apart, so that overruns are seen; a multiple of a bank row.
const SHARED_GAP: u64 = 128;

/// A module variable that has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub address: u64,
    pub space: Space,
}

/// What all kernels of a module share.
pub(crate) struct Context<'s, 'a> {
    pub source: &'s Source<'a>,
    pub variables: &'s HashMap<String, Placed>,
    pub perturb: Option<u64>,
}

/// A parameter of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Byte offset in the parameter buffer.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Alignment in bytes.
    pub align: u32,
}

/// A decoded kernel and what its declaration says.
pub(crate) struct Decoded {
    pub code: Code,
    pub params: Vec<Param>,
    pub registers: u32,
}

pub(crate) struct Builder<'s, 'a> {
    context: &'s Context<'s, 'a>,
    functions: HashMap<&'a str, &'s Function<'a>>,
    instructions: Vec<Instr>,
    sources: Vec<SourceLine>,
    slots: Slot,
    predicates: Slot,
    specials: Vec<(Slot, Special)>,
    special_slots: HashMap<Special, Slot>,
    scopes: Scopes<'a>,
    /// Instruction index of every label placed; `u32::MAX` until then.
    labels: Vec<u32>,
    /// Where each label was first used, for messages.
    label_uses: Vec<(&'a str, Position)>,
    local: u64,
    shared: Vec<(u32, u32, String)>,
    shared_end: u64,
    static_shared: u64,
    registers: u32,
    carry: Option<Slot>,
    /// Functions being expanded, outermost first.
    stack: Vec<&'a str>,
    /// Labels at the end of each function being expanded: where `ret` goes.
    returns: Vec<u32>,
    location: (Option<u32>, u32),
    /// Dynamic shared memory follows every static variable, wherever it is declared.
    dynamic_shared_base: u64,
    parallel: bool,
}

/// Decodes the kernel `kernel`.
pub(crate) fn decode<'a>(
    context: &Context<'_, 'a>,
    kernel: &Function<'a>,
) -> Result<Decoded, PtxError> {
    let mut b = Builder {
        context,
        functions: context
            .source
            .functions
            .iter()
            .map(|f| (f.name, f))
            .collect(),
        instructions: Vec::new(),
        sources: Vec::new(),
        slots: 0,
        predicates: 0,
        specials: Vec::new(),
        special_slots: HashMap::new(),
        scopes: Scopes::default(),
        labels: Vec::new(),
        label_uses: Vec::new(),
        local: 0,
        shared: Vec::new(),
        shared_end: 0,
        static_shared: 0,
        registers: 0,
        carry: None,
        stack: Vec::new(),
        returns: Vec::new(),
        location: (None, 0),
        dynamic_shared_base: dynamic_base(context, kernel),
        parallel: true,
    };
    // Address zero must read as a base for absolute addresses.
    b.special(Special::Constant(0));
    b.scopes.open();
    for v in &context.source.variables {
        if v.space == Space::Shared {
            b.place_shared(v)?;
        }
    }
    let mut params = Vec::new();
    let mut offset = 0u64;
    b.scopes.open();
    for p in &kernel.parameters {
        offset = offset.next_multiple_of(p.align);
        if p.size > 32764 || offset + p.size > 32764 {
            return Err(PtxError::at(
                p.position,
                "kernel parameters exceed 32764 bytes",
            ));
        }
        params.push(Param {
            offset: offset as u32,
            size: p.size as u32,
            align: p.align as u32,
        });
        b.scopes
            .define(p.name, Symbol::KernelParam(offset), p.position)?;
        offset += p.size;
    }
    b.body(kernel)?;
    let end = b.source_line(kernel.position, "end of the kernel".to_string());
    b.push(None, Op::Exit, Class::Control, end);
    let dynamic_shared = b.dynamic_shared_base;
    let Builder {
        mut instructions,
        labels,
        label_uses,
        ..
    } = b;
    for (i, &at) in labels.iter().enumerate() {
        if at == u32::MAX {
            let (name, position) = label_uses[i];
            return Err(PtxError::at(
                position,
                format!("label '{name}' is not defined"),
            ));
        }
    }
    for i in &mut instructions {
        match &mut i.op {
            Op::Branch { target } => *target = labels[*target as usize],
            Op::BranchIndexed { targets, .. } => {
                for t in targets {
                    *t = labels[*t as usize];
                }
            }
            _ => {}
        }
    }
    let instructions = layout::order(instructions);
    let code = Code {
        instructions,
        sources: b.sources,
        files: context
            .source
            .files
            .iter()
            .map(|f| (f.0, f.1.to_string()))
            .collect(),
        slots: b.slots,
        predicates: b.predicates,
        specials: b.specials,
        local_bytes: b.local as u32,
        shared: b.shared,
        static_shared: b.static_shared as u32,
        dynamic_shared: dynamic_shared as u32,
        parallel: b.parallel,
    };
    Ok(Decoded {
        code,
        params,
        registers: b.registers,
    })
}

/// An offset beyond all shared variables that the kernel can come to have.
fn dynamic_base(context: &Context, kernel: &Function) -> u64 {
    let module = context.source.variables.iter();
    let body = kernel.body.iter().flatten().filter_map(|s| match s {
        Statement::Variable(v) => Some(v),
        _ => None,
    });
    module
        .chain(body)
        .filter(|v| v.space == Space::Shared && !v.external && v.size > 0)
        .map(|v| v.size.saturating_add(2 * v.align.max(SHARED_GAP)))
        .fold(SHARED_GAP, u64::saturating_add)
        .min(2 * MAX_SCRATCH)
        .next_multiple_of(SHARED_GAP)
}

impl<'s, 'a> Builder<'s, 'a> {
    pub(super) fn push(&mut self, guard: Option<PredicateUse>, op: Op, class: Class, source: u32) {
        self.instructions.push(Instr {
            guard,
            op,
            class,
            source,
            synthetic: false,
        });
    }

    fn source_line(&mut self, position: Position, text: String) -> u32 {
        let (file, line) = self.location;
        let line = if file.is_some() { line } else { position.line };
        self.sources.push(SourceLine {
            file,
            line,
            ptx_line: position.line,
            text,
        });
        self.sources.len() as u32 - 1
    }

    pub(super) fn new_slot(&mut self, position: Position) -> Result<Slot, PtxError> {
        if self.slots >= MAX_SLOTS {
            return Err(PtxError::at(
                position,
                format!("more than {MAX_SLOTS} registers"),
            ));
        }
        self.slots += 1;
        Ok(self.slots - 1)
    }

    pub(super) fn new_predicate(&mut self) -> Slot {
        self.predicates += 1;
        self.predicates - 1
    }

    /// The row that holds a special value; made on first use.
    pub(super) fn special(&mut self, special: Special) -> Slot {
        if let Some(&slot) = self.special_slots.get(&special) {
            return slot;
        }
        let slot = self.slots;
        self.slots += 1;
        self.specials.push((slot, special));
        self.special_slots.insert(special, slot);
        slot
    }

    pub(super) fn constant(&mut self, value: u64) -> Slot {
        self.special(Special::Constant(value))
    }

    pub(super) fn carry_flag(&mut self) -> Slot {
        match self.carry {
            Some(flag) => flag,
            None => {
                let flag = self.new_predicate();
                self.carry = Some(flag);
                flag
            }
        }
    }

    fn place_shared(&mut self, v: &Variable<'a>) -> Result<(), PtxError> {
        // An unsized extern array is the dynamic shared memory; its place is known at the end.
        let symbol = if v.size == 0 || v.external {
            Symbol::DynamicShared
        } else {
            let offset = self.shared_end.next_multiple_of(v.align.max(SHARED_GAP));
            if offset + v.size > MAX_SCRATCH || offset + v.size > self.dynamic_shared_base {
                return Err(PtxError::at(v.position, "shared variables exceed 64 MiB"));
            }
            self.shared
                .push((offset as u32, v.size as u32, v.name.to_string()));
            self.shared_end = offset + v.size + SHARED_GAP;
            self.static_shared = self.static_shared.next_multiple_of(v.align) + v.size;
            Symbol::Shared(offset)
        };
        self.scopes.define(v.name, symbol, v.position)
    }

    pub(super) fn place_local(&mut self, v: &Variable<'a>) -> Result<u64, PtxError> {
        let offset = self.local.next_multiple_of(v.align.max(8));
        if offset + v.size > MAX_SCRATCH {
            return Err(PtxError::at(v.position, "local variables exceed 64 MiB"));
        }
        self.local = offset + v.size;
        Ok(offset)
    }

    /// Expands the body of a function in the scope that is open.
    fn body(&mut self, function: &Function<'a>) -> Result<(), PtxError> {
        let Some(statements) = &function.body else {
            return Err(PtxError::at(
                function.position,
                format!("'{}' has no body", function.name),
            ));
        };
        if self.stack.contains(&function.name) || self.stack.len() >= MAX_DEPTH {
            return Err(PtxError::at(
                function.position,
                format!("'{}' is recursive or calls nest too deep", function.name),
            ));
        }
        self.stack.push(function.name);
        let end = self.new_label("end of the function", function.position);
        self.returns.push(end);
        // Labels may be used before they are placed: each scope's are declared when it opens.
        self.declare_labels(statements)?;
        let depth = self.scopes.depth();
        for (i, statement) in statements.iter().enumerate() {
            match statement {
                Statement::Open => {
                    self.scopes.open();
                    self.declare_labels(&statements[i + 1..])?;
                }
                Statement::Close => self.scopes.close(),
                Statement::Label(name, position) => {
                    if let Some(Symbol::Label(id)) = self.scopes.find(name) {
                        let id = *id as usize;
                        self.labels[id] = self.instructions.len() as u32;
                    } else {
                        return Err(PtxError::at(*position, format!("'{name}' is not a label")));
                    }
                }
                Statement::Register {
                    name,
                    ty,
                    count,
                    position,
                } => {
                    let n = count.unwrap_or(1);
                    if ty.bits > 1 {
                        let words = ty.bits.div_ceil(32);
                        self.registers = self.registers.saturating_add(n.saturating_mul(words));
                    }
                    self.scopes.register(name, *ty, *count, *position)?;
                }
                Statement::Variable(v) => match v.space {
                    Space::Shared => self.place_shared(v)?,
                    Space::Local | Space::Param => {
                        let offset = self.place_local(v)?;
                        self.scopes
                            .define(v.name, Symbol::Local(offset), v.position)?;
                        if v.space == Space::Local {
                            let line = self.source_line(v.position, String::new());
                            let op = Op::Forget {
                                offset: offset as u32,
                                bytes: v.size as u32,
                            };
                            self.instructions.push(Instr {
                                guard: None,
                                op,
                                class: Class::Local,
                                source: line,
                                synthetic: true,
                            });
                        }
                    }
                    _ => {
                        return Err(PtxError::at(
                            v.position,
                            format!("variable '{}' cannot be declared in a function", v.name),
                        ));
                    }
                },
                Statement::Location(l) => self.locate(l),
                Statement::BranchTargets { .. } => {}
                Statement::Instruction(i) => self.instruction(i)?,
            }
            if self.instructions.len() > MAX_INSTRUCTIONS {
                return Err(PtxError::at(
                    function.position,
                    format!("'{}' expands to too many instructions", function.name),
                ));
            }
        }
        while self.scopes.depth() > depth {
            self.scopes.close();
        }
        self.stack.pop();
        self.returns.pop();
        self.labels[end as usize] = self.instructions.len() as u32;
        Ok(())
    }

    fn new_label(&mut self, name: &'a str, position: Position) -> u32 {
        self.labels.push(u32::MAX);
        self.label_uses.push((name, position));
        self.labels.len() as u32 - 1
    }

    /// Declares the labels of the scope that `statements` begins, leaving out nested scopes.
    fn declare_labels(&mut self, statements: &[Statement<'a>]) -> Result<(), PtxError> {
        let mut depth = 0usize;
        for s in statements {
            match s {
                Statement::Open => depth += 1,
                Statement::Close if depth == 0 => break,
                Statement::Close => depth -= 1,
                Statement::Label(name, position) if depth == 0 => {
                    let id = self.new_label(name, *position);
                    self.scopes.define(name, Symbol::Label(id), *position)?;
                }
                Statement::BranchTargets {
                    label,
                    targets,
                    position,
                } if depth == 0 => {
                    self.scopes
                        .define(label, Symbol::Targets(targets.clone()), *position)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Prefers the innermost position outside the toolkit's headers.
    fn locate(&mut self, l: &crate::ptx::Location) {
        let toolkit = |file: u32| {
            self.context.source.files.iter().any(|f| {
                f.0 == file
                    && f.1.contains("/include/")
                    && (f.1.contains("nvidia") || f.1.contains("cuda"))
            })
        };
        if l.line != 0 && !toolkit(l.file) {
            self.location = (Some(l.file), l.line);
        } else if let Some((file, line)) = l.inlined_at
            && line != 0
            && !toolkit(file)
        {
            self.location = (Some(file), line);
        }
    }

    fn instruction(&mut self, i: &Instruction<'a>) -> Result<(), PtxError> {
        let text = i.full_name();
        let source = self.source_line(i.position, text);
        let guard = match &i.guard {
            Some(g) => {
                let mut p = self.predicate_named(g.name, i.position)?;
                p.negated ^= g.negated;
                Some(p)
            }
            None => None,
        };
        let mut m = Modifiers::new(i);
        let handled = self.control(i, &mut m, guard, source)?
            || self.memory(i, &mut m, guard, source)?
            || self.convert(i, &mut m, guard, source)?
            || self.arithmetic(i, &mut m, guard, source)?;
        if !handled {
            return Err(PtxError::at(
                i.position,
                format!("instruction '{}' is not supported", i.full_name()),
            ));
        }
        m.finish()
    }
}
