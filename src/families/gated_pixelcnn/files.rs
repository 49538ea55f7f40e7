//! The files of a Gated PixelCNN: state dicts of the originals, in whatever format, and what this
//! program makes of them, which keeps their names.

use std::collections::BTreeMap;

use serde_json::Value;

use super::names::{Meaning, meaning, number};
use super::{CodePrior, FAMILY, Hyperparameters, PixelModel, Variant};
use crate::checkpoint::{CheckpointError, Entry, FileView, Ignored, Mapping, Recipe, shown};
use crate::families::HyperparametersError;
use crate::families::names::{bare, twice};

/// Whether these are the names of a Gated PixelCNN.
pub(crate) fn recognised(file: &FileView<'_>) -> bool {
    let mut names = file.entries.iter().map(|entry| bare(&entry.name));
    names.any(|name| meaning(name) == Meaning::Weight { telling: true })
}

/// Understands the names in a file.
///
/// # Errors
/// When two tensors in the file are the same tensor of the model.
pub(crate) fn map(file: &FileView<'_>) -> Result<Mapping, CheckpointError> {
    let mut weights: BTreeMap<&str, usize> = BTreeMap::new();
    let mut prefix = "";
    for (index, entry) in file.entries.iter().enumerate() {
        let name = bare(&entry.name);
        if let Meaning::Weight { telling } = meaning(name) {
            if weights.insert(name, index).is_some() {
                return Err(twice(file, entry));
            }
            if telling {
                prefix = entry.name.strip_suffix(name).unwrap_or("");
            }
        }
    }
    let shapes = Shapes {
        weights: &weights,
        entries: file.entries,
    };
    let inferred = shapes.infer(file.hparams);
    let mut mapping = Mapping::new(inferred.clone().map(Into::into));
    mapping.prefix = prefix.to_owned();
    mapping.notes = notes(file, inferred.as_ref().ok());
    for (&name, &index) in &weights {
        mapping.insert(name.to_owned(), Recipe::of(index));
    }
    let metadata = file
        .metadata
        .and_then(|json| serde_json::from_str(json).ok());
    let mut known = inferred.into_iter().chain(metadata);
    let grouped = known.any(|hyper| hyper.groups() > 1);
    let is_mask = |entry: &Entry| shapes.is_mask(entry, grouped);
    let masks = file.entries.iter().filter(|entry| is_mask(entry));
    let masks = masks.map(|entry| Ignored {
        name: entry.name.clone(),
        why: "mask of a convolution: masked weights are never read".into(),
    });
    mapping.ignored = masks.collect();
    mapping.leave_unknown(file.entries, is_mask);
    Ok(mapping)
}

/// What a user should know about numbers that the file does not hold.
fn notes(file: &FileView<'_>, inferred: Option<&Hyperparameters>) -> Vec<String> {
    let stated = file.metadata.is_some() || stated(file.hparams, "dilations").is_some();
    match inferred.map(|hyper| &hyper.variant) {
        Some(Variant::Pixels(model)) if !stated => vec![format!(
            "dilations {}: those of the original's code, which its files do not hold",
            model.dilations_in_words()
        )],
        _ => vec![],
    }
}

/// A hyperparameter stated beside the file.
fn stated<'a>(hparams: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    hparams?.get(name)
}

/// The tensors of the model that are in a file.
struct Shapes<'a> {
    /// Indices among the entries by name.
    weights: &'a BTreeMap<&'a str, usize>,
    entries: &'a [Entry],
}

