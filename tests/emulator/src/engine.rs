//! The device: memory, modules and launches.

use crate::check::clock::{LaunchClock, LaunchOrder, LaunchTable};
use crate::check::{Fault, FaultKind};
use crate::config::DeviceConfig;
use crate::counters::{Counters, KernelCounters};
use crate::decode::{Context, Decoded, Param, Placed, WORKSPACE, decode};
use crate::exec::{LaunchState, run_grid};
use crate::memory::{AccessKind, AllocationInfo, GlobalActor, GlobalMemory, MemoryError};
use crate::ptx::{Initial, Position, PtxError, Source, Space, Variable, parse};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// A module variable in device memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleVariable {
    /// Device address.
    pub address: u64,
    /// Bytes.
    pub bytes: u64,
    /// Declared `.const`.
    pub constant: bool,
}

/// Loaded PTX.
pub struct Module {
    kernels: BTreeMap<String, KernelHandle>,
    variables: BTreeMap<String, ModuleVariable>,
}

impl Module {
    /// The kernel of that name.
    pub fn kernel(&self, name: &str) -> Option<KernelHandle> {
        self.kernels.get(name).cloned()
    }

    /// All kernels.
    pub fn kernels(&self) -> impl Iterator<Item = &KernelHandle> {
        self.kernels.values()
    }

    /// The global or constant variable of that name.
    pub fn variable(&self, name: &str) -> Option<&ModuleVariable> {
        self.variables.get(name)
    }

    /// All global and constant variables.
    pub fn variables(&self) -> impl Iterator<Item = (&String, &ModuleVariable)> {
        self.variables.iter()
    }
}

struct Kernel {
    name: String,
    decoded: Decoded,
    required: Option<[u32; 3]>,
    max_threads: Option<[u32; 3]>,
}

/// A kernel that can be launched.
#[derive(Clone)]
pub struct KernelHandle(Arc<Kernel>);

impl KernelHandle {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }
    /// Its parameters in order.
    pub fn params(&self) -> &[Param] {
        &self.0.decoded.params
    }
    /// Bytes of all parameters together.
    pub fn param_bytes(&self) -> u32 {
        self.params().last().map_or(0, |p| p.offset + p.size)
    }
    /// Static shared memory in bytes.
    pub fn static_shared(&self) -> u32 {
        self.0.decoded.static_shared
    }
    /// Local memory per thread in bytes.
    pub fn local_bytes(&self) -> u32 {
        self.0.decoded.code.local_bytes
    }
    /// 32-bit registers that the PTX declares, before any allocation.
    pub fn registers(&self) -> u32 {
        self.0.decoded.registers
    }
    /// `.reqntid`.
    pub fn required_threads(&self) -> Option<[u32; 3]> {
        self.0.required
    }
    /// `.maxntid`.
    pub fn max_threads(&self) -> Option<[u32; 3]> {
        self.0.max_threads
    }
}

/// A launch configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// All blocks are resident together.
    pub cooperative: bool,
    /// Where the launch stands among others.
    pub order: LaunchOrder,
}

/// A device.
pub struct Engine {
    config: DeviceConfig,
    memory: GlobalMemory,
    table: Arc<LaunchTable>,
    operations: AtomicU64,
    counters: Mutex<Counters>,
}

impl Engine {
    /// A device with empty memory.
    pub fn new(config: DeviceConfig) -> Self {
        Engine {
            memory: GlobalMemory::new(config.memory_bytes),
            config,
            table: Arc::default(),
            operations: AtomicU64::new(0),
            counters: Mutex::default(),
        }
    }

    /// What was asked for at creation.
    pub fn config(&self) -> &DeviceConfig {
        &self.config
    }

    /// Allocates device memory; the address is a multiple of 512.
    ///
    /// # Errors
    /// Too little device or host memory, or no bytes.
    pub fn alloc(&self, bytes: u64) -> Result<u64, MemoryError> {
        self.memory.alloc(bytes, None, false)
    }

