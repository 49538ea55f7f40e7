//! Faults of a kernel: what happened, where, and to which thread.

use std::fmt;

/// The checks, one for each kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// An address outside every allocation, variable or window.
    OutOfBounds,
    /// An address that is not a multiple of the access size.
    Misaligned,
    /// An address inside an allocation that was freed.
    UseAfterFree,
    /// A read of bytes that nothing has written.
    UninitialisedRead,
    /// A write to constant memory or a kernel parameter.
    ReadOnly,
    /// Unordered accesses to shared memory by threads of a block.
    SharedRace,
    /// Shared memory used while a `cp.async` into it has not been waited for.
    AsyncCopyRace,
    /// Unordered accesses to global memory by blocks of one launch.
    BlockRace,
    /// Unordered accesses to global memory by two launches.
    LaunchRace,
    /// A barrier reached by part of a block.
    DivergentBarrier,
    /// A `.sync` instruction whose named lanes cannot all arrive, or that names lanes wrongly.
    DivergentSync,
    /// The instruction budget of the launch ran out.
    InstructionBudget,
    /// The kernel executed `trap` or a failed assertion.
    Trap,
    /// The launch itself is invalid.
    Launch,
    /// Something the emulator does not model was reached while executing.
    Unsupported,
}

/// A fault found while a kernel ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which check found it.
    pub kind: FaultKind,
    /// The kernel's name.
    pub kernel: String,
    /// Source file, when the PTX carries `.loc` directives.
    pub file: Option<String>,
    /// Line in `file`, or in the PTX text when there is no `.loc`.
    pub line: u32,
    /// Line in the PTX text.
    pub ptx_line: u32,
    /// The instruction, as written.
    pub instruction: String,
    /// Block index.
    pub block: [u32; 3],
    /// Thread index within the block; absent when no single thread is at fault.
    pub thread: Option<[u32; 3]>,
    /// The address at fault, if the check concerns one.
    pub address: Option<u64>,
    /// What happened, in words.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in kernel {}", self.kind, self.kernel)?;
        if let Some(file) = &self.file {
            write!(f, ", {file}:{} (PTX line {})", self.line, self.ptx_line)?;
        } else {
            write!(f, ", PTX line {}", self.ptx_line)?;
        }
        if !self.instruction.is_empty() {
            write!(f, ", {}", self.instruction)?;
        }
        let [x, y, z] = self.block;
        write!(f, ", block ({x}, {y}, {z})")?;
        if let Some([x, y, z]) = self.thread {
            write!(f, ", thread ({x}, {y}, {z})")?;
        }
        if let Some(address) = self.address {
            write!(f, ", address {address:#x}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Fault {}

/// A fault before the instruction and the thread are attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub kind: FaultKind,
    /// Lane of the warp.
    pub lane: Option<u32>,
    pub address: Option<u64>,
    pub message: String,
}

impl Trouble {
    pub(crate) fn new(kind: FaultKind, message: impl Into<String>) -> Box<Self> {
        Box::new(Trouble {
            kind,
            lane: None,
            address: None,
            message: message.into(),
        })
    }

    pub(crate) fn lane(mut self: Box<Self>, lane: usize) -> Box<Self> {
        self.lane = Some(lane as u32);
        self
    }

    /// Names the lane unless one is named already.
    pub(crate) fn or_lane(mut self: Box<Self>, lane: usize) -> Box<Self> {
        self.lane.get_or_insert(lane as u32);
        self
    }

    pub(crate) fn address(mut self: Box<Self>, address: u64) -> Box<Self> {
        self.address = Some(address);
        self
    }
}