impl Shapes<'_> {
    fn shape(&self, name: &str) -> Result<&[usize], HyperparametersError> {
        match self.weights.get(name) {
            Some(&index) => Ok(&self.entries[index].shape),
            None => Err(HyperparametersError::Missing {
                name: name.to_owned(),
                family: FAMILY,
            }),
        }
    }

    /// Whether this is the mask of one of the convolutions: one number per place of the kernel or,
    /// where channels are masked too, one per weight.
    fn is_mask(&self, entry: &Entry, grouped: bool) -> bool {
        let Meaning::MaskOf(module) = meaning(bare(&entry.name)) else {
            return false;
        };
        let Ok(&[outputs, inputs, rows, columns]) = self.shape(&format!("{module}.conv.weight"))
        else {
            return false;
        };
        entry.shape == [1, 1, rows, columns]
            || (grouped && entry.shape == [outputs, inputs, rows, columns])
    }

    fn misshapen(&self, name: &str, expected: &str) -> HyperparametersError {
        HyperparametersError::Shape {
            name: name.to_owned(),
            expected: expected.to_owned(),
            found: self.shape(name).unwrap_or_default().to_vec(),
        }
    }

    /// How many blocks a list has: as many as its highest number says, so that what is missing
    /// before it is named.
    fn blocks(&self, list: &str) -> usize {
        let numbers = self.weights.keys().filter_map(|name| number(name, list));
        numbers.max().map_or(0, |number| number + 1)
    }

    /// Infers the hyperparameters from the shapes of a few tensors, and from what is stated beside
    /// the file. The image size cannot be inferred.
    fn infer(&self, hparams: Option<&Value>) -> Result<Hyperparameters, HyperparametersError> {
        let of_pixels = ["conv_vstack.", "conv_hstack.", "conv_layers."];
        let is_of_pixels = |name: &&str| of_pixels.iter().any(|start| name.starts_with(start));
        let (variant, dim) = match self.weights.keys().any(is_of_pixels) {
            true => self.pixel_model(hparams)?,
            false => self.code_prior()?,
        };
        let hyper = Hyperparameters {
            variant,
            dim,
            image_size: None,
        };
        hyper.validate()?;
        Ok(hyper)
    }

    fn code_prior(&self) -> Result<(Variant, usize), HyperparametersError> {
        let name = "embedding.weight";
        let &[codes, dim] = self.shape(name)? else {
            return Err(self.misshapen(name, "shape [codes, dim]"));
        };
        let layers = self.blocks("layers.");
        // Kernels without the rows below the middle one.
        let kernel = |layer: usize| {
            let name = format!("layers.{layer}.vert_stack.weight");
            match *self.shape(&name)? {
                [_, _, rows, kernel] if kernel % 2 == 1 && rows == kernel / 2 + 1 => Ok(kernel),
                _ => {
                    let expected = "shape [2 dim, dim, k / 2 + 1, k] with an odd k";
                    Err(self.misshapen(&name, expected))
                }
            }
        };
        let first_kernel = kernel(0)?;
        let kernel = match layers {
            0 | 1 => 3,
            _ => kernel(1)?,
        };
        let mut names = self.weights.keys();
        let classes = match names.any(|name| name.contains(".class_cond_embedding.")) {
            false => None,
            true => {
                let name = "layers.0.class_cond_embedding.weight";
                let &[classes, _] = self.shape(name)? else {
                    return Err(self.misshapen(name, "shape [classes, 2 dim]"));
                };
                Some(classes)
            }
        };
        let name = "output_conv.0.weight";
        let &[hidden, _, 1, 1] = self.shape(name)? else {
            return Err(self.misshapen(name, "shape [hidden, dim, 1, 1]"));
        };
        let prior = CodePrior {
            codes,
            layers,
            classes,
            first_kernel,
            kernel,
            hidden,
        };
        Ok((Variant::Codes(prior), dim))
    }

    fn pixel_model(
        &self,
        hparams: Option<&Value>,
    ) -> Result<(Variant, usize), HyperparametersError> {
        let name = "conv_vstack.conv.weight";
        let &[dim, channels, 3, 3] = self.shape(name)? else {
            return Err(self.misshapen(name, "shape [hidden, channels, 3, 3]"));
        };
        let blocks = self.blocks("conv_layers.");
        if blocks == 0 {
            self.shape("conv_layers.0.conv_vert.conv.weight")?;
        }
        let model = PixelModel {
            channels,
            dilations: dilations(blocks, stated(hparams, "dilations"))?,
            rgb_groups: rgb_groups(stated(hparams, "rgb_groups"))?,
        };
        Ok((Variant::Pixels(model), dim))
    }
}

/// The dilations of so many blocks: as stated, or those of the original's code.
fn dilations(blocks: usize, stated: Option<&Value>) -> Result<Vec<usize>, HyperparametersError> {
    let fail = |found: String| HyperparametersError::Stated {
        name: "dilations",
        expected: format!("a list of {blocks} whole numbers, one for each block"),
        found,
    };
    let Some(stated) = stated else {
        return match blocks == PixelModel::DILATIONS.len() {
            true => Ok(PixelModel::DILATIONS.to_vec()),
            false => Err(fail("none: the file does not hold them".into())),
        };
    };
    let whole = |value: &Value| usize::try_from(value.as_u64()?).ok();
    let listed = stated.as_array();
    let listed: Option<Vec<usize>> = listed.and_then(|list| list.iter().map(whole).collect());
    match listed {
        Some(listed) if listed.len() == blocks => Ok(listed),
        _ => Err(fail(shown(&stated.to_string()))),
    }
}

/// Whether the channels of a pixel see each other: as stated; not, as in the original, by default.
fn rgb_groups(stated: Option<&Value>) -> Result<bool, HyperparametersError> {
    match stated {
        None => Ok(false),
        Some(Value::Bool(stated)) => Ok(*stated),
        Some(other) => Err(HyperparametersError::Stated {
            name: "rgb_groups",
            expected: "true or false".into(),
            found: shown(&other.to_string()),
        }),
    }
}
