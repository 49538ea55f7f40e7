//! Modules: PTX text becomes variables in device memory and decoded kernels.

use crate::Engine;
use crate::decode::{Context, Decoded, Param, Placed, WORKSPACE, decode};
use crate::exec::op::Code;
use crate::memory::MemoryError;
use crate::ptx::{Initial, Position, PtxError, Source, Space, Variable, parse};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

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
    max_registers: Option<u32>,
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
        self.0.decoded.code.static_shared
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
    /// `.maxnreg`.
    pub fn max_registers(&self) -> Option<u32> {
        self.0.max_registers
    }
    pub(crate) fn code(&self) -> &Code {
        &self.0.decoded.code
    }
    /// `.maxntid`.
    pub fn max_threads(&self) -> Option<[u32; 3]> {
        self.0.max_threads
    }
}

impl Engine {
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
                max_registers: f.max_registers,
            };
            kernels.insert(f.name.to_string(), KernelHandle(Arc::new(kernel)));
        }
        Ok(kernels)
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
