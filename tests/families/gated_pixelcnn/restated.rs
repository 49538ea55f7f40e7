//! Both originals in float64, from their description and nothing else: whole kernels, of which a
//! predicate says what the masks let through.

use fastpix::Codes;
use fastpix::checkpoint::{Tensor, Tensors};
use fastpix::families::gated_pixelcnn::{Hyperparameters, PixelModel, Variant};

/// Channels of every position of an image, row by row.
type Grid = Vec<Vec<f64>>;

/// An element of a convolution's weight: output, input, row and column of the kernel as stored.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub output: usize,
    pub input: usize,
    pub row: usize,
    pub column: usize,
}

/// What the mask of a convolution lets through: by name of its weight and by place.
pub fn sees(hyper: &Hyperparameters, name: &str, shape: &[usize], at: Place) -> bool {
    let model = match &hyper.variant {
        // Kernels of priors end with the current row and the current pixel; the first block sees
        // neither.
        Variant::Codes(_) => {
            return match name {
                "layers.0.vert_stack.weight" => at.row + 1 < shape[2],
                "layers.0.horiz_stack.weight" => at.column + 1 < shape[3],
                _ => true,
            };
        }
        Variant::Pixels(model) => model,
        _ => panic!("another variant"),
    };
    match name {
        "conv_vstack.conv.weight" => at.row == 0,
        "conv_hstack.conv.weight" => {
            let before = model.rgb_groups && at.input < group(hyper, model, at.output);
            at.column == 0 || (at.column == 1 && before)
        }
        "conv_out.weight" => {
            !model.rgb_groups || group(hyper, model, at.input) <= at.output % model.channels
        }
        _ if name.ends_with("conv_vert.conv.weight") => at.row < 2,
        _ if name.ends_with("conv_horiz.conv.weight") => {
            at.column == 0 || (at.column == 1 && known(hyper, model, at))
        }
        _ if name.ends_with("conv_horiz_1x1.weight") => known(hyper, model, at),
        _ => true,
    }
}

/// The group of a feature, also of one in the second half of a gate.
fn group(hyper: &Hyperparameters, model: &PixelModel, feature: usize) -> usize {
    feature % hyper.dim / (hyper.dim / model.channels)
}

/// Whether an output at the current pixel may see an input.
fn known(hyper: &Hyperparameters, model: &PixelModel, at: Place) -> bool {
    !model.rgb_groups || group(hyper, model, at.input) <= group(hyper, model, at.output)
}

/// A model and the size of an image.
struct Model<'a> {
    hyper: &'a Hyperparameters,
    tensors: &'a Tensors,
    size: [usize; 2],
}

