//! What INPUT files are: images, codes or sounds that exist already, with their classes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fastpix::backend::{Images, Prefix, Values};
use fastpix::images::{self, FileKind, NpyArray};
use fastpix::network::{InputEncoding, Medium, OutputDistribution};
use fastpix::{Codes, Engine};

use crate::sounds;

/// Files of images, codes or sounds.
#[derive(Debug, Args)]
pub struct InputArguments {
    /// PNGs of one size, or .npy files: levels or codes (N, H, W) or (N, H, W, C) as integers, or
    /// levels as floating-point numbers. For models of sound WAVs of one length, or .npy files (N,
    /// T): classes as integers, or samples from -1 to 1.
    #[arg(value_name = "INPUT", required_unless_present = "images")]
    positional: Vec<PathBuf>,
    /// The same, named.
    #[arg(long, value_name = "INPUT", num_args = 1..)]
    images: Vec<PathBuf>,
    /// Classes of the images: a .npy file of N integers.
    #[arg(long, value_name = "FILE.npy", conflicts_with = "class")]
    labels: Option<PathBuf>,
}

/// Given images, codes or sounds, all of one size.
#[derive(Clone, Debug)]
pub enum Inputs {
    /// Whole numbers.
    Codes(Codes),
    /// Values that are no whole numbers.
    Values(Values),
}

impl InputArguments {
    /// Reads all files; what they hold must be of one size and fit the model.
    pub fn read(&self, engine: &Engine) -> Result<Inputs> {
        let mut all: Option<Inputs> = None;
        for path in self.positional.iter().chain(&self.images) {
            let read = read(path, engine)?;
            let [_, height, width, _] = read.shape();
            engine
                .graph()
                .check_size((height, width))
                .with_context(|| format!("{}", path.display()))?;
            all = Some(match all {
                None => read,
                Some(all) => all
                    .and(read, engine.graph().input())
                    .with_context(|| format!("{}", path.display()))?,
            });
        }
        match all.filter(|inputs| inputs.count() > 0) {
            Some(inputs) => Ok(inputs),
            None => bail!("images: expected at least one, found none"),
        }
    }

    /// The classes of so many images; none without `--labels`.
    pub fn labels(&self, count: usize) -> Result<Option<Vec<usize>>> {
        let Some(path) = &self.labels else {
            return Ok(None);
        };
        let labels = images::read_labels(path)?;
        ensure!(
            labels.len() == count,
            "{}: expected {count} labels, one per image, found {}",
            path.display(),
            labels.len()
        );
        Ok(Some(labels))
    }
}

impl Inputs {
    /// Number, height, width, channels.
    pub fn shape(&self) -> [usize; 4] {
        Images::from(self).shape()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shape()[0]
    }

    /// Some of them.
    pub fn part(&self, first: usize, count: usize) -> Self {
        let [_, height, width, channels] = self.shape();
        let length = height * width * channels;
        let range = first * length..(first + count) * length;
        let shape = [count, height, width, channels];
        match self {
            Self::Codes(codes) => Self::Codes(Codes {
                shape,
                values: codes.values[range].to_vec(),
            }),
            Self::Values(values) => Self::Values(Values {
                shape,
                values: values.values[range].to_vec(),
            }),
        }
    }

    /// Sequences from their second row on, and one more that nothing has seen, so that row t has what
    /// the network says of row t + 1; and their first rows, as values.
    pub fn after_first(&self, input: &InputEncoding) -> (Self, Vec<f32>) {
        let [_, height, _, channels] = self.shape();
        let shape = self.shape();
        match self {
            Self::Codes(codes) => {
                let (values, first) = after_first(&codes.values, height, channels);
                let first = first.into_iter().map(|code| input.value(code));
                (Self::Codes(Codes { shape, values }), first.collect())
            }
            Self::Values(values) => {
                let (values, first) = after_first(&values.values, height, channels);
                (Self::Values(Values { shape, values }), first)
            }
        }
    }

    /// The first rows of one of them.
    pub fn prefix(&self, position: usize, rows: usize) -> Prefix {
        let [_, height, width, channels] = self.shape();
        let row = width * channels;
        let first = position * height * row;
        let range = first..first + rows.min(height) * row;
        match self {
            Self::Codes(codes) => codes.values[range].to_vec().into(),
            Self::Values(values) => values.values[range].to_vec().into(),
        }
    }

    /// These and more of the same size.
    fn and(self, more: Self, input: &InputEncoding) -> Result<Self> {
        let [first, height, width, channels] = self.shape();
        let [count, found_height, found_width, _] = more.shape();
        ensure!(
            [height, width] == [found_height, found_width],
            "expected {height}x{width} pixels like the images before, found \
             {found_height}x{found_width}"
        );
        let shape = [first + count, height, width, channels];
        match (self, more) {
            (Self::Codes(codes), Self::Codes(more)) => {
                let mut values = codes.values;
                values.extend(more.values);
                Ok(Self::Codes(Codes { shape, values }))
            }
            (some, more) => {
                let mut values = some.into_values(input);
                values.extend(more.into_values(input));
                Ok(Self::Values(Values { shape, values }))
            }
        }
    }

