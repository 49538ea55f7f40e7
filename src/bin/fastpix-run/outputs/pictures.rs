//! Images and codes as files: PNGs to look at, and arrays.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fastpix::images::{
    self, ContactSheet, ImageError, NpyWriter, Provenance, false_colour, write_png,
};
use fastpix::network::Medium;
use fastpix::{Codes, Engine, Hooks, ImageRequest, SampleRequest, Samples, U8Images};

use super::{Names, Outputs, Watch};

/// Where pictures go and how they look.
pub struct Pictures {
    folder: PathBuf,
    /// What all PNGs say of how they were made.
    made: Provenance,
    look: Look,
    kind: ArrayKind,
    /// The array of all images.
    array: Option<(PathBuf, Array)>,
    names: Names,
}

/// How values become colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// As levels of brightness: gray, or red, green and blue.
    Image,
    /// The channels side by side, each in gray.
    Channels,
    /// The channels side by side, each code in a colour of its own.
    FalseColours,
}

/// What the elements of arrays are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ArrayKind {
    U8,
    U16,
    F32,
}

/// An array being written.
enum Array {
    U8(NpyWriter<u8>),
    U16(NpyWriter<u16>),
    F32(NpyWriter<f32>),
}

/// How large a run is.
pub struct Run<'a> {
    /// Images that are to be made; 0 if that is not known.
    pub count: usize,
    /// Height and width.
    pub size: (usize, usize),
    /// Folder of the PNGs.
    pub folder: &'a Path,
    /// File of the array of all images.
    pub npy: Option<&'a Path>,
    /// Whether the names of the files are wanted.
    pub names: bool,
}

impl Pictures {
    /// Makes the folder and makes sure that it can be written to; `made` says of all images how
    /// they are made.
    pub fn create(engine: &Engine, run: &Run<'_>, made: Provenance) -> Result<Self> {
        let graph = engine.graph();
        let codes = graph.input().codes();
        let look = match (engine.info().medium, graph.channels()) {
            (Medium::Codes, _) => Look::FalseColours,
            (_, 1 | 3) => Look::Image,
            _ => Look::Channels,
        };
        let shows = match look {
            Look::FalseColours => Some("false colours"),
            Look::Channels => Some("channels side by side"),
            Look::Image if codes > 256 => Some("the upper 8 bits"),
            Look::Image => None,
        };
        let kind = match engine.info().medium {
            _ if made.continuous => ArrayKind::F32,
            Medium::Pixels if codes <= 256 => ArrayKind::U8,
            _ => ArrayKind::U16,
        };
        let shape = array_shape(engine, run.size);
        let array = run.npy.map(|path| -> Result<_, ImageError> {
            Ok((
                path.to_owned(),
                Array::create(kind, path, run.count, &shape)?,
            ))
        });
        let array = array.transpose()?;
        std::fs::create_dir_all(run.folder)
            .and_then(|()| images::check_folder(run.folder))
            .with_context(|| format!("{}: cannot write to this folder", run.folder.display()))?;
        Ok(Self {
            folder: run.folder.to_owned(),
            made: Provenance {
                shows: shows.map(str::to_owned),
                ..made
            },
            look,
            kind,
            array,
            names: Names::new(run.names),
        })
    }

    /// Writes a complete batch: each image, and all of them as tiles.
    fn write(&mut self, engine: &Engine, request: &SampleRequest, samples: &Samples) -> Result<()> {
        let codes = samples.to_codes();
        let [count, height, width, channels] = codes.shape;
        let shown = self.look.shown(&codes, engine.graph().input().codes());
        let length = height * width * channels;
        let shape = array_shape(engine, (height, width));
        let each = request.images.iter().zip(shown.images());
        for (position, (item, picture)) in each.enumerate() {
            let [_, height, width, channels] = shown.shape;
            let shape_of_one = [1, height, width, channels];
            let path = self.folder.join(format!("image-{:06}.png", item.index));
            self.png(&path, shape_of_one, picture, item)?;
            if self.made.shows.is_some() {
                let path = path.with_extension("npy");
                let mut array = Array::create(self.kind, &path, 1, &shape)?;
                let range = position * length..(position + 1) * length;
                array.append(&codes.values[range.clone()], &samples.values[range])?;
                array.finish()?;
                self.names.add(&path);
            }
        }
        if let [first, .., last] = request.images.as_slice() {
            let name = format!("grid-{:06}-{:06}.png", first.index, last.index);
            self.png(&self.folder.join(name), shown.shape, &shown.values, first)?;
        }
        if let Some((_, array)) = &mut self.array {
            array.append(&codes.values, &samples.values)?;
        }
        debug_assert_eq!(count, request.images.len());
        Ok(())
    }

