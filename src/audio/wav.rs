//! WAV files of one channel.

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hound::{SampleFormat, WavReader, WavSpec};

use super::AudioError;
use crate::atomic_file::AtomicFile;

/// Bits of a sample that is written.
const BITS: u16 = 16;
/// What sample 1 would be as 16 bits.
const SCALE: f32 = 32768.0;
/// The most samples that the 32-bit lengths of a WAV file can state.
const MOST_SAMPLES: u64 = (u32::MAX as u64 - 1024) / 2;
/// The highest rate that is written.
const HIGHEST_RATE: u32 = 1 << 30;

/// What a WAV file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Wav {
    /// Samples per second.
    pub sample_rate: u32,
    /// The samples, -1 to 1: whole numbers of n bits are divided by `2^(n - 1)`, floating-point ones
    /// are clipped.
    pub samples: Vec<f32>,
}

/// Reads a WAV file of one channel: whole numbers of 8, 16, 24 or 32 bits, or 32-bit floating-point
/// ones.
///
/// # Errors
/// When the file cannot be read, is no WAV file, has several channels or another kind of samples, is
/// cut short, or has a sample that is not a finite number.
pub fn read_wav(path: &Path) -> Result<Wav, AudioError> {
    let io = |error| AudioError::io(path, "read", error);
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut reader = WavReader::new(BufReader::new(file)).map_err(|error| failed(path, error))?;
    let spec = reader.spec();
    if spec.channels != 1 {
        let found = format!("{}", spec.channels);
        return Err(AudioError::unexpected(path, "one channel", found));
    }
    // The header may promise more than there is.
    let promised = reader.len() as usize;
    let mut samples = Vec::with_capacity(promised.min(length as usize));
    let take = |sample: hound::Result<f32>| sample.map_err(|error| failed(path, error));
    match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Int, bits @ (8 | 16 | 24 | 32)) => {
            let scale = 0.5f64.powi(i32::from(bits) - 1);
            for sample in reader.samples::<i32>() {
                let sample = sample.map(|sample| (f64::from(sample) * scale) as f32);
                samples.push(take(sample)?);
            }
        }
        (SampleFormat::Float, 32) => {
            for sample in reader.samples::<f32>() {
                let sample = take(sample)?;
                if !sample.is_finite() {
                    let expected = "samples that are finite numbers";
                    return Err(AudioError::unexpected(path, expected, sample.to_string()));
                }
                samples.push(sample.clamp(-1.0, 1.0));
            }
        }
        (format, bits) => {
            let kind = match format {
                SampleFormat::Int => "whole numbers",
                SampleFormat::Float => "floating-point numbers",
            };
            let found = format!("{kind} of {bits} bits");
            return Err(AudioError::unexpected(path, KINDS, found));
        }
    }
    Ok(Wav {
        sample_rate: spec.sample_rate,
        samples,
    })
}

/// Which samples are read.
const KINDS: &str = "whole numbers of 8, 16, 24 or 32 bits or floating-point numbers of 32 bits";

/// What went wrong when a file was read.
fn failed(path: &Path, error: hound::Error) -> AudioError {
    match error {
        hound::Error::IoError(error) => match error.raw_os_error() {
            Some(_) => AudioError::io(path, "read", error),
            None => AudioError::unexpected(path, "a whole WAV file", "one that is cut short"),
        },
        hound::Error::FormatError(reason) => AudioError::unexpected(path, "a WAV file", reason),
        _ => AudioError::unexpected(path, KINDS, "another kind of samples"),
    }
}

/// A WAV file being written: one channel of 16 bits. It appears under its name when it is finished,
/// and leaves nothing behind when it is dropped before that.
pub struct WavWriter {
    path: PathBuf,
    /// The writer of the format keeps its file to itself, also when it has come to the end.
    file: Shared,
    writer: hound::WavWriter<Shared>,
    written: u64,
}

impl std::fmt::Debug for WavWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WavWriter")
            .field("path", &self.path)
            .field("written", &self.written)
            .finish()
    }
}

impl WavWriter {
    /// Starts a file of so many samples per second.
    ///
    /// # Errors
    /// When its folder cannot be written to, or the rate is 0 or above 2^30.
    pub fn create(path: &Path, sample_rate: u32) -> Result<Self, AudioError> {
        if !(1..=HIGHEST_RATE).contains(&sample_rate) {
            let expected = format!("1 to {HIGHEST_RATE} samples per second");
            return Err(AudioError::unexpected(
                path,
                expected,
                sample_rate.to_string(),
            ));
        }
        let fail = |error| AudioError::io(path, "write", error);
        let file = Shared::new(AtomicFile::create(path).map_err(fail)?);
        let spec = WavSpec {
            channels: 1,
            sample_rate,
            bits_per_sample: BITS,
            sample_format: SampleFormat::Int,
        };
        let writer = hound::WavWriter::new(file.clone(), spec);
        Ok(Self {
            path: path.to_owned(),
            file,
            writer: writer.map_err(|error| write_failed(path, error))?,
            written: 0,
        })
    }

    /// Writes samples, -1 to 1: the nearest of the numbers that [`read_wav`] gives back.
    ///
    /// # Errors
    /// When the disk is full, for example, or the file would have more samples than its header can
    /// state.
    pub fn write(&mut self, samples: &[f32]) -> Result<(), AudioError> {
        self.written = self.written.saturating_add(samples.len() as u64);
        if self.written > MOST_SAMPLES {
            let expected = format!("at most {MOST_SAMPLES} samples");
            return Err(AudioError::unexpected(&self.path, expected, "more"));
        }
        let fail = |error| write_failed(&self.path, error);
        // At most as many as the check above lets through.
        let mut writer = self.writer.get_i16_writer(samples.len() as u32);
        for &sample in samples {
            // The largest is one step below 1; NaN becomes 0.
            writer.write_sample((sample * SCALE).round() as i16);
        }
        writer.flush().map_err(fail)
    }

    /// Completes the header, makes sure that all has reached the disk, and gives the file its name.
    ///
    /// # Errors
    /// When it could not be written in full; nothing is left behind then.
    pub fn finish(self) -> Result<(), AudioError> {
        let Self {
            path, file, writer, ..
        } = self;
        let finalized = writer.finalize();
        finalized.map_err(|error| write_failed(&path, error))?;
        let file = file.take().ok_or(io::ErrorKind::Other.into());
        let finished = file.and_then(AtomicFile::finish);
        finished.map_err(|error| AudioError::io(&path, "write", error))
    }
}

fn write_failed(path: &Path, error: hound::Error) -> AudioError {
    match error {
        hound::Error::IoError(error) => AudioError::io(path, "write", error),
        error => AudioError::unexpected(path, "samples of 16 bits", error.to_string()),
    }
}

/// A file that two hold.
#[derive(Clone)]
struct Shared(Arc<Mutex<Option<AtomicFile>>>);

impl Shared {
    fn new(file: AtomicFile) -> Self {
        Self(Arc::new(Mutex::new(Some(file))))
    }

    fn take(&self) -> Option<AtomicFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn with<T>(&self, run: impl FnOnce(&mut AtomicFile) -> io::Result<T>) -> io::Result<T> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *file {
            Some(file) => run(file),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(AtomicFile::flush)
    }
}

impl Seek for Shared {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.with(|file| file.seek(to))
    }
}
