//! Options that say what images are conditioned on beside their class, and reading them.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use clap::Args;
use fastpix::Engine;
use fastpix::images::NpyArray;
use fastpix::network::{Map, MapArray};

/// What images are conditioned on.
#[derive(Debug, Args)]
pub struct ConditionArguments {
    /// Vectors that images are conditioned on: a .npy file of numbers (N, K), one row per image or
    /// one for all.
    #[arg(long, value_name = "FILE.npy", conflicts_with = "class")]
    condition: Option<PathBuf>,
    /// Mel frames that sounds are conditioned on: a .npy file of numbers (frames, channels), or
    /// (N, frames, channels) for one sound each. They say how long the sounds are.
    #[arg(long, value_name = "FILE.npy", conflicts_with = "condition_map")]
    mel: Option<PathBuf>,
    /// The frames of --mel come with the context that the model's upsampling looks at on either side.
    /// Without, the first and the last frame are repeated, unless the sounds that are given say that
    /// there is some.
    #[arg(long, requires = "mel")]
    mel_context: bool,
    /// Conditions of every pixel, for models that take them as they are: a .npy file of numbers
    /// (N, H, W, C), one map per image or one for all; of sounds (N, T, C).
    #[arg(long, value_name = "FILE.npy")]
    condition_map: Option<PathBuf>,
}

/// What the images of a run are conditioned on.
#[derive(Default)]
pub struct Conditions {
    /// One row per image, or one for all; none if the model takes none.
    vectors: Option<Rows<Vec<f32>>>,
    /// One map per image, or one for all; none if the model takes none.
    maps: Option<Rows<Map>>,
}

/// Things from a file: one per image, or one for all.
struct Rows<T> {
    file: PathBuf,
    /// What one is called.
    what: &'static str,
    /// At least one.
    rows: Vec<T>,
}

impl<T> Rows<T> {
    fn of(&self, position: usize) -> Option<&T> {
        match self.rows.as_slice() {
            [one] => Some(one),
            rows => rows.get(position),
        }
    }

    fn check(&self, count: Option<usize>) -> Result<()> {
        let found = self.rows.len();
        let file = self.file.display();
        let what = self.what;
        match count {
            _ if found == 1 => Ok(()),
            Some(count) if count == found => Ok(()),
            Some(1) => bail!("{file}: expected 1 {what}, found {found}"),
            Some(count) => {
                bail!("{file}: expected 1 {what}, or one for each of {count}, found {found}")
            }
            None => bail!("{file}: expected 1 {what} for a run without end, found {found}"),
        }
    }
}

impl ConditionArguments {
    /// Whether vectors are given.
    pub fn has_vectors(&self) -> bool {
        self.condition.is_some()
    }

    /// Reads what the model needs, and refuses what it does not take. Given sounds have so many rows.
    pub fn read(&self, engine: &Engine, rows: Option<usize>) -> Result<Conditions> {
        let vector = engine.graph().condition().vector();
        let vectors = match (&self.condition, vector) {
            (Some(file), Some(length)) => Some(vectors(file, length)?),
            (None, None) => None,
            (Some(_), None) => bail!("--condition: the model is not conditioned on a vector"),
            (None, Some(length)) => bail!(
                "condition: expected a vector of {length} for this model, found none; \
                 use --condition FILE.npy"
            ),
        };
        Ok(Conditions {
            vectors,
            maps: self.maps(engine, rows)?,
        })
    }

    fn maps(&self, engine: &Engine, rows: Option<usize>) -> Result<Option<Rows<Map>>> {
        let channels = engine.graph().map_channels();
        match (channels, engine.map_encoder()) {
            (None, _) => {
                ensure!(
                    self.mel.is_none(),
                    "--mel: the model is not conditioned on mel frames"
                );
                ensure!(
                    self.condition_map.is_none(),
                    "--condition-map: the model is not conditioned on a map"
                );
                Ok(None)
            }
            (Some(_), Some(encoder)) => {
                ensure!(
                    self.condition_map.is_none(),
                    "--condition-map: this model makes its maps of mel frames; use --mel"
                );
                let channels = encoder.channels();
                let Some(file) = &self.mel else {
                    bail!(
                        "mel: expected frames of {channels} for this model, found none; \
                         use --mel FILE.npy"
                    );
                };
                let encode = |frames: Vec<f32>| {
                    let count = frames.len() / channels;
                    let fits = |count: usize| rows == Some(encoder.rows(count));
                    let without = count.checked_sub(2 * encoder.context());
                    let shown = !fits(count) && without.is_some_and(fits);
                    Ok(match self.mel_context || shown {
                        true => encoder.encode_with_context(frames)?,
                        false => encoder.encode(frames)?,
                    })
                };
                mels(file, channels, &encode).map(Some)
            }
            (Some(channels), None) => {
                ensure!(
                    self.mel.is_none(),
                    "--mel: this model takes its maps as they are; use --condition-map"
                );
                let Some(file) = &self.condition_map else {
                    bail!(
                        "map: expected one of {channels} channels for this model, found none; \
                         use --condition-map FILE.npy"
                    );
                };
                maps(file, channels).map(Some)
            }
        }
    }
}

