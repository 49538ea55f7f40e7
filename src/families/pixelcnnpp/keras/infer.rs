//! Hyperparameters from the shapes of the layers in a Keras file, before it is known which is which.

use super::Stored;
use super::names::{Class, Part};
use crate::checkpoint::{Entry, shown};
use crate::families::HyperparametersError;
use crate::families::pixelcnnpp::{Dialect, FAMILY, Hyperparameters, Layout};
use crate::network::{Activation, Condition};

/// A kernel.
struct Kernel<'a> {
    entry: &'a Entry,
    shape: &'a [usize],
    number: usize,
    has_norm: bool,
}

/// Infers the hyperparameters. Neither the size of images nor the range of their codes is in a file,
/// nor which of the activations it is that do not double the channels: `elu` is assumed. A condition
/// is a vector of numbers.
pub(super) fn infer(stored: &[Stored<'_>]) -> Result<Hyperparameters, HyperparametersError> {
    let kernels: Vec<Kernel<'_>> = stored
        .iter()
        .filter_map(|layer| {
            let entry = layer.part(Part::Kernel)?;
            Some(Kernel {
                entry,
                shape: &entry.shape,
                number: layer.number,
                has_norm: layer.part(Part::Scale).is_some(),
            })
        })
        .collect();
    let is_first = |class| matches!(class, Class::WeightNorm | Class::Conv | Class::Any);
    let first = stored.iter().filter(|layer| is_first(layer.class));
    let first = first.min_by_key(|layer| layer.number);
    let Some(first) = first.and_then(|layer| layer.part(Part::Kernel)) else {
        return Err(HyperparametersError::Missing {
            name: "weight_norm/kernel".into(),
            family: FAMILY,
        });
    };
    let misshapen = |entry: &Entry, expected: String| {
        Err(HyperparametersError::Shape {
            name: shown(&entry.name),
            expected,
            found: entry.shape.clone(),
        })
    };
    // That of the vertical stack, the deepest one and the first one made.
    let expected = "shape [2 x rows - 1, columns, channels, filters]";
    let &[height, columns, channels, filters] = first.shape.as_slice() else {
        return misshapen(first, expected.into());
    };
    if height.is_multiple_of(2) {
        return misshapen(first, expected.into());
    }
    let doubled = filters.saturating_mul(2);
    let (levels, nr_resnet) = blocks(&kernels)?;
    // The second convolution of any block.
    let second = kernels.iter().find_map(|kernel| match *kernel.shape {
        [height, _, inputs, outputs] if height % 2 == 1 && outputs == doubled => {
            Some((kernel, inputs))
        }
        _ => None,
    });
    let activation = match second {
        Some((_, inputs)) if inputs == doubled => Activation::ConcatElu,
        Some((_, inputs)) if inputs == filters => Activation::Elu,
        Some((kernel, _)) => {
            let expected = format!("{filters} or {doubled} inputs");
            return misshapen(kernel.entry, expected);
        }
        None => {
            let expected = format!("a convolution of {doubled} outputs in each block beside it");
            return misshapen(first, expected);
        }
    };
    // The last one of those that are normalised, if any is.
    let has_norm = kernels.iter().any(|kernel| kernel.has_norm);
    let of_pixels = kernels
        .iter()
        .filter(|kernel| kernel.shape.len() == 2 && kernel.has_norm == has_norm);
    let Some(last) = of_pixels.max_by_key(|kernel| kernel.number) else {
        return Err(HyperparametersError::Missing {
            name: "a kernel of two axes".into(),
            family: FAMILY,
        });
    };
    let per_component = match channels {
        1..=256 => Layout::PerComponent.of(1, channels).parameters,
        // Refused with the other ranges.
        _ => 1,
    };
    let outputs = last.shape[1];
    if outputs == 0 || outputs % per_component != 0 {
        let expected = format!("shape [filters, a multiple of {per_component}]");
        return misshapen(last.entry, expected);
    }
    let term = kernels.iter().find(|kernel| {
        let is_last = std::ptr::eq(*kernel, last);
        !is_last && !kernel.has_norm && kernel.shape.len() == 2 && kernel.shape[1] == doubled
    });
    let mut dialect = Dialect::tensorflow_probability();
    dialect.activation = activation;
    dialect.receptive_field = [height / 2 + 1, columns];
    dialect.condition_bias = term.is_some();
    let hyper = Hyperparameters {
        levels,
        nr_resnet,
        nr_filters: filters,
        nr_mix: outputs / per_component,
        channels,
        condition: term.map_or(Condition::None, |term| Condition::Vector(term.shape[0])),
        map_channels: None,
        image_size: None,
        dialect,
    };
    hyper.validate()?;
    Ok(hyper)
}

/// Levels and blocks per level, from how many kernels of convolutions have an odd number of rows, and
/// how many an even one: those of stride 2.
fn blocks(kernels: &[Kernel<'_>]) -> Result<(usize, usize), HyperparametersError> {
    let of = |parity: usize| {
        let convolutions = kernels.iter().filter(|kernel| kernel.shape.len() == 4);
        convolutions
            .filter(|kernel| kernel.shape[0] % 2 == parity)
            .count()
    };
    let (odd, even) = (of(1), of(0));
    // Each level but the last has two that lead on and two that lead back, and a block in each
    // stack beside those that all levels have on both ways; a block has two.
    let levels = even / 4 + 1;
    let fixed = 3 + 4 * (levels - 1);
    let per_block = 8 * levels;
    if !even.is_multiple_of(4) || odd <= fixed || !(odd - fixed).is_multiple_of(per_block) {
        return Err(HyperparametersError::Stated {
            name: "convolutions",
            expected: "4 of even height between two levels; of odd height 3, 4 for each level \
                       but the last, and 8 for each level and block"
                .into(),
            found: format!("{even} of even and {odd} of odd height"),
        });
    }
    Ok((levels, (odd - fixed) / per_block))
}