    /// Frees an allocation; its addresses are never used again.
    ///
    /// # Errors
    /// Not the start of a live allocation.
    pub fn free(&self, address: u64) -> Result<(), MemoryError> {
        self.memory.free(address)
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// The range is not inside one allocation.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        self.memory.write(address, data)
    }

    /// Reads bytes, also ones that were never written (they are zero).
    ///
    /// # Errors
    /// The range is not inside one allocation.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read(address, out)
    }

    /// The first address of a range that nothing has written.
    ///
    /// # Errors
    /// The range is not inside one allocation.
    pub fn first_unwritten(&self, address: u64, bytes: u64) -> Result<Option<u64>, MemoryError> {
        self.memory.first_unwritten(address, bytes)
    }

    /// Writes `pattern` `count` times.
    ///
    /// # Errors
    /// The range is not inside one allocation.
    pub fn fill(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), MemoryError> {
        self.memory.fill(address, pattern, count)
    }

    /// Copies within the device; bytes never written stay so.
    ///
    /// # Errors
    /// A range is not inside one allocation.
    pub fn copy(&self, to: u64, from: u64, bytes: u64) -> Result<(), MemoryError> {
        self.memory.copy(to, from, bytes)
    }

    /// Checks and notes an access by a copy or fill that is ordered as `order` says.
    ///
    /// # Errors
    /// The range is not inside one allocation, or the access races with an earlier operation.
    pub fn note_access(
        &self,
        address: u64,
        bytes: u64,
        kind: AccessKind,
        order: &LaunchOrder,
    ) -> Result<(), MemoryError> {
        let clock = self.clock(order);
        let actor = GlobalActor {
            launch: &clock,
            block: 0,
            clock: 1,
            clocks: None,
            parallel: false,
            check_blocks: false,
            check_launches: self.config.checks.launch_races,
        };
        self.memory.note(address, bytes, kind, &actor)
    }

    /// Free and total bytes.
    pub fn memory_info(&self) -> (u64, u64) {
        self.memory.info()
    }

    /// Every live allocation, module variables among them.
    pub fn live_allocations(&self) -> Vec<AllocationInfo> {
        self.memory.live()
    }

    fn clock(&self, order: &LaunchOrder) -> LaunchClock {
        let id = self.operations.fetch_add(1, Relaxed);
        LaunchClock::new(
            crate::memory::launch_number(id),
            order.clone(),
            self.table.clone(),
        )
    }

    /// Loads PTX: places its variables and decodes its kernels.
    ///
    /// # Errors
    /// Names the line and instruction that is wrong or not supported.
    pub fn load_module(&self, ptx: &str) -> Result<Arc<Module>, PtxError> {
        let source = parse(ptx)?;
        self.check_target(&source)?;
        let mut variables = BTreeMap::new();
        let result = self.build(&source, &mut variables);
        if result.is_err() {
            for v in variables.values() {
                // Placed just now, so freeing cannot fail.
                let _ = self.memory.free(v.address);
            }
        }
        result.map(|kernels| {
            variables.remove(WORKSPACE);
            Arc::new(Module { kernels, variables })
        })
    }

    /// Frees a module's variables.
    ///
    /// # Errors
    /// It was unloaded before.
    pub fn unload_module(&self, module: &Module) -> Result<(), MemoryError> {
        module
            .variables
            .values()
            .try_for_each(|v| self.memory.free(v.address))
    }

    fn check_target(&self, source: &Source) -> Result<(), PtxError> {
        let digits: String = source
            .target
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        let (major, minor) = self.config.compute_capability;
        match digits.parse::<u32>() {
            Ok(target) if target <= major * 10 + minor => Ok(()),
            Ok(_) => Err(PtxError {
                position: Position { line: 1, column: 1 },
                message: format!(
                    "PTX for {} does not run on a device of compute capability {major}.{minor}",
                    source.target
                ),
            }),
            Err(_) => Err(PtxError {
                position: Position { line: 1, column: 1 },
                message: format!(
                    "expected a .target such as sm_75, found '{}'",
                    source.target
                ),
            }),
        }
    }

    fn build(
        &self,
        source: &Source,
        variables: &mut BTreeMap<String, ModuleVariable>,
    ) -> Result<BTreeMap<String, KernelHandle>, PtxError> {
        let mut placed = HashMap::new();
        let declared: Vec<&Variable> = source
            .variables
            .iter()
            .filter(|v| matches!(v.space, Space::Global | Space::Const))
            .collect();
        let mut place = |name: &str, bytes: u64, constant: bool, at: Position| {
            let address = self
                .memory
                .alloc(bytes.max(1), Some(name), constant)
                .map_err(|e| PtxError {
                    position: at,
                    message: format!("variable '{name}': {e}"),
                })?;
            let space = if constant {
                Space::Const
            } else {
                Space::Global
            };
            let variable = ModuleVariable {
                address,
                bytes,
                constant,
            };
            if variables.insert(name.to_string(), variable).is_some() {
                let message = format!("variable '{name}' is declared twice");
                return Err(PtxError {
                    position: at,
                    message,
                });
            }
            placed.insert(name.to_string(), Placed { address, space });
            Ok(address)
        };
        for v in &declared {
            place(v.name, v.size, v.space == Space::Const, v.position)?;
        }
        if declared.iter().all(|v| v.name != WORKSPACE) && source_uses_workspace(source) {
            let address = place(WORKSPACE, 512, false, Position::default())?;
            let _ = self.memory.fill(address, &[0], 512);
        }
        for v in declared {
            let address = placed[v.name].address;
            let bytes = initial_bytes(v, &placed)?;
            self.memory
                .fill(address, &[0], v.size)
                .and_then(|()| self.memory.write(address, &bytes))
                .map_err(|e| PtxError {
                    position: v.position,
                    message: format!("variable '{}': {e}", v.name),
                })?;
        }
        let context = Context {
            source,
            variables: &placed,
            perturb: self.config.perturb_approx,
        };
        let mut kernels = BTreeMap::new();
        for f in source
            .functions
            .iter()
            .filter(|f| f.entry && f.body.is_some())
        {
            let kernel = Kernel {
                name: f.name.to_string(),
                decoded: decode(&context, f)?,
                required: f.required_threads,
                max_threads: f.max_threads,
            };
            kernels.insert(f.name.to_string(), KernelHandle(Arc::new(kernel)));
        }
        Ok(kernels)
    }

    /// Runs a kernel to its end. `params` is the parameter buffer, laid out as
    /// [`KernelHandle::params`] says.
    ///
    /// # Errors
    /// What a check found; memory is left as the kernel left it.
    pub fn launch(
        &self,
        kernel: &KernelHandle,
        launch: &Launch,
        params: &[u8],
    ) -> Result<(), Fault> {
        let invalid = |message: String| {
            Err(Fault {
                kind: FaultKind::Launch,
                kernel: kernel.name().to_string(),
                file: None,
                line: 0,
                ptx_line: 0,
                instruction: String::new(),
                block: [0; 3],
                thread: None,
                address: None,
                message,
            })
        };
        let threads = launch
            .block
            .iter()
            .try_fold(1u32, |n, &b| n.checked_mul(b))
            .unwrap_or(0);
        if threads == 0 || threads > self.config.max_threads_per_block.min(2048) {
            return invalid(format!(
                "a block of {:?} threads; at most {} are allowed",
                launch.block, self.config.max_threads_per_block
            ));
        }
        if launch.grid.contains(&0) || launch.grid[1] > 65535 || launch.grid[2] > 65535 {
            return invalid(format!("a grid of {:?} blocks", launch.grid));
        }
        if params.len() < kernel.param_bytes() as usize {
            return invalid(format!(
                "{} bytes of parameters, expected {}",
                params.len(),
                kernel.param_bytes()
            ));
        }
        let shared = u64::from(kernel.static_shared()) + u64::from(launch.shared_bytes);
        if shared > u64::from(self.config.shared_per_block_optin) {
            return invalid(format!(
                "{shared} bytes of shared memory; at most {} are allowed",
                self.config.shared_per_block_optin
            ));
        }
        let per_sm = self.blocks_per_sm(threads, shared as u32);
        let resident = u64::from(per_sm) * u64::from(self.config.sm_count);
        let code = &kernel.0.decoded.code;
        let mut buffer = params.to_vec();
        // A last word may be read whole.
        buffer.extend([0; 4]);
        let state = LaunchState {
            name: kernel.name(),
            code,
            config: &self.config,
            memory: &self.memory,
            snapshot: self.memory.snapshot(),
            params: buffer,
            grid: launch.grid,
            block: launch.block,
            dynamic_shared: launch.shared_bytes,
            order: self.clock(&launch.order),
            parallel: code.parallel && !launch.cooperative,
            resident,
            budget: AtomicU64::new(0),
        };
        if launch.cooperative && state.blocks() > resident {
            return invalid(format!(
                "a cooperative launch of {} blocks; {resident} can be resident",
                state.blocks()
            ));
        }
        let (tally, result) = run_grid(&state);
        let mut counters = self.counters.lock().unwrap_or_else(|e| e.into_inner());
        let entry = counters
            .kernels
            .entry(kernel.name().to_string())
            .or_insert_with(|| KernelCounters {
                registers_declared: kernel.registers(),
                static_shared_bytes: kernel.static_shared(),
                local_bytes: kernel.local_bytes(),
                ..KernelCounters::default()
            });
        entry.add(&tally, state.blocks(), launch.shared_bytes);
        result.map_err(|f| *f)
    }

    /// Blocks of `threads` threads and `shared` bytes that fit one multiprocessor.
    pub fn blocks_per_sm(&self, threads: u32, shared: u32) -> u32 {
        let by_threads = self.config.max_threads_per_sm / threads.next_multiple_of(32).max(32);
        let by_shared = self
            .config
            .shared_per_sm
            .checked_div(shared)
            .unwrap_or(u32::MAX);
        by_threads.min(by_shared).min(self.config.max_blocks_per_sm)
    }

    /// Counts a copy over the bus.
    pub(crate) fn count_copy(&self, to_device: bool, bytes: usize) {
        let mut counters = self.counters.lock().unwrap_or_else(|e| e.into_inner());
        match to_device {
            true => counters.to_device.add(bytes),
            false => counters.to_host.add(bytes),
        }
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.counters
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone()
    }

    /// Forgets all counts.
    pub fn reset_counters(&self) {
        *self.counters.lock().unwrap_or_else(|e| e.into_inner()) = Counters::default();
    }
}

