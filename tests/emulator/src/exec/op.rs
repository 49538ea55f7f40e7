//! The compact form that is executed: one operation per instruction kind and type.

use crate::counters::Class;
use crate::ptx::Space;

/// Threads in a warp.
pub(crate) const LANES: usize = 32;

/// One register of all lanes. Values narrower than 64 bits are zero-extended.
pub(crate) type Row = [u64; LANES];

/// Index of a register row.
pub(crate) type Slot = u32;

pub(crate) type F1 = Box<dyn Fn(&mut Row, &Row) + Send + Sync>;
pub(crate) type F2 = Box<dyn Fn(&mut Row, &Row, &Row) + Send + Sync>;
pub(crate) type F3 = Box<dyn Fn(&mut Row, &Row, &Row, &Row) + Send + Sync>;
pub(crate) type F4 = Box<dyn Fn(&mut Row, &Row, &Row, &Row, &Row) + Send + Sync>;
/// A comparison of two rows; bit i tells about lane i.
pub(crate) type Test2 = Box<dyn Fn(&Row, &Row) -> u32 + Send + Sync>;
pub(crate) type Test1 = Box<dyn Fn(&Row) -> u32 + Send + Sync>;
/// A new value of memory from the old one and up to two operands.
pub(crate) type Modify = Box<dyn Fn(u64, u64, u64) -> u64 + Send + Sync>;

/// Lifts a function of one lane to a row.
pub(crate) fn lift1(f: impl Fn(u64) -> u64 + Send + Sync + 'static) -> F1 {
    Box::new(move |d, a| {
        for i in 0..LANES {
            d[i] = f(a[i]);
        }
    })
}

/// Lifts a function of one lane to rows.
pub(crate) fn lift2(f: impl Fn(u64, u64) -> u64 + Send + Sync + 'static) -> F2 {
    Box::new(move |d, a, b| {
        for i in 0..LANES {
            d[i] = f(a[i], b[i]);
        }
    })
}

/// Lifts a function of one lane to rows.
pub(crate) fn lift3(f: impl Fn(u64, u64, u64) -> u64 + Send + Sync + 'static) -> F3 {
    Box::new(move |d, a, b, c| {
        for i in 0..LANES {
            d[i] = f(a[i], b[i], c[i]);
        }
    })
}

/// Lifts a function of one lane to rows.
pub(crate) fn lift4(f: impl Fn(u64, u64, u64, u64) -> u64 + Send + Sync + 'static) -> F4 {
    Box::new(move |d, a, b, c, e| {
        for i in 0..LANES {
            d[i] = f(a[i], b[i], c[i], e[i]);
        }
    })
}

/// Lifts a predicate of one lane to rows.
pub(crate) fn test2(f: impl Fn(u64, u64) -> bool + Send + Sync + 'static) -> Test2 {
    Box::new(move |a, b| {
        let mut bits = 0;
        for i in 0..LANES {
            bits |= u32::from(f(a[i], b[i])) << i;
        }
        bits
    })
}

/// How `setp` and `set` join a comparison with a predicate.
pub(crate) type Combine = Option<(fn(u32, u32) -> u32, PredicateUse)>;

/// A predicate register as an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PredicateUse {
    pub slot: Slot,
    pub negated: bool,
}

/// How memory is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub space: Space,
    /// Bytes of one element.
    pub element: u32,
    /// Elements of a vector access.
    pub count: u32,
    /// Volatile, relaxed, acquire, release or atomic: does not race with its like.
    pub strong: bool,
    pub acquire: bool,
    pub release: bool,
    /// Declares the target written by nobody during the launch (`ld.global.nc`).
    pub constant: bool,
}

impl Access {
    pub(crate) fn bytes(&self) -> u32 {
        self.element * self.count
    }
}

/// An address operand: a register (or a constant row) plus an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub base: Slot,
    pub offset: i64,
}

/// Modes of `shfl.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// Modes of `vote.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// What a block barrier does besides synchronising.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarrierKind {
    Sync,
    Arrive,
    /// Counts the threads whose predicate holds.
    Count {
        d: Slot,
        p: PredicateUse,
    },
    And {
        d: Slot,
        p: PredicateUse,
    },
    Or {
        d: Slot,
        p: PredicateUse,
    },
}

/// Operand formats of `mma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatrixFormat {
    F16,
    Bf16,
    Tf32,
}

/// A `mma.sync` of 16 x 8 results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mma {
    pub format: MatrixFormat,
    /// Depth of the product: 4, 8 or 16.
    pub depth: usize,
    /// Accumulators are f16 pairs instead of f32.
    pub half_in: bool,
    pub half_out: bool,
    pub d: Vec<Slot>,
    pub a: Vec<Slot>,
    pub b: Vec<Slot>,
    pub c: Vec<Slot>,
}

/// Kinds of carry arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CarryKind {
    Add,
    Sub,
    MadLow,
    MadHigh,
}

/// Registers that only exist while executing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dynamic {
    Clock,
    ActiveMask,
}

