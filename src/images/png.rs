//! One image per PNG file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Write};
use std::path::Path;

use png::text_metadata::TEXtChunk;
use png::{BitDepth, ColorType, Decoder, Encoder, Info, Limits, Transformations};
use serde::{Deserialize, Serialize};

use super::{ContactSheet, ImageError, LARGEST_SIDE};
use crate::U8Images;
use crate::atomic_file::AtomicFile;

/// Keyword of the text chunk that holds a [`Provenance`].
const KEYWORD: &str = "fastpix";

/// Most bytes that one byte of deflate data can stand for.
const LARGEST_RATIO: u64 = 1032;

/// Which weights of a model file an image was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightsChoice {
    /// The weights as they are in the file, which may hold no others.
    Raw,
    /// Their moving averages, which the file holds too.
    Averages,
}

/// How an image was made, as JSON in a text chunk of its PNG: enough to make it again where the
/// same model file is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Provenance {
    /// The model's file or name.
    pub model: String,
    /// Which of the file's weights.
    pub weights: WeightsChoice,
    /// The file of hyperparameters that was named beside it, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hparams: Option<String>,
    /// The device in words, as [`Engine::device`](crate::Engine::device) gives it.
    pub device: String,
    /// What weights and activations were stored as: `f32`, `f16` or `bf16`.
    pub dtype: String,
    /// Key of the random numbers.
    pub seed: u64,
    /// Index of the (first) image.
    pub index: u64,
    /// Its class, for class-conditional models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<usize>,
    /// The vector it is conditioned on, for models that have one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vector: Vec<f32>,
    /// The file of the condition of every position, for models that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// Temperature of the sampling.
    pub temperature: f32,
    /// Which classes could be drawn at all, where not all of them: `top-k 5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncation: Option<String>,
    /// Whether samples were fed back unrounded.
    pub continuous: bool,
    /// Rows that were given, not sampled.
    pub kept_rows: usize,
    /// Screen pixels per image pixel and direction.
    pub scale: usize,
    /// What the picture shows in place of the values themselves, if anything: `false colours`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shows: Option<String>,
    /// Number of images in the file.
    pub images: usize,
}

/// Writes images as one PNG, tiled if there are several. The file appears whole or not at all.
///
/// # Errors
/// When the file cannot be written, or the picture is too large for a PNG.
pub fn write_png(
    path: &Path,
    tiles: &ContactSheet<'_>,
    made: &Provenance,
) -> Result<(), ImageError> {
    let fail = |error| ImageError::io(path, "write", error);
    let [height, width] = tiles.size().map(u32::try_from);
    // PNG stores sides in 31 bits.
    let (Ok(height @ ..0x8000_0000), Ok(width @ ..0x8000_0000)) = (height, width) else {
        return Err(ImageError::unexpected(
            path,
            "a picture of sides below 2^31",
            format!("{:?}; use a smaller scale or batch", tiles.size()),
        ));
    };
    let mut file = AtomicFile::create(path).map_err(fail)?;
    let mut write = || -> Result<(), png::EncodingError> {
        let mut info = Info::with_size(width, height);
        info.color_type = if tiles.channels() == 1 {
            ColorType::Grayscale
        } else {
            ColorType::Rgb
        };
        info.bit_depth = BitDepth::Eight;
        let json = serde_json::to_string(made).map_err(std::io::Error::from)?;
        for (keyword, text) in [
            ("Software", concat!("fastpix ", env!("CARGO_PKG_VERSION"))),
            // A text chunk holds Latin-1: other characters are escaped as JSON allows.
            (KEYWORD, &ascii_json(&json)),
        ] {
            info.uncompressed_latin1_text
                .push(TEXtChunk::new(keyword, text));
        }
        let mut writer = Encoder::with_info(&mut file, info)?.write_header()?;
        let mut stream = writer.stream_writer()?;
        let mut row = Vec::new();
        for y in 0..height as usize {
            row.clear();
            tiles.row(y, &mut row);
            stream.write_all(&row)?;
        }
        stream.finish()?;
        writer.finish()
    };
    write().map_err(|error| match error {
        png::EncodingError::IoError(error) => fail(error),
        other => fail(std::io::Error::other(other)),
    })?;
    file.finish().map_err(fail)
}

/// Escapes what is not ASCII in a JSON text.
fn ascii_json(json: &str) -> Cow<'_, str> {
    if json.is_ascii() {
        return Cow::Borrowed(json);
    }
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    Cow::Owned(ascii)
}

/// Reads the image of a PNG whose file is `length` bytes long.
pub(super) fn read(path: &Path, file: File, length: u64) -> Result<U8Images, ImageError> {
    let fail = |error| match error {
        png::DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            ImageError::unexpected(path, "a whole PNG", "its end too early")
        }
        png::DecodingError::IoError(error) => ImageError::io(path, "read", error),
        other => ImageError::unexpected(path, "a valid PNG", other.to_string()),
    };
    // Nothing in a file can need more than this, whatever its header claims.
    let most = length.saturating_mul(LARGEST_RATIO).saturating_add(1 << 16);
    let limits = Limits {
        bytes: usize::try_from(most).unwrap_or(usize::MAX),
    };
    let mut decoder = Decoder::new_with_limits(BufReader::new(file), limits);
    // Palettes become RGB, fewer than 8 bits become 8.
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(fail)?;
    let info = reader.info();
    let (height, width) = (info.height as usize, info.width as usize);
    if height > LARGEST_SIDE || width > LARGEST_SIDE {
        return Err(ImageError::unexpected(
            path,
            format!("sides of at most {LARGEST_SIDE} pixels"),
            format!("{height}x{width}"),
        ));
    }
    let channels = match reader.output_color_type() {
        (ColorType::Grayscale, BitDepth::Eight) => 1,
        (ColorType::Rgb, BitDepth::Eight) => 3,
        (color, depth) => {
            return Err(ImageError::unexpected(
                path,
                "8-bit grayscale or RGB without transparency",
                format!("{}-bit {color:?}", depth as u8),
            ));
        }
    };
    match stated(info) {
        Some(Stated { shows: Some(_), .. }) => {
            return Err(ImageError::unexpected(
                path,
                "an image",
                "a picture for viewing, which does not hold the values themselves",
            ));
        }
        Some(Stated { scale, .. }) if scale > 1 => {
            return Err(ImageError::unexpected(
                path,
                "an image at its own size",
                format!("one scaled up {scale} times for viewing"),
            ));
        }
        _ => {}
    }
    let size = height * width * channels;
    if size as u64 > most {
        return Err(ImageError::unexpected(
            path,
            format!("the data of {height}x{width} pixels"),
            format!("a file of {length} bytes"),
        ));
    }
    let mut values = vec![0; size];
    reader.next_frame(&mut values).map_err(fail)?;
    reader.finish().map_err(fail)?;
    Ok(U8Images {
        shape: [1, height, width, channels],
        values,
    })
}

/// What reading an image needs of its [`Provenance`], whichever version wrote it.
#[derive(Deserialize)]
struct Stated {
    scale: usize,
    #[serde(default)]
    shows: Option<String>,
}

/// The image's provenance, if it has one.
fn stated(info: &Info<'_>) -> Option<Stated> {
    let chunk = info
        .uncompressed_latin1_text
        .iter()
        .find(|chunk| chunk.keyword == KEYWORD)?;
    serde_json::from_str(&chunk.text).ok()
}
