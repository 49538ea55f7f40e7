//! Running the program in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fastpix::images;

/// A folder in which the program runs; it vanishes with this value.
pub struct Sandbox {
    folder: tempfile::TempDir,
    /// Whether the program finds the emulator there as its CUDA driver.
    emulator: bool,
}

/// Settings of the emulator, by name.
pub type Settings<'a> = &'a [(&'a str, &'a str)];

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// The JSON object that was printed; the run must have succeeded and said nothing else.
    pub fn json(&self) -> serde_json::Value {
        self.succeeded();
        assert_eq!(self.out.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.out).expect("one JSON object")
    }

    /// Asserts success without complaints.
    pub fn succeeded(&self) {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
    }

    /// Asserts an error of exactly one line that holds all of these texts.
    pub fn failed_with(&self, texts: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(self.err.starts_with("error: "), "{self:?}");
        for text in texts {
            assert!(self.err.contains(text), "no {text:?} in {self:?}");
        }
    }
}

impl Sandbox {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            emulator: false,
        }
    }

    /// A folder with the emulator in it: the program finds a device named `Test` of compute
    /// capability 8.0, unless settings say otherwise, and whatever the emulator complains about
    /// is printed among the errors.
    pub fn with_emulator() -> Self {
        let mut sandbox = Self::new();
        sandbox.emulator = true;
        cuda_emulator::link_into(sandbox.folder.path()).expect("links to the emulator");
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that will run here, piped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fastpix-run"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.emulator {
            command
                .env("LD_LIBRARY_PATH", self.folder.path())
                .env("CUDA_EMULATOR_NAME", "Test")
                .env("CUDA_EMULATOR_CC", "8.0");
        }
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output();
        output.expect("the program can be run").into()
    }

    /// Runs the program to its end with these settings of the emulator.
    pub fn run_with(&self, settings: Settings<'_>, arguments: &[&str]) -> Ended {
        let settings = settings
            .iter()
            .map(|(name, value)| (format!("CUDA_EMULATOR_{name}"), value));
        let output = self.command(arguments).envs(settings).output();
        output.expect("the program can be run").into()
    }

    /// Names of what is in a folder here, hidden files included, in order.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(folder))
            .expect("a folder")
            .map(|entry| {
                let entry = entry.expect("an entry");
                entry.file_name().to_string_lossy().into_owned()
            })
            .collect();
        names.sort();
        names
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("a file")
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("a file can be written");
    }

    /// Writes an array of 8-bit images.
    pub fn write_u8(&self, name: &str, shape: [usize; 4], values: &[u8]) {
        let path = self.path(name);
        let mut writer = images::NpyWriter::create(&path, shape[0], &shape[1..]).expect("an array");
        writer.append(values).expect("elements");
        writer.finish().expect("a file");
    }

    /// Writes labels.
    pub fn write_labels(&self, name: &str, labels: &[i64]) {
        let bytes = npy(&[labels.len() as u64], labels);
        self.write(name, &bytes);
    }
}

/// An array in the `.npy` format.
pub fn npy<T: npyz::AutoSerialize + Copy>(shape: &[u64], elements: &[T]) -> Vec<u8> {
    use npyz::WriterBuilder;
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .shape(shape)
        .writer(&mut bytes)
        .begin_nd()
        .expect("a header");
    writer
        .extend(elements.iter().copied())
        .expect("as many elements as the shape has");
    writer.finish().expect("a whole array");
    bytes
}

/// Shape and elements of a `.npy` file.
pub fn read_npy<T: npyz::Deserialize>(path: &Path) -> (Vec<u64>, Vec<T>) {
    let file = std::fs::File::open(path).expect("a file");
    let array = npyz::NpyFile::new(std::io::BufReader::new(file)).expect("an array");
    let shape = array.shape().to_vec();
    (shape, array.into_vec().expect("elements"))
}

/// Numbers without a pattern that a model could know, the same every time.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}