/// What an instruction does.
pub(crate) enum Op {
    Unary {
        f: F1,
        d: Slot,
        a: Slot,
    },
    Binary {
        f: F2,
        d: Slot,
        a: Slot,
        b: Slot,
    },
    Ternary {
        f: F3,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    Quaternary {
        f: F4,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
        e: Slot,
    },
    Copy {
        d: Slot,
        a: Slot,
    },
    /// `setp`: p = (a cmp b) op c, q = !(a cmp b) op c.
    Compare {
        test: Test2,
        combine: Combine,
        p: Option<Slot>,
        q: Option<Slot>,
        a: Slot,
        b: Slot,
    },
    /// `setp.f16x2`: one predicate for each half.
    ComparePair {
        low: Test2,
        high: Test2,
        combine: Combine,
        p: Option<Slot>,
        q: Option<Slot>,
        a: Slot,
        b: Slot,
    },
    /// `set`: all ones or 1.0 where the comparison holds.
    Set {
        test: Test2,
        combine: Combine,
        d: Slot,
        yes: u64,
        a: Slot,
        b: Slot,
    },
    Test {
        f: Test1,
        p: Slot,
        a: Slot,
    },
    Select {
        d: Slot,
        a: Slot,
        b: Slot,
        p: PredicateUse,
    },
    Logic {
        f: fn(u32, u32) -> u32,
        d: Slot,
        a: PredicateUse,
        b: PredicateUse,
    },
    Carry {
        kind: CarryKind,
        bits: u32,
        signed: bool,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
        /// Predicate slot of the carry flag.
        flag: Slot,
        takes: bool,
        gives: bool,
    },
    /// `mov` of a vector into a scalar, lowest part first.
    Pack {
        d: Slot,
        parts: Vec<Slot>,
        bits: u32,
    },
    Unpack {
        parts: Vec<Option<Slot>>,
        bits: u32,
        a: Slot,
    },
    Read {
        what: Dynamic,
        d: Slot,
    },
    Load {
        access: Access,
        at: Address,
        d: Vec<Option<Slot>>,
        signed: bool,
        width: u32,
    },
    Store {
        access: Access,
        at: Address,
        a: Vec<Slot>,
    },
    Atomic {
        access: Access,
        at: Address,
        f: Modify,
        /// An addition of f32, which takes subnormals as zero in global memory.
        flushes: bool,
        d: Option<Slot>,
        b: Slot,
        c: Slot,
    },
    /// Makes part of a function's frame unwritten.
    Forget {
        offset: u32,
        bytes: u32,
    },
    Fence {
        device: bool,
    },
    Branch {
        target: u32,
    },
    BranchIndexed {
        index: Slot,
        targets: Vec<u32>,
    },
    Exit,
    Trap {
        message: String,
    },
    /// `vprintf`: format, arguments, result.
    Print {
        format: Slot,
        arguments: Slot,
        d: Option<Slot>,
    },
    Barrier {
        kind: BarrierKind,
        id: Slot,
        count: Option<Slot>,
    },
    WarpBarrier {
        mask: Slot,
    },
    Shuffle {
        mode: Shuffle,
        d: Slot,
        p: Option<Slot>,
        a: Slot,
        b: Slot,
        c: Slot,
        mask: Slot,
    },
    Vote {
        mode: Vote,
        d: Slot,
        p: PredicateUse,
        mask: Slot,
    },
    Match {
        all: bool,
        d: Slot,
        p: Option<Slot>,
        a: Slot,
        mask: Slot,
    },
    Reduce {
        f: fn(u32, u32) -> u32,
        d: Slot,
        a: Slot,
        mask: Slot,
    },
    Elect {
        d: Option<Slot>,
        p: Slot,
        mask: Slot,
    },
    Matrix(Box<Mma>),
    LoadMatrix {
        at: Address,
        d: Vec<Slot>,
        transpose: bool,
    },
    AsyncCopy {
        to: Address,
        from: Address,
        bytes: u32,
        source: Option<Slot>,
        space: Space,
    },
    AsyncCommit,
    /// Waits until at most this many groups are pending; `None` waits for every copy.
    AsyncWait {
        pending: Option<u32>,
    },
    /// Hints without effect on results: `prefetch`, `griddepcontrol`, `nanosleep`.
    Hint {
        spins: bool,
    },
}

/// An instruction ready to execute.
pub(crate) struct Instr {
    pub guard: Option<PredicateUse>,
    pub op: Op,
    pub class: Class,
    /// Index into the kernel's source lines.
    pub source: u32,
    /// A jump that only exists because blocks were reordered; it is not counted.
    pub synthetic: bool,
}

/// Values that exist before the first instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Constant(u64),
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    WarpCount,
    SmId,
    SmCount,
    GridId,
    LaneMaskEq,
    LaneMaskLt,
    LaneMaskLe,
    LaneMaskGt,
    LaneMaskGe,
    DynamicShared,
    TotalShared,
}

/// Where an instruction came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceLine {
    /// Index into the module's files, if `.loc` told.
    pub file: Option<u32>,
    pub line: u32,
    pub ptx_line: u32,
    pub text: String,
}

/// A kernel ready to execute.
pub(crate) struct Code {
    pub instructions: Vec<Instr>,
    pub sources: Vec<SourceLine>,
    pub files: Vec<(u32, String)>,
    pub slots: u32,
    pub predicates: u32,
    pub specials: Vec<(Slot, Special)>,
    pub local_bytes: u32,
    /// Static shared variables: offset, size, name.
    pub shared: Vec<(u32, u32, String)>,
    /// Bytes of static shared variables, without the gaps between them.
    pub static_shared: u32,
    /// Where dynamic shared memory begins.
    pub dynamic_shared: u32,
    /// Blocks can neither observe each other nor depend on their order.
    pub parallel: bool,
}
