//! A device with one corpus file loaded, and comparisons with the plain Rust that each test computes.

use bytemuck::{NoUninit, Pod};
use cuda_emulator::{DeviceConfig, Engine, Launch, LaunchOrder, Module};
use std::sync::Arc;

/// A loaded corpus file; every check is on.
pub struct Device {
    engine: Engine,
    module: Arc<Module>,
    label: String,
}

/// A launch's shape.
#[derive(Clone, Copy)]
pub struct Shape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
    pub cooperative: bool,
}

/// A plain launch in one dimension.
pub fn line(grid: u32, block: u32) -> Shape {
    Shape {
        grid: [grid, 1, 1],
        block: [block, 1, 1],
        shared: 0,
        cooperative: false,
    }
}

/// The bytes of an argument.
pub fn arg<T: NoUninit>(value: T) -> Vec<u8> {
    bytemuck::bytes_of(&value).to_vec()
}

/// Architectures that a corpus file is committed for, with the PTX.
pub fn committed(name: &str) -> Vec<(u32, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/ptx");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder of PTX") {
        let path = entry.expect("an entry").path();
        let file = path.file_name().expect("a name").to_string_lossy();
        let architecture = file
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(".compute_"))
            .and_then(|rest| rest.strip_suffix(".ptx"));
        if let Some(architecture) = architecture {
            let number = architecture.parse().expect("a compute capability");
            found.push((number, std::fs::read_to_string(&path).expect("PTX text")));
        }
    }
    assert!(
        found.len() >= 2,
        "{name}: only {} architectures",
        found.len()
    );
    found
}

/// Runs `test` on a corpus file at every committed architecture, with blocks and warps in their
/// natural order and in two shuffled ones.
pub fn each(name: &str, test: impl Fn(&Device)) {
    for (architecture, ptx) in committed(name) {
        for shuffle_seed in [None, Some(1), Some(0x9e37_79b9)] {
            let engine = Engine::new(DeviceConfig {
                compute_capability: (architecture / 10, architecture % 10),
                shuffle_seed,
                ..DeviceConfig::default()
            });
            let label = format!("{name}.compute_{architecture}, order {shuffle_seed:?}");
            let module = engine
                .load_module(&ptx)
                .unwrap_or_else(|error| panic!("{label}: {error}"));
            test(&Device {
                engine,
                module,
                label,
            });
        }
    }
}

impl Device {
    /// Whether the file holds that kernel: some need compute capability 8.0.
    pub fn has(&self, kernel: &str) -> bool {
        self.module.kernel(kernel).is_some()
    }

    /// Memory that holds `values`.
    pub fn put<T: NoUninit>(&self, values: &[T]) -> u64 {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let address = self.engine.alloc(bytes.len() as u64).expect("memory");
        self.engine.write(address, bytes).expect("a copy");
        address
    }

    /// Memory for `count` values that nothing has written.
    pub fn room<T>(&self, count: usize) -> u64 {
        let bytes = count * size_of::<T>();
        self.engine.alloc(bytes as u64).expect("memory")
    }

    /// What memory holds; all of it must have been written.
    pub fn get<T: Pod>(&self, address: u64, count: usize) -> Vec<T> {
        let mut bytes = vec![0; count * size_of::<T>()];
        let unwritten = self
            .engine
            .first_unwritten(address, bytes.len() as u64)
            .expect("a range");
        assert_eq!(unwritten, None, "{}: never written", self.label);
        self.engine.read(address, &mut bytes).expect("a copy");
        bytemuck::pod_collect_to_vec(&bytes)
    }

    /// The address of a variable of the module.
    pub fn variable(&self, name: &str) -> u64 {
        self.module.variable(name).expect("a variable").address
    }

    /// Runs a kernel, which no check may find a fault in.
    pub fn run(&self, kernel: &str, shape: Shape, arguments: &[Vec<u8>]) {
        let handle = self.module.kernel(kernel).expect("the kernel");
        let mut buffer = vec![0; handle.param_bytes() as usize];
        assert_eq!(handle.params().len(), arguments.len(), "{kernel}");
        for (param, bytes) in handle.params().iter().zip(arguments) {
            assert_eq!(param.size as usize, bytes.len(), "{kernel}");
            buffer[param.offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        let launch = Launch {
            grid: shape.grid,
            block: shape.block,
            shared_bytes: shape.shared,
            cooperative: shape.cooperative,
            order: LaunchOrder::Serial,
        };
        self.engine
            .launch(&handle, &launch, &buffer)
            .unwrap_or_else(|fault| panic!("{}: {fault}", self.label));
    }

    /// Fails with the first ten differences.
    pub fn equal<T: PartialEq + std::fmt::Debug>(&self, what: &str, found: &[T], expected: &[T]) {
        self.each_pair(what, found, expected, |a, b| a == b);
    }

    /// Fails with the first ten values for which not |found - expected| <= abs + rel |expected|.
    pub fn close(&self, what: &str, found: &[f64], expected: &[f64], abs: f64, rel: f64) {
        self.each_pair(what, found, expected, |a, b| {
            (a - b).abs() <= abs + rel * b.abs()
        });
    }

    /// Fails with the first ten values for which `holds` does not.
    pub fn all<T: std::fmt::Debug>(&self, what: &str, values: &[T], holds: impl Fn(&T) -> bool) {
        let faults: Vec<String> = (values.iter().enumerate())
            .filter(|(_, v)| !holds(v))
            .map(|(i, v)| format!("[{i}] {v:?}"))
            .collect();
        assert!(
            faults.is_empty(),
            "{}: {what}: {} of {} are wrong: {}",
            self.label,
            faults.len(),
            values.len(),
            faults[..faults.len().min(10)].join("; ")
        );
    }

    fn each_pair<T: std::fmt::Debug>(
        &self,
        what: &str,
        found: &[T],
        expected: &[T],
        agree: impl Fn(&T, &T) -> bool,
    ) {
        assert_eq!(found.len(), expected.len(), "{}: {what}", self.label);
        let pairs: Vec<(&T, &T)> = found.iter().zip(expected).collect();
        self.all(&format!("{what} (found, expected)"), &pairs, |(a, b)| {
            agree(a, b)
        });
    }
}

/// Repeatable test data: a linear congruential generator (the multiplier is Knuth's MMIX one).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Numbers(seed)
    }

    /// The next 32 bits.
    pub fn bits(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// `count` integers in `from..to`.
    pub fn integers(&mut self, count: usize, from: i32, to: i32) -> Vec<i32> {
        let span = (to - from) as u32;
        (0..count)
            .map(|_| from + (self.bits() % span) as i32)
            .collect()
    }

    /// `count` numbers in -scale..scale.
    pub fn floats(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count)
            .map(|_| (self.bits() as i32 as f32) / 2_147_483_648.0 * scale)
            .collect()
    }
}
