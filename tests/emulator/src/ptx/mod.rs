//! The PTX front end: text to syntax tree.
//!
//! Follows the PTX ISA reference, versions 6.3 to 9.x, as far as `nvcc` uses it. Names borrow
//! from the text.

mod body;
mod cursor;
mod lexer;
mod parser;
mod variables;

use std::fmt;

pub(crate) use parser::parse;

/// Scopes and initialisers may nest `{ }` this deep; far beyond what compilers emit.
const MAX_NESTING: usize = 256;

/// A place in PTX text, both counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Line in the PTX text.
    pub line: u32,
    /// Column in bytes.
    pub column: u32,
}

/// Text that is not PTX this emulator can run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {}, column {}: {message}", position.line, position.column)]
pub struct PtxError {
    /// Where the trouble is.
    pub position: Position,
    /// What was expected and what was found; names the instruction.
    pub message: String,
}

impl PtxError {
    pub(crate) fn at(position: Position, message: impl Into<String>) -> Self {
        PtxError {
            position,
            message: message.into(),
        }
    }
}

/// State spaces of variables and memory instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Space {
    Generic,
    Global,
    Shared,
    Local,
    Const,
    Param,
}

impl Space {
    pub(crate) fn from_name(name: &str) -> Option<Space> {
        Some(match name {
            "global" => Space::Global,
            "shared" | "shared::cta" => Space::Shared,
            "local" => Space::Local,
            "const" => Space::Const,
            "param" | "param::entry" | "param::func" => Space::Param,
            _ => return None,
        })
    }
}

/// How the bits of a scalar type are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Pred,
    Bits,
    Unsigned,
    Signed,
    Float,
    BFloat,
    Tf32,
    /// Two values of half the width.
    PackedFloat,
    PackedBFloat,
    PackedUnsigned,
    PackedSigned,
}

/// A scalar (or packed) type: how its bits are read, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Type {
    pub kind: Kind,
    pub bits: u32,
}

impl Type {
    pub(crate) const B32: Type = Type {
        kind: Kind::Bits,
        bits: 32,
    };
    pub(crate) const B64: Type = Type {
        kind: Kind::Bits,
        bits: 64,
    };
    pub(crate) const U32: Type = Type {
        kind: Kind::Unsigned,
        bits: 32,
    };
    pub(crate) const S32: Type = Type {
        kind: Kind::Signed,
        bits: 32,
    };
    pub(crate) const F16: Type = Type {
        kind: Kind::Float,
        bits: 16,
    };
    pub(crate) const BF16: Type = Type {
        kind: Kind::BFloat,
        bits: 16,
    };
    pub(crate) const F32: Type = Type {
        kind: Kind::Float,
        bits: 32,
    };
    pub(crate) const F64: Type = Type {
        kind: Kind::Float,
        bits: 64,
    };

    pub(crate) fn from_name(name: &str) -> Option<Type> {
        let t = |kind, bits| Some(Type { kind, bits });
        match name {
            "pred" => t(Kind::Pred, 1),
            "f16" => t(Kind::Float, 16),
            "f32" => t(Kind::Float, 32),
            "f64" => t(Kind::Float, 64),
            "bf16" => t(Kind::BFloat, 16),
            "tf32" => t(Kind::Tf32, 32),
            "f16x2" => t(Kind::PackedFloat, 32),
            "bf16x2" => t(Kind::PackedBFloat, 32),
            "u16x2" => t(Kind::PackedUnsigned, 32),
            "s16x2" => t(Kind::PackedSigned, 32),
            _ => {
                let (kind, bits) = name.split_at_checked(1)?;
                let kind = match kind {
                    "b" => Kind::Bits,
                    "u" => Kind::Unsigned,
                    "s" => Kind::Signed,
                    _ => return None,
                };
                match bits {
                    "8" => t(kind, 8),
                    "16" => t(kind, 16),
                    "32" => t(kind, 32),
                    "64" => t(kind, 64),
                    "128" => t(kind, 128),
                    _ => None,
                }
            }
        }
    }

    pub(crate) fn bytes(self) -> u32 {
        self.bits.div_ceil(8)
    }

    pub(crate) fn is_signed(self) -> bool {
        self.kind == Kind::Signed
    }

