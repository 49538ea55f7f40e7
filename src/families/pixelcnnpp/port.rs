//! The module names of the best-known PyTorch port, `pclucas14/pixel-cnn-pp`, and of those made from
//! it.

use super::Layers;
use crate::network::LayerId;

/// Levels of the port, whose modules are named for them.
pub(crate) const LEVELS: usize = 3;

/// The module of every layer.
pub(crate) fn modules(layers: &Layers) -> Vec<(LayerId, String)> {
    let mut modules = vec![
        (layers.u_init, "u_init.conv".to_owned()),
        (layers.ul_init_above, "ul_init.0.conv".to_owned()),
        (layers.ul_init_left, "ul_init.1.conv".to_owned()),
        (layers.output, "nin_out.lin_a".to_owned()),
    ];
    for level in 0..LEVELS {
        // The port numbers the layers of the way down in order of use.
        for (pass, number, blocks) in [
            ("up_layers", level, &layers.up[level]),
            ("down_layers", LEVELS - 1 - level, &layers.down[level]),
        ] {
            for (row, pair) in blocks.iter().enumerate() {
                for (stream, block) in [("u_stream", &pair.u), ("ul_stream", &pair.ul)] {
                    let module = format!("{pass}.{number}.{stream}.{row}");
                    modules.push((block.conv_in, format!("{module}.conv_input.conv")));
                    modules.push((block.conv_out, format!("{module}.conv_out.conv")));
                    if let Some(nin) = block.nin {
                        modules.push((nin, format!("{module}.nin_skip.lin_a")));
                    }
                }
            }
        }
    }
    for (number, pair) in layers.downsample.iter().enumerate() {
        modules.push((pair.u, format!("downsize_u_stream.{number}.conv")));
        modules.push((pair.ul, format!("downsize_ul_stream.{number}.conv")));
    }
    // In order of use, too.
    for (number, pair) in layers.upsample.iter().rev().enumerate() {
        modules.push((pair.u, format!("upsize_u_stream.{number}.deconv")));
        modules.push((pair.ul, format!("upsize_ul_stream.{number}.deconv")));
    }
    modules
}
