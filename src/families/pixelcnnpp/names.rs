//! What the names in a file mean, for files that keep the names of the original program.

use crate::families::training_state::training_state;

/// What a tensor's name says about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A weight of a PixelCNN++, or its exponential moving average.
    Weight {
        /// The canonical name, `conv2d_0/V`.
        canonical: String,
        /// Whether this is the moving average.
        average: bool,
    },
    /// Something that training leaves behind; the text says what.
    Ignored(&'static str),
    /// None of these.
    Unknown,
}

/// The suffix that TensorFlow gives the moving average of a variable.
pub(crate) const AVERAGE: &str = "/ExponentialMovingAverage";

/// Understands a name as TensorFlow's checkpoints, and files made from them, spell it.
pub(crate) fn meaning(name: &str) -> Meaning {
    // Python code often saves `variable.name`, which ends with the output's number.
    let name = name.strip_suffix(":0").unwrap_or(name);
    let (base, average) = match name.strip_suffix(AVERAGE) {
        Some(base) => (base, true),
        None => (name, false),
    };
    if let Some(why) = training_state(base) {
        return Meaning::Ignored(why);
    }
    let canonical = base.strip_prefix("model/").unwrap_or(base);
    if is_canonical(canonical) {
        Meaning::Weight {
            canonical: canonical.to_owned(),
            average,
        }
    } else {
        Meaning::Unknown
    }
}

/// Whether this is `<kind>_<number>/<tensor>`, with a tensor that the kind has.
fn is_canonical(name: &str) -> bool {
    let Some((layer, tensor)) = name.split_once('/') else {
        return false;
    };
    let Some((kind, count)) = layer.rsplit_once('_') else {
        return false;
    };
    // `conv2d_007` would be a second name for `conv2d_7`.
    let plain = count == "0" || !count.starts_with('0');
    if !plain || count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    match kind {
        "conv2d" | "deconv2d" | "dense" => matches!(tensor, "V" | "g" | "b" | "W"),
        "conditional_weights" => matches!(tensor, "hw" | "b"),
        "conditional_maps" => tensor == "hw",
        _ => false,
    }
}

/// Whether any of these is a canonical name.
pub(crate) fn any_canonical<'a>(names: impl IntoIterator<Item = &'a str>) -> bool {
    let mut names = names.into_iter();
    names.any(|name| matches!(meaning(name), Meaning::Weight { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(canonical: &str, average: bool) -> Meaning {
        Meaning::Weight {
            canonical: canonical.into(),
            average,
        }
    }

    #[test]
    fn weights_are_recognised_with_and_without_the_scope() {
        assert_eq!(meaning("model/conv2d_0/V"), weight("conv2d_0/V", false));
        assert_eq!(meaning("deconv2d_3/g"), weight("deconv2d_3/g", false));
        assert_eq!(meaning("model/dense_13/b:0"), weight("dense_13/b", false));
        assert_eq!(
            meaning("model/conditional_weights_2/hw/ExponentialMovingAverage"),
            weight("conditional_weights_2/hw", true)
        );
    }

    #[test]
    fn what_training_leaves_behind_is_not_a_weight() {
        for name in [
            "Variable",
            "Variable_128",
            "model/conv2d_0/V/Adam",
            "model/conv2d_0/V/Adam_1",
            "beta1_power",
            "global_step",
        ] {
            assert!(matches!(meaning(name), Meaning::Ignored(_)), "{name}");
        }
    }

    #[test]
    fn other_names_are_unknown() {
        for name in [
            "",
            "conv2d_0",
            "conv2d_/V",
            "conv2d_01/V",
            "conv2d_0/hw",
            "conditional_weights_0/V",
            "model/model/conv2d_0/V",
            "../conv2d_0/V",
            "conv2d_0/V/extra",
        ] {
            assert_eq!(meaning(name), Meaning::Unknown, "{name}");
        }
    }
}