    fn png(
        &mut self,
        path: &Path,
        shape: [usize; 4],
        values: &[u8],
        first: &ImageRequest,
    ) -> Result<()> {
        let made = Provenance {
            index: first.index,
            class: first.class,
            vector: first.vector.clone(),
            images: shape[0],
            ..self.made.clone()
        };
        write_png(path, &ContactSheet::new(shape, values, made.scale), &made)?;
        self.names.add(path);
        Ok(())
    }
}

impl Outputs for Pictures {
    fn batch(&mut self, engine: &Engine, request: &SampleRequest, watch: Watch<'_>) -> Result<()> {
        let mut hooks = Hooks::new().cancel(watch.cancel).progress(watch.progress);
        let samples = engine.sample_with(request, &mut hooks)?;
        self.write(engine, request, &samples)
    }

    fn finish(&mut self, count: usize) -> Result<()> {
        if let (Some((path, array)), 1..) = (self.array.take(), count) {
            array.finish()?;
            self.names.add(&path);
        }
        Ok(())
    }

    fn names(&self) -> &Names {
        &self.names
    }
}

/// The shape of an image in arrays: codes of one channel have no axis of channels.
fn array_shape(engine: &Engine, (height, width): (usize, usize)) -> Vec<usize> {
    match (engine.info().medium, engine.graph().channels()) {
        (Medium::Codes, 1) => vec![height, width],
        (_, channels) => vec![height, width, channels],
    }
}

impl Look {
    /// The pictures of images of so many different codes.
    fn shown(self, images: &Codes, codes: usize) -> U8Images {
        let last = codes - 1;
        // Rounded; itself for 256 codes, so that the picture holds the image.
        let level = |code: u16| ((usize::from(code) * 255 + last / 2) / last) as u8;
        let [count, height, width, channels] = images.shape;
        if self == Self::Image {
            return U8Images {
                shape: images.shape,
                values: images.values.iter().map(|&code| level(code)).collect(),
            };
        }
        let colours = if self == Self::FalseColours { 3 } else { 1 };
        let mut values = Vec::with_capacity(images.values.len() * colours);
        for row in images.values.chunks(width * channels) {
            for channel in 0..channels {
                for &code in row.iter().skip(channel).step_by(channels) {
                    match self {
                        Self::FalseColours => values.extend(false_colour(code)),
                        _ => values.push(level(code)),
                    }
                }
            }
        }
        U8Images {
            shape: [count, height, width * channels, colours],
            values,
        }
    }
}

impl Array {
    fn create(
        kind: ArrayKind,
        path: &Path,
        count: usize,
        shape: &[usize],
    ) -> Result<Self, ImageError> {
        Ok(match kind {
            ArrayKind::U8 => Self::U8(NpyWriter::create(path, count, shape)?),
            ArrayKind::U16 => Self::U16(NpyWriter::create(path, count, shape)?),
            ArrayKind::F32 => Self::F32(NpyWriter::create(path, count, shape)?),
        })
    }

    /// Appends whole images: their codes, or their values.
    fn append(&mut self, codes: &[u16], values: &[f32]) -> Result<(), ImageError> {
        match self {
            Self::U8(writer) => {
                // Only where there are no more codes than that.
                let bytes: Vec<u8> = codes.iter().map(|&code| code as u8).collect();
                writer.append(&bytes)
            }
            Self::U16(writer) => writer.append(codes),
            Self::F32(writer) => writer.append(values),
        }
    }

    fn finish(self) -> Result<(), ImageError> {
        match self {
            Self::U8(writer) => writer.finish(),
            Self::U16(writer) => writer.finish(),
            Self::F32(writer) => writer.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(shape: [usize; 4], values: &[u16]) -> Codes {
        Codes {
            shape,
            values: values.to_owned(),
        }
    }

    #[test]
    fn images_of_256_codes_are_themselves_and_others_span_all_levels() {
        let all: Vec<u16> = (0..256).collect();
        let shown = Look::Image.shown(&codes([1, 16, 16, 1], &all), 256);
        assert!(
            shown
                .values
                .iter()
                .zip(&all)
                .all(|(&a, &b)| u16::from(a) == b)
        );
        let shown = Look::Image.shown(&codes([1, 1, 3, 1], &[0, 7, 15]), 16);
        assert_eq!(shown.values, [0, 119, 255]);
        let shown = Look::Image.shown(&codes([1, 1, 2, 1], &[0, 65535]), 65536);
        assert_eq!(shown.values, [0, 255]);
    }

    #[test]
    fn channels_lie_side_by_side() {
        // Two rows of two pixels of two channels.
        let image = codes([1, 2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]);
        let shown = Look::Channels.shown(&image, 256);
        assert_eq!(shown.shape, [1, 2, 4, 1]);
        assert_eq!(shown.values, [1, 3, 2, 4, 5, 7, 6, 8]);
        let shown = Look::FalseColours.shown(&image, 512);
        assert_eq!(shown.shape, [1, 2, 4, 3]);
        assert_eq!(shown.values[3..6], false_colour(3));
    }
}