    pub(crate) fn is_integer(self) -> bool {
        matches!(self.kind, Kind::Unsigned | Kind::Signed)
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self.kind, Kind::Float | Kind::BFloat | Kind::Tf32)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Pred => write!(f, ".pred"),
            Kind::Bits => write!(f, ".b{}", self.bits),
            Kind::Unsigned => write!(f, ".u{}", self.bits),
            Kind::Signed => write!(f, ".s{}", self.bits),
            Kind::Float => write!(f, ".f{}", self.bits),
            Kind::BFloat => write!(f, ".bf16"),
            Kind::Tf32 => write!(f, ".tf32"),
            Kind::PackedFloat => write!(f, ".f16x2"),
            Kind::PackedBFloat => write!(f, ".bf16x2"),
            Kind::PackedUnsigned => write!(f, ".u16x2"),
            Kind::PackedSigned => write!(f, ".s16x2"),
        }
    }
}

/// One value of a variable's initialiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Initial<'a> {
    Int(u64),
    F32(u32),
    F64(u64),
    /// The address of a variable plus a byte offset.
    Address(&'a str, i64),
}

/// A variable in any space, or a formal parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Variable<'a> {
    pub name: &'a str,
    pub space: Space,
    pub ty: Type,
    /// Bytes; zero for an unsized `extern` array.
    pub size: u64,
    pub align: u64,
    pub external: bool,
    /// Declared `.reg`: a register parameter of the older calling form.
    pub register: bool,
    pub initial: Vec<Initial<'a>>,
    pub position: Position,
}

/// An instruction operand.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand<'a> {
    /// A register, variable, label or function.
    Name(&'a str),
    /// `%tid.x`.
    Component(&'a str, &'a str),
    /// Two's complement.
    Int(u64),
    F32(u32),
    F64(u64),
    /// `{a, b}`.
    Vector(Vec<Operand<'a>>),
    /// `[name + offset]`; no name for an absolute address.
    Address(Option<&'a str>, i64),
    /// `!%p`.
    Not(&'a str),
    /// `%p|%q`.
    Pair(Box<[Operand<'a>; 2]>),
    /// `variable + offset` outside brackets.
    Sum(&'a str, i64),
    /// `(a, b)`, as in `call`.
    List(Vec<Operand<'a>>),
    /// `_`.
    Sink,
}

/// The guard `@p` or `@!p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Guard<'a> {
    pub name: &'a str,
    pub negated: bool,
}

/// An instruction as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Instruction<'a> {
    pub guard: Option<Guard<'a>>,
    pub opcode: &'a str,
    pub modifiers: Vec<&'a str>,
    pub operands: Vec<Operand<'a>>,
    pub position: Position,
}

impl Instruction<'_> {
    /// The opcode with all its modifiers, as written.
    pub(crate) fn full_name(&self) -> String {
        let mut name = self.opcode.to_string();
        for m in &self.modifiers {
            name.push('.');
            name.push_str(m);
        }
        name
    }
}

/// A `.loc` directive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Location {
    pub file: u32,
    pub line: u32,
    /// File and line of the call when the instruction was inlined.
    pub inlined_at: Option<(u32, u32)>,
}

/// What a function body is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Statement<'a> {
    /// `.reg .type name` or `.reg .type name<count>`.
    Register {
        name: &'a str,
        ty: Type,
        count: Option<u32>,
        position: Position,
    },
    Variable(Variable<'a>),
    Label(&'a str, Position),
    Instruction(Instruction<'a>),
    Location(Location),
    /// `label: .branchtargets a, b;`
    BranchTargets {
        label: &'a str,
        targets: Vec<&'a str>,
        position: Position,
    },
    Open,
    Close,
}

/// A kernel or device function.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Function<'a> {
    pub name: &'a str,
    pub entry: bool,
    pub returns: Vec<Variable<'a>>,
    pub parameters: Vec<Variable<'a>>,
    pub body: Option<Vec<Statement<'a>>>,
    pub required_threads: Option<[u32; 3]>,
    pub max_threads: Option<[u32; 3]>,
    pub max_registers: Option<u32>,
    pub position: Position,
}

/// A whole PTX file.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Source<'a> {
    pub target: &'a str,
    pub variables: Vec<Variable<'a>>,
    pub functions: Vec<Function<'a>>,
    /// `.file` directives: number and path.
    pub files: Vec<(u32, &'a str)>,
}