impl Model<'_> {
    fn tensor(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    /// A convolution whose middle is at (row, column) of its kernel.
    fn conv(&self, module: &str, x: &Grid, middle: [usize; 2], dilation: usize) -> Grid {
        let name = format!("{module}.weight");
        let weight = self.tensor(&name);
        let bias = &self.tensor(&format!("{module}.bias")).values;
        let &[outputs, inputs, rows, columns] = weight.shape.as_slice() else {
            panic!("{name} is no convolution");
        };
        let mut used = Vec::new();
        for output in 0..outputs {
            for input in 0..inputs {
                for row in 0..rows {
                    for column in 0..columns {
                        let at = Place {
                            output,
                            input,
                            row,
                            column,
                        };
                        if sees(self.hyper, &name, &weight.shape, at) {
                            let index = ((output * inputs + input) * rows + row) * columns + column;
                            used.push((at, f64::from(weight.values[index])));
                        }
                    }
                }
            }
        }
        let moved = |at: usize, place: usize, middle: usize| {
            (at + dilation * place).checked_sub(dilation * middle)
        };
        let position = |row: usize, column: usize| {
            let mut y: Vec<f64> = bias.iter().map(|&bias| bias.into()).collect();
            for &(at, weight) in &used {
                let row = moved(row, at.row, middle[0]).filter(|&row| row < self.size[0]);
                let column = moved(column, at.column, middle[1]);
                let column = column.filter(|&column| column < self.size[1]);
                if let (Some(row), Some(column)) = (row, column) {
                    y[at.output] += weight * x[row * self.size[1] + column][at.input];
                }
            }
            y
        };
        let rows = 0..self.size[0];
        rows.flat_map(|row| (0..self.size[1]).map(move |column| (row, column)))
            .map(|(row, column)| position(row, column))
            .collect()
    }

    fn one(&self, module: &str, x: &Grid) -> Grid {
        self.conv(module, x, [0, 0], 1)
    }

    fn row_of(&self, table: &str, index: usize) -> Vec<f64> {
        let table = self.tensor(table);
        let row = table.values.chunks(table.shape[1]).nth(index).unwrap();
        row.iter().map(|&x| x.into()).collect()
    }

    fn code_prior(&self, layers: usize, codes: &[u16], class: Option<usize>) -> Grid {
        let embedded = |&code: &u16| self.row_of("embedding.weight", code.into());
        let mut v: Grid = codes.iter().map(embedded).collect();
        let mut h = v.clone();
        for layer in 0..layers {
            let of = |what: &str| format!("layers.{layer}.{what}");
            let radius = self.tensor(&of("vert_stack.weight")).shape[2] - 1;
            let mut term = vec![0.0; 2 * self.hyper.dim];
            if let Some(class) = class {
                term = self.row_of(&of("class_cond_embedding.weight"), class);
            }
            let term = vec![term; codes.len()];
            let features = self.conv(&of("vert_stack"), &v, [radius; 2], 1);
            let left = self.conv(&of("horiz_stack"), &h, [0, radius], 1);
            let fed = self.one(&of("vert_to_horiz"), &features);
            v = gate(&sum(&features, &term));
            let gated = gate(&sum(&sum(&left, &fed), &term));
            let new = self.one(&of("horiz_resid"), &gated);
            h = match layer {
                0 => new,
                _ => sum(&h, &new),
            };
        }
        let hidden = each(&self.one("output_conv.0", &h), |x| x.max(0.0));
        self.one("output_conv.2", &hidden)
    }

    /// Logits channel by channel.
    fn pixel_model(&self, model: &PixelModel, codes: &[u16]) -> Grid {
        let scaled = |&code: &u16| f64::from(code) / 255.0 * 2.0 - 1.0;
        let pixels = codes.chunks(model.channels);
        let image: Grid = pixels
            .map(|pixel| pixel.iter().map(scaled).collect())
            .collect();
        let mut v = self.conv("conv_vstack.conv", &image, [1, 1], 1);
        let mut h = self.conv("conv_hstack.conv", &image, [0, 1], 1);
        for (layer, &dilation) in model.dilations.iter().enumerate() {
            let of = |what: &str| format!("conv_layers.{layer}.{what}");
            let features = self.conv(&of("conv_vert.conv"), &v, [1, 1], dilation);
            let left = self.conv(&of("conv_horiz.conv"), &h, [0, 1], dilation);
            let fed = self.one(&of("conv_vert_to_horiz"), &features);
            v = gate(&features);
            let gated = gate(&sum(&left, &fed));
            h = sum(&h, &self.one(&of("conv_horiz_1x1"), &gated));
        }
        let elu = each(&h, |x| if x > 0.0 { x } else { x.exp_m1() });
        let logits = self.one("conv_out", &elu);
        let by_channel = |logits: &Vec<f64>| {
            let of_channel = |channel: usize| logits.iter().skip(channel).step_by(model.channels);
            let channels = (0..model.channels).flat_map(of_channel);
            channels.copied().collect()
        };
        logits.iter().map(by_channel).collect()
    }
}

fn each(x: &Grid, f: impl Fn(f64) -> f64) -> Grid {
    let of = |x: &Vec<f64>| x.iter().map(|&x| f(x)).collect();
    x.iter().map(of).collect()
}

fn sum(a: &Grid, b: &Grid) -> Grid {
    let of = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
    a.iter().zip(b).map(of).collect()
}

fn gate(x: &Grid) -> Grid {
    let of = |x: &Vec<f64>| {
        let (a, b) = x.split_at(x.len() / 2);
        let gated = a.iter().zip(b).map(|(a, b)| a.tanh() / (1.0 + (-b).exp()));
        gated.collect()
    };
    x.iter().map(of).collect()
}

/// The logits of every value of given images, `[image][row][column][channel][class]`.
pub fn logits(
    hyper: &Hyperparameters,
    tensors: &Tensors,
    images: &Codes,
    classes: &[usize],
) -> Vec<f64> {
    let [_, height, width, _] = images.shape;
    let model = Model {
        hyper,
        tensors,
        size: [height, width],
    };
    let of_image = |(image, codes): (usize, &[u16])| match &hyper.variant {
        Variant::Codes(prior) => model.code_prior(prior.layers, codes, classes.get(image).copied()),
        Variant::Pixels(pixels) => model.pixel_model(pixels, codes),
        _ => panic!("another variant"),
    };
    let images = images.images().enumerate();
    images.flat_map(of_image).flatten().collect()
}
