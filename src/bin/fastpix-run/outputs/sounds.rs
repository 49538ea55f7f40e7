//! Sounds as files: WAVs, written while they are made, and arrays.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use fastpix::audio::{AudioError, Decoder, WavWriter};
use fastpix::images::{self, NpyWriter};
use fastpix::{Engine, Hooks, SampleRequest, SampledRow};

use super::{Names, Outputs, Watch};

/// Samples that are gathered before they are written.
const BLOCK: usize = 1024;

/// How sounds become files.
pub struct SoundFiles {
    /// Folder of the WAVs.
    pub folder: PathBuf,
    /// Samples per second.
    pub sample_rate: u32,
    /// Whether arrays hold classes in place of samples.
    pub classes: bool,
}

/// Where sounds go.
pub struct Sounds {
    folder: PathBuf,
    sample_rate: u32,
    /// The array of all sounds.
    array: Option<(PathBuf, Array)>,
    names: Names,
}

/// An array being written.
enum Array {
    Samples(NpyWriter<f32>),
    Classes(NpyWriter<u16>),
}

/// A sound that is being made.
struct Sound {
    path: PathBuf,
    writer: WavWriter,
    decoder: Decoder,
    /// Samples that are not written yet.
    block: Vec<f32>,
}

impl Sound {
    /// Takes the next sample; returns it as people hear it.
    fn push(&mut self, value: f32) -> Result<f32, AudioError> {
        let sample = self.decoder.sample(value);
        self.block.push(sample);
        if self.block.len() == BLOCK {
            self.write()?;
        }
        Ok(sample)
    }

    fn write(&mut self) -> Result<(), AudioError> {
        let written = self.writer.write(&self.block);
        self.block.clear();
        written
    }
}

impl Sounds {
    /// Makes the folder and makes sure that it can be written to. `count` is the number of sounds
    /// that are to be made, 0 if that is not known, `length` their samples; `names` says whether
    /// the names of the files are wanted.
    pub fn create(
        files: &SoundFiles,
        [count, length]: [usize; 2],
        npy: Option<&Path>,
        names: bool,
    ) -> Result<Self> {
        let array = npy.map(|path| -> Result<_> {
            let array = match files.classes {
                true => Array::Classes(NpyWriter::create(path, count, &[length])?),
                false => Array::Samples(NpyWriter::create(path, count, &[length])?),
            };
            Ok((path.to_owned(), array))
        });
        let array = array.transpose()?;
        let folder = &files.folder;
        std::fs::create_dir_all(folder)
            .and_then(|()| images::check_folder(folder))
            .with_context(|| format!("{}: cannot write to this folder", folder.display()))?;
        Ok(Self {
            folder: folder.clone(),
            sample_rate: files.sample_rate,
            array,
            names: Names::new(names),
        })
    }

    /// The files of a batch.
    fn begin(&self, engine: &Engine, request: &SampleRequest) -> Result<Vec<Sound>> {
        let decoder = Decoder::new(&engine.info().medium, engine.graph().input());
        let decoder = decoder.context("the model is not one of sound")?;
        let sounds = request.images.iter().map(|item| {
            let path = self.folder.join(format!("sound-{:06}.wav", item.index));
            Ok(Sound {
                writer: WavWriter::create(&path, self.sample_rate)?,
                path,
                decoder: decoder.clone(),
                block: Vec::with_capacity(BLOCK),
            })
        });
        sounds.collect()
    }
}

impl Outputs for Sounds {
    fn batch(&mut self, engine: &Engine, request: &SampleRequest, watch: Watch<'_>) -> Result<()> {
        let mut sounds = self.begin(engine, request)?;
        // Sounds are held only where an array of them is wanted.
        let mut kept = Kept::new(self.array.as_ref(), request.images.len());
        let mut written = Ok(());
        let mut row_done = |row: SampledRow<'_>| {
            for ((sound, &value), position) in sounds.iter_mut().zip(row.values).zip(0..) {
                match sound.push(value) {
                    Ok(sample) => kept.push(position, sample, engine.graph().input().code(value)),
                    Err(error) if written.is_ok() => {
                        written = Err(error);
                        // There is no use in going on.
                        watch.cancel.store(true, Ordering::Relaxed);
                    }
                    Err(_) => {}
                }
            }
        };
        let hooks = Hooks::new().cancel(watch.cancel).progress(watch.progress);
        let streamed = engine.stream(request, &mut hooks.row_done(&mut row_done));
        written?;
        streamed?;
        if let Some((_, array)) = &mut self.array {
            kept.append_to(array)?;
        }
        for mut sound in sounds {
            sound.write()?;
            sound.writer.finish()?;
            self.names.add(&sound.path);
        }
        Ok(())
    }

    fn finish(&mut self, count: usize) -> Result<()> {
        if let (Some((path, array)), 1..) = (self.array.take(), count) {
            match array {
                Array::Samples(writer) => writer.finish()?,
                Array::Classes(writer) => writer.finish()?,
            }
            self.names.add(&path);
        }
        Ok(())
    }

    fn names(&self) -> &Names {
        &self.names
    }
}

/// The sounds of a batch, as their array will hold them.
enum Kept {
    Nothing,
    Samples(Vec<Vec<f32>>),
    Classes(Vec<Vec<u16>>),
}

impl Kept {
    fn new(array: Option<&(PathBuf, Array)>, sounds: usize) -> Self {
        match array {
            None => Self::Nothing,
            Some((_, Array::Samples(_))) => Self::Samples(vec![Vec::new(); sounds]),
            Some((_, Array::Classes(_))) => Self::Classes(vec![Vec::new(); sounds]),
        }
    }

    fn push(&mut self, position: usize, sample: f32, class: u16) {
        match self {
            Self::Nothing => {}
            Self::Samples(sounds) => sounds[position].push(sample),
            Self::Classes(sounds) => sounds[position].push(class),
        }
    }

    fn append_to(&self, array: &mut Array) -> Result<()> {
        match (self, array) {
            (Self::Samples(sounds), Array::Samples(writer)) => {
                sounds.iter().try_for_each(|sound| writer.append(sound))?;
            }
            (Self::Classes(sounds), Array::Classes(writer)) => {
                sounds.iter().try_for_each(|sound| writer.append(sound))?;
            }
            _ => {}
        }
        Ok(())
    }
}
