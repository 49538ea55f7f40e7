//! What the names in Keras' files say: which layer, counted how, and which of its tensors.

/// How the layers of a file are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// By class in the order in which they were made, from any number on and with gaps: layers'
    /// own names.
    Creation,
    /// By class in the order of depth, without gaps: `.weights.h5`.
    DepthByClass,
    /// All together in the order of depth, without gaps: checkpoints of objects.
    Depth,
}

/// A class of layers, as far as names tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    WeightNorm,
    Conv,
    Deconv,
    Dense,
    /// Where the order is that of all layers together.
    Any,
}

/// A tensor of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Kernel,
    /// `g` of the weight norm.
    Scale,
    Bias,
    /// Whether the weight norm has set its scales and biases from data, or will yet.
    Initialized,
}

/// What a name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meaning<'a> {
    pub order: Order,
    /// The name up to that of the layer.
    pub layer: &'a str,
    pub class: Class,
    pub number: usize,
    pub part: Part,
}

/// What a checkpoint of objects adds to the way to a variable.
const VARIABLE: &str = "/.ATTRIBUTES/VARIABLE_VALUE";
/// What it calls the layers of a model that have weights.
const WITH_WEIGHTS: &str = "layer_with_weights-";

/// Understands a name; none if it is not one of a layer.
pub(super) fn meaning<'a>(name: &'a str, full_name: Option<&'a str>) -> Option<Meaning<'a>> {
    if training_state(name).is_some() {
        return None;
    }
    match name.strip_suffix(VARIABLE) {
        None => in_hdf5(name),
        // The object's own name tells more than the way to it.
        Some(way) => full_name.and_then(by_creation).or_else(|| of_objects(way)),
    }
}

/// Why a tensor is left out that is none of the model's.
pub(super) fn training_state(name: &str) -> Option<&'static str> {
    let mut parts = name.split('/');
    if name == "_CHECKPOINTABLE_OBJECT_GRAPH" {
        Some("description of the saved objects")
    } else if name.contains("/.OPTIMIZER_SLOT/") || parts.clone().any(is_optimizer) {
        Some("optimiser state")
    } else if parts.clone().any(|part| part == "save_counter") {
        Some("step counter")
    } else if parts.any(|part| part == "keras_api" || part == "metrics") {
        Some("state of metrics")
    } else {
        None
    }
}

fn is_optimizer(part: &str) -> bool {
    matches!(part, "optimizer" | "optimizer_weights" | "_optimizer")
}

/// Cuts the last part off a path; an only part is its own.
fn cut(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// `weight_norm_3/kernel:0`, whatever is before it.
fn by_creation(name: &str) -> Option<Meaning<'_>> {
    let (layer, tensor) = cut(name);
    let part = match tensor.strip_suffix(":0").unwrap_or(tensor) {
        "kernel" => Part::Kernel,
        "g" => Part::Scale,
        "bias" => Part::Bias,
        "initialized" => Part::Initialized,
        _ => return None,
    };
    let (class, number) = class(cut(layer).1)?;
    Some(Meaning {
        order: Order::Creation,
        layer,
        class,
        number,
        part,
    })
}

/// `.../weight_norm_3/vars/0` or `.../weight_norm_3/layer/vars/0`; else a layer's own names.
fn in_hdf5(name: &str) -> Option<Meaning<'_>> {
    let (list, variable) = cut(name);
    let Some(owner) = list.strip_suffix("/vars") else {
        return by_creation(name);
    };
    let (layer, inner) = match owner.strip_suffix("/layer") {
        Some(layer) => (layer, true),
        None => (owner, false),
    };
    let (class, number) = class(cut(layer).1)?;
    let part = match (class, inner, variable) {
        (Class::WeightNorm, true, "0") => Part::Bias,
        (_, false, "0") => Part::Kernel,
        (Class::WeightNorm, false, "1") => Part::Scale,
        (Class::WeightNorm, false, "2") => Part::Initialized,
        (Class::Conv | Class::Deconv | Class::Dense, false, "1") => Part::Bias,
        _ => return None,
    };
    Some(Meaning {
        order: Order::DepthByClass,
        layer,
        class,
        number,
        part,
    })
}