fn source_uses_workspace(source: &Source) -> bool {
    source
        .functions
        .iter()
        .flat_map(|f| f.body.iter().flatten())
        .any(|s| {
            matches!(s, crate::ptx::Statement::Instruction(i)
            if i.operands.contains(&crate::ptx::Operand::Name("%envreg2")))
        })
}

fn initial_bytes(v: &Variable, placed: &HashMap<String, Placed>) -> Result<Vec<u8>, PtxError> {
    let width = v.ty.bytes().min(8) as usize;
    let mut bytes = Vec::new();
    for value in &v.initial {
        let bits = match value {
            Initial::Int(x) if v.ty.is_float() && width == 4 => {
                u64::from((*x as i64 as f32).to_bits())
            }
            Initial::Int(x) if v.ty.is_float() && width == 8 => (*x as i64 as f64).to_bits(),
            Initial::Int(x) => *x,
            Initial::F32(x) if width == 8 => f64::from(f32::from_bits(*x)).to_bits(),
            Initial::F32(x) => u64::from(*x),
            Initial::F64(x) if width == 4 => u64::from((f64::from_bits(*x) as f32).to_bits()),
            Initial::F64(x) => *x,
            Initial::Address(name, offset) => match placed.get(*name) {
                Some(p) => p.address.wrapping_add(*offset as u64),
                None => {
                    return Err(PtxError {
                        position: v.position,
                        message: format!("'{name}' in the value of '{}' is not defined", v.name),
                    });
                }
            },
        };
        bytes.extend_from_slice(&bits.to_le_bytes()[..width]);
    }
    if bytes.len() as u64 > v.size {
        return Err(PtxError {
            position: v.position,
            message: format!("'{}' has more values than elements", v.name),
        });
    }
    Ok(bytes)
}
