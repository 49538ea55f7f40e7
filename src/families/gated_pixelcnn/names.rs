//! What the names in a state dict mean.

/// What a tensor's name says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// A tensor of the model.
    Weight {
        /// Whether no other family has a module of this name.
        telling: bool,
    },
    /// The buffer in which this module keeps the mask of its convolution.
    MaskOf(&'a str),
    /// None of these.
    Unknown,
}

/// The most digits of the number of a block.
const MOST_DIGITS: usize = 6;

/// Understands a name without what wrappers put before it.
pub(super) fn meaning(name: &str) -> Meaning<'_> {
    if let Some(module) = name.strip_suffix(".mask") {
        return match in_block(module, "conv_layers.") {
            Some("conv_vert" | "conv_horiz") => Meaning::MaskOf(module),
            None if matches!(module, "conv_vstack" | "conv_hstack") => Meaning::MaskOf(module),
            _ => Meaning::Unknown,
        };
    }
    let Some((module, tensor)) = name.rsplit_once('.') else {
        return Meaning::Unknown;
    };
    let telling = Meaning::Weight { telling: true };
    let common = Meaning::Weight { telling: false };
    let found = match (
        in_block(module, "layers."),
        in_block(module, "conv_layers."),
    ) {
        (Some("vert_stack" | "vert_to_horiz" | "horiz_stack" | "horiz_resid"), _) => telling,
        (Some("class_cond_embedding"), _) if tensor == "weight" => telling,
        (_, Some("conv_vert.conv" | "conv_horiz.conv")) => telling,
        (_, Some("conv_vert_to_horiz" | "conv_horiz_1x1")) => telling,
        (None, None) => match module {
            "conv_vstack.conv" | "conv_hstack.conv" => telling,
            "output_conv.0" | "output_conv.2" | "conv_out" => common,
            "embedding" if tensor == "weight" => common,
            _ => Meaning::Unknown,
        },
        _ => Meaning::Unknown,
    };
    match tensor {
        "weight" | "bias" => found,
        _ => Meaning::Unknown,
    }
}

/// What follows a list's name and a number: `layers.3.vert_stack` is `vert_stack` in `layers.`.
fn in_block<'a>(module: &'a str, list: &str) -> Option<&'a str> {
    split(module, list).map(|(_, rest)| rest)
}

/// The number of the block of a list to which a name belongs.
pub(super) fn number(name: &str, list: &str) -> Option<usize> {
    split(name, list)?.0.parse().ok()
}

fn split<'a>(name: &'a str, list: &str) -> Option<(&'a str, &'a str)> {
    let (number, rest) = name.strip_prefix(list)?.split_once('.')?;
    // `layers.007` would be a second name for `layers.7`.
    let plain = number == "0" || !number.starts_with('0');
    let digits = (1..=MOST_DIGITS).contains(&number.len());
    (plain && digits && number.bytes().all(|b| b.is_ascii_digit())).then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_originals_are_understood() {
        for (name, telling) in [
            ("embedding.weight", false),
            ("layers.0.vert_stack.weight", true),
            ("layers.14.vert_to_horiz.bias", true),
            ("layers.3.horiz_stack.weight", true),
            ("layers.3.horiz_resid.bias", true),
            ("layers.3.class_cond_embedding.weight", true),
            ("output_conv.0.weight", false),
            ("output_conv.2.bias", false),
            ("conv_vstack.conv.weight", true),
            ("conv_hstack.conv.bias", true),
            ("conv_layers.6.conv_vert.conv.weight", true),
            ("conv_layers.0.conv_horiz.conv.bias", true),
            ("conv_layers.0.conv_vert_to_horiz.weight", true),
            ("conv_layers.0.conv_horiz_1x1.bias", true),
            ("conv_out.weight", false),
        ] {
            assert_eq!(meaning(name), Meaning::Weight { telling }, "{name}");
        }
        for (name, of) in [
            ("conv_vstack.mask", "conv_vstack"),
            ("conv_hstack.mask", "conv_hstack"),
            ("conv_layers.2.conv_vert.mask", "conv_layers.2.conv_vert"),
            ("conv_layers.2.conv_horiz.mask", "conv_layers.2.conv_horiz"),
        ] {
            assert_eq!(meaning(name), Meaning::MaskOf(of), "{name}");
        }
    }

    #[test]
    fn other_names_are_unknown() {
        for name in [
            "",
            ".",
            "weight",
            "embedding.bias",
            "embedding.0.weight",
            "layers.vert_stack.weight",
            "layers..vert_stack.weight",
            "layers.00.vert_stack.weight",
            "layers.-1.vert_stack.weight",
            "layers.1000000.vert_stack.weight",
            "layers.0.vert_stack",
            "layers.0.vert_stack.weight.weight",
            "layers.0.vert_stack.mask",
            "layers.0.class_cond_embedding.bias",
            "layers.0.conv_vert.conv.weight",
            "layers.0.embedding.weight",
            "layers.0.conv_out.weight",
            "conv_layers.0.conv_vert.weight",
            "conv_layers.0.conv_vert_to_horiz.mask",
            "conv_layers.0.conv_vstack.conv.weight",
            "conv_layers.0.conv_vstack.mask",
            "conv_vstack.weight",
            "conv_vert.mask",
            "output_conv.1.weight",
            "conv2d_0/V",
        ] {
            assert_eq!(meaning(name), Meaning::Unknown, "{name}");
        }
    }
}