/// `.../layer_with_weights-3/v` and the like.
fn of_objects(way: &str) -> Option<Meaning<'_>> {
    let (rest, variable) = cut(way);
    let (layer, part) = match (rest.strip_suffix("/layer"), variable) {
        (Some(layer), "bias") => (layer, Part::Bias),
        (None, "v" | "kernel") => (rest, Part::Kernel),
        (None, "g") => (rest, Part::Scale),
        (None, "bias") => (rest, Part::Bias),
        (None, "initialized") => (rest, Part::Initialized),
        _ => return None,
    };
    Some(Meaning {
        order: Order::Depth,
        layer,
        class: Class::Any,
        number: whole(cut(layer).1.strip_prefix(WITH_WEIGHTS)?)?,
        part,
    })
}

/// The class and the number of a layer's name: the first one has no number.
fn class(layer: &str) -> Option<(Class, usize)> {
    let of = |name: &str| {
        Some(match name {
            "weight_norm" => Class::WeightNorm,
            "conv2d" => Class::Conv,
            "conv2d_transpose" => Class::Deconv,
            "dense" => Class::Dense,
            _ => return None,
        })
    };
    match of(layer) {
        Some(class) => Some((class, 0)),
        None => {
            let (name, number) = layer.rsplit_once('_')?;
            Some((of(name)?, whole(number).filter(|&number| number > 0)?))
        }
    }
}

/// A whole number without leading zeros, which would be a second name for the same.
fn whole(digits: &str) -> Option<usize> {
    let plain = digits == "0" || !digits.starts_with('0');
    let digits = Some(digits).filter(|digits| plain && digits.bytes().all(|b| b.is_ascii_digit()));
    digits?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, full_name: Option<&str>) -> Option<(Order, Class, usize, Part)> {
        let found = meaning(name, full_name)?;
        Some((found.order, found.class, found.number, found.part))
    }

    #[test]
    fn all_three_kinds_of_files_are_understood() {
        use {Class::*, Order::*, Part::*};
        for (name, full_name, expected) in [
            (
                "private__pixel_cnn_network_1/weight_norm_12/kernel:0",
                None,
                (Creation, WeightNorm, 12, Kernel),
            ),
            ("weight_norm/g", None, (Creation, WeightNorm, 0, Scale)),
            ("conv2d_transpose/bias", None, (Creation, Deconv, 0, Bias)),
            ("conv2d_transpose_2/bias", None, (Creation, Deconv, 2, Bias)),
            (
                "layers/p/_network/layers/weight_norm_3/layer/vars/0",
                None,
                (DepthByClass, WeightNorm, 3, Bias),
            ),
            (
                "layers/p/_network/layers/weight_norm_3/vars/2",
                None,
                (DepthByClass, WeightNorm, 3, Initialized),
            ),
            (
                "layers/p/_network/layers/dense/vars/1",
                None,
                (DepthByClass, Dense, 0, Bias),
            ),
            (
                "network/_network/layer_with_weights-7/v/.ATTRIBUTES/VARIABLE_VALUE",
                None,
                (Depth, Any, 7, Kernel),
            ),
            (
                "layer_with_weights-7/layer/bias/.ATTRIBUTES/VARIABLE_VALUE",
                None,
                (Depth, Any, 7, Bias),
            ),
            (
                "layer_with_weights-7/v/.ATTRIBUTES/VARIABLE_VALUE",
                Some("weight_norm_4/kernel"),
                (Creation, WeightNorm, 4, Kernel),
            ),
        ] {
            assert_eq!(of(name, full_name), Some(expected), "{name}");
        }
    }

    #[test]
    fn other_names_are_none_of_a_layer() {
        for name in [
            "",
            "kernel",
            "weight_norm_0/kernel",
            "weight_norm_03/kernel",
            "weight_norm_x/kernel",
            "embedding_1/kernel",
            "weight_norm_3/moving_mean",
            "layers/weight_norm/vars/3",
            "layers/dense/layer/vars/0",
            "optimizer/vars/0",
            "layer_with_weights-/v/.ATTRIBUTES/VARIABLE_VALUE",
            "layer_with_weights-1/v/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE",
            "save_counter/.ATTRIBUTES/VARIABLE_VALUE",
        ] {
            assert_eq!(of(name, None), None, "{name}");
        }
    }
}