impl Conditions {
    /// Checks that there is one of each for so many images; `None` is any number.
    pub fn check(&self, count: Option<usize>) -> Result<()> {
        self.vectors.as_ref().map_or(Ok(()), |v| v.check(count))?;
        self.maps.as_ref().map_or(Ok(()), |maps| maps.check(count))
    }

    /// Height and width that the maps ask for.
    pub fn size(&self) -> Option<(usize, usize)> {
        let [height, width, _] = self.map(0)?.shape();
        Some((height, width))
    }

    /// Checks that the maps are of this height and width.
    pub fn check_size(&self, size: (usize, usize)) -> Result<()> {
        let (Some(maps), Some(found)) = (&self.maps, self.size()) else {
            return Ok(());
        };
        let in_words = |(height, width): (usize, usize)| match width {
            1 => format!("{height} samples"),
            _ => format!("{height}x{width} pixels"),
        };
        ensure!(
            found == size,
            "{}: expected {}s for {}, found some for {}",
            maps.file.display(),
            maps.what,
            in_words(size),
            in_words(found)
        );
        Ok(())
    }

    /// The vector of the image at this position of the run; empty without.
    pub fn vector(&self, position: usize) -> &[f32] {
        let vectors = self.vectors.as_ref();
        vectors
            .and_then(|vectors| vectors.of(position))
            .map_or(&[], Vec::as_slice)
    }

    /// The map of the image at this position of the run.
    pub fn map(&self, position: usize) -> Option<&Map> {
        self.maps.as_ref()?.of(position)
    }

    /// The file of the maps.
    pub fn map_file(&self) -> Option<&Path> {
        Some(&self.maps.as_ref()?.file)
    }

    /// Whether images differ in what they are conditioned on.
    pub fn differ(&self) -> bool {
        let vectors = self
            .vectors
            .as_ref()
            .map_or(0, |vectors| vectors.rows.len());
        vectors.max(self.maps.as_ref().map_or(0, |maps| maps.rows.len())) > 1
    }
}

fn vectors(file: &Path, length: usize) -> Result<Rows<Vec<f32>>> {
    let array = NpyArray::open(file)?;
    match array.shape() {
        &[count, found] if found == length && count > 0 => {}
        _ => {
            let expected = format!("numbers of shape (N, {length})");
            return Err(array.unexpected(expected).into());
        }
    }
    let numbers = array.finite()?;
    Ok(Rows {
        file: file.to_owned(),
        what: "row",
        rows: numbers.chunks(length).map(<[f32]>::to_vec).collect(),
    })
}

fn mels(
    file: &Path,
    channels: usize,
    encode: &dyn Fn(Vec<f32>) -> Result<Map>,
) -> Result<Rows<Map>> {
    let array = NpyArray::open(file)?;
    let empty = array.shape().contains(&0);
    let frames = match *array.shape() {
        [frames, found] | [_, frames, found] if found == channels && !empty => frames,
        _ => {
            let expected =
                format!("frames of shape (frames, {channels}) or (N, frames, {channels})");
            return Err(array.unexpected(expected).into());
        }
    };
    let numbers = array.finite()?;
    let each = numbers.chunks(frames * channels);
    let each = each.map(|frames| {
        encode(frames.to_vec()).map_err(|error| error.context(file.display().to_string()))
    });
    Ok(Rows {
        file: file.to_owned(),
        what: "mel",
        rows: each.collect::<Result<_>>()?,
    })
}

fn maps(file: &Path, channels: usize) -> Result<Rows<Map>> {
    let array = NpyArray::open(file)?;
    let empty = array.shape().contains(&0);
    let (height, width) = match *array.shape() {
        [_, height, width, found] if found == channels && !empty => (height, width),
        [_, length, found] if found == channels && !empty => (length, 1),
        _ => {
            let expected = format!("numbers of shape (N, H, W, {channels})");
            return Err(array.unexpected(expected).into());
        }
    };
    let numbers = array.finite()?;
    let each = numbers.chunks(height * width * channels);
    let map = |values: &[f32]| MapArray::new([height, width, channels], values.to_vec());
    Ok(Rows {
        file: file.to_owned(),
        what: "map",
        rows: each.filter_map(map).map(Map::new).collect(),
    })
}