    fn into_values(self, input: &InputEncoding) -> Vec<f32> {
        match self {
            Self::Codes(codes) => {
                let codes = codes.values.into_iter();
                codes.map(|code| input.value(code)).collect()
            }
            Self::Values(values) => values.values,
        }
    }
}

/// See [`Inputs::after_first`].
fn after_first<T: Copy + Default>(
    values: &[T],
    height: usize,
    channels: usize,
) -> (Vec<T>, Vec<T>) {
    let (mut after, mut first) = (Vec::with_capacity(values.len()), Vec::new());
    for sequence in values.chunks(height * channels) {
        let (given, rest) = sequence.split_at(channels);
        first.extend_from_slice(given);
        after.extend_from_slice(rest);
        after.extend(std::iter::repeat_n(T::default(), channels));
    }
    (after, first)
}

impl<'a> From<&'a Inputs> for Images<'a> {
    fn from(inputs: &'a Inputs) -> Self {
        match inputs {
            Inputs::Codes(codes) => codes.into(),
            Inputs::Values(values) => values.into(),
        }
    }
}

/// What a file holds, as the model takes it.
fn read(path: &Path, engine: &Engine) -> Result<Inputs> {
    let medium = engine.info().medium;
    match (images::kind(path)?, medium) {
        (FileKind::Png, Medium::Pixels) => png(path, engine),
        (FileKind::Npy, Medium::Audio { .. }) => sounds::from_array(&NpyArray::open(path)?, engine),
        (FileKind::Npy, _) => from_array(&NpyArray::open(path)?, engine),
        (FileKind::Wav, Medium::Audio { .. }) => sounds::from_wav(path, engine),
        (found, medium) => {
            let expected = match medium {
                Medium::Codes => "a .npy file of codes",
                Medium::Audio { .. } => "a WAV, or a .npy file of samples or classes",
                _ => "a PNG, or a .npy file of images",
            };
            let found = match found {
                FileKind::Png => "a PNG",
                FileKind::Npy => "a .npy file",
                _ => "a WAV",
            };
            bail!(
                "{}: expected {expected} for this model, found {found}",
                path.display()
            )
        }
    }
}

/// The image of a PNG. Its 8 bits are the codes of almost all models; those of others are the
/// nearest ones where the darkest and the brightest level are the first and the last code.
fn png(path: &Path, engine: &Engine) -> Result<Inputs> {
    let graph = engine.graph();
    let image = images::read(path)?;
    let [.., found] = image.shape;
    ensure!(
        found == graph.channels(),
        "{}: expected {} channel(s) for this model, found {found}",
        path.display(),
        graph.channels()
    );
    let last = graph.input().codes() - 1;
    // At most 255 times 65535 and 127.
    let code = |&level: &u8| ((usize::from(level) * last + 127) / 255) as u16;
    Ok(Inputs::Codes(Codes {
        shape: image.shape,
        values: image.values.iter().map(code).collect(),
    }))
}

/// Images or codes of an array.
fn from_array(array: &NpyArray, engine: &Engine) -> Result<Inputs> {
    let graph = engine.graph();
    let channels = graph.channels();
    let what = match engine.info().medium {
        Medium::Codes => "codes",
        _ => "levels",
    };
    let shape = match *array.shape() {
        [count, height, width, found] => {
            ensure!(
                found == channels,
                "{}: expected {channels} channel(s) for this model, found {found}",
                array.path().display()
            );
            [count, height, width, channels]
        }
        [count, height, width] if channels == 1 => [count, height, width, 1],
        _ => {
            let expected = match channels {
                1 => format!("{what} of shape (N, H, W) or (N, H, W, 1)"),
                _ => format!("{what} of shape (N, H, W, C), C {channels}"),
            };
            return Err(array.unexpected(expected).into());
        }
    };
    let last = (graph.input().codes() - 1) as u16;
    if !array.is_float() {
        let values = array.codes(last)?;
        return Ok(Inputs::Codes(Codes { shape, values }));
    }
    ensure!(
        matches!(graph.input(), InputEncoding::Scaled { .. }),
        array.unexpected(format!("{what} as integers"))
    );
    let mut values = array.finite()?;
    let classes = matches!(graph.output(), OutputDistribution::Categorical { .. });
    for (index, level) in values.iter_mut().enumerate() {
        // What is drawn as a class has no likelihood between classes.
        let whole = !classes || level.fract() == 0.0;
        ensure!(
            whole && (0.0..=f32::from(last)).contains(level),
            "{}: expected {}levels from 0 to {last}, found {level} at index {index}",
            array.path().display(),
            if classes { "whole " } else { "" }
        );
        *level = graph.input().value_of_level(*level);
    }
    Ok(Inputs::Values(Values { shape, values }))
}
