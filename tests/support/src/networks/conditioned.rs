//! Networks that are conditioned on vectors and maps, with scaled residuals.

use fastpix::network::{
    Activation, Condition, Epilogue, Gate, InputEncoding, LogisticMixture, Network,
    OutputDistribution, ScaleLink,
};

use super::building::Building;

/// A sequence that depends on a vector and on a map, with scaled residuals; two floors of scales.
pub fn vocoder() -> Network {
    let input = InputEncoding::Scaled {
        codes: 256,
        limit: 1.0,
        ones: false,
    };
    let mixture = LogisticMixture {
        scale: ScaleLink::Exp {
            sampling_floor: -9.0,
            likelihood_floor: -1.0,
        },
        ..LogisticMixture::original(3, 1)
    };
    let output = OutputDistribution::LogisticMixture(mixture);
    let vector = 4;
    let mut net = Building::new(input, output, Condition::Vector(vector));
    let samples = net.graph.stage("samples");
    let map = net.graph.map("mel", 5);
    let f = 6;
    let mut x = net.graph.tensor("x", [1, 1], f);
    let op = net.op("x", f, &[(samples, Activation::Identity)], &[[-1, 0]]);
    net.graph.op(op, x, [0, 0]);
    let mut sum = None;
    let scale = 0.5f32.sqrt();
    for dilation in [1, 2, 4, 8] {
        let z = net.graph.tensor(format!("z {dilation}"), [1, 1], f);
        let taps = [[-2 * dilation, 0], [-dilation, 0], [0, 0]];
        let name = format!("z {dilation}");
        let op = net.op(&name, 2 * f, &[(x, Activation::Identity)], &taps);
        let op = net.taps(op, 2 * f, &[(map, Activation::Identity)], &[[0, 0]]);
        let op = net.term(op, vector, 2 * f);
        let op = op.epilogue(Epilogue {
            gate: Some(Gate::TanhSigmoid),
            ..Epilogue::default()
        });
        net.graph.op(op, z, [0, 0]);
        for (what, residual) in [("residual", Some(x)), ("skip", sum)] {
            let name = format!("{what} {dilation}");
            let y = net.graph.tensor(&name, [1, 1], f);
            let op = net.op(&name, f, &[(z, Activation::Identity)], &[[0, 0]]);
            let op = op.epilogue(Epilogue {
                gate: None,
                residual,
                scale: if residual.is_some() { scale } else { 1.0 },
            });
            net.graph.op(op, y, [0, 0]);
            match what {
                "skip" => sum = Some(y),
                _ => x = y,
            }
        }
    }
    let sum = sum.unwrap();
    let op = net.op("head", 9, &[(sum, Activation::Relu)], &[[0, 0]]);
    net.graph.parameters(op, 0);
    net.finish("vocoder")
}

/// Pixels of a mixture that depend on a vector: terms in ops that are complete in the row phase, in
/// ops that leave partial sums, in ops without, and of the parameters; ops without any. Scales with and
/// without gates and residuals.
pub fn vector(length: usize) -> Network {
    let input = InputEncoding::Scaled {
        codes: 256,
        limit: 1.0,
        ones: true,
    };
    let output = OutputDistribution::LogisticMixture(LogisticMixture::original(2, 2));
    let mut net = Building::new(input, output, Condition::Vector(length));
    let image = net.graph.stage("image");
    let f = 7;
    let plain = |tensor| [(tensor, Activation::Identity)];
    let above = net.graph.tensor("above", [1, 1], f);
    let op = net.op("above", 2 * f, &plain(image), &[[-2, 0], [-1, -1], [-1, 1]]);
    let op = net.term(op, length, 2 * f).epilogue(Epilogue {
        gate: Some(Gate::Sigmoid),
        residual: None,
        scale: -1.5,
    });
    net.graph.op(op, above, [0, 0]);
    let h = net.graph.tensor("h", [1, 1], f);
    let op = net.op("h", f, &plain(image), &[[-1, 0], [0, -1]]);
    let op = net.term(op, length, f).epilogue(Epilogue {
        residual: Some(above),
        scale: 0.5,
        ..Epilogue::default()
    });
    net.graph.op(op, h, [0, 0]);
    let g = net.graph.tensor("g", [1, 1], f);
    let op = net.op("g", 2 * f, &[(h, Activation::Elu)], &[[0, 0]]);
    let op = net.term(op, length, 2 * f).epilogue(Epilogue {
        gate: Some(Gate::TanhSigmoid),
        residual: Some(h),
        scale: 1.25,
    });
    net.graph.op(op, g, [0, 0]);
    let last = net.graph.tensor("last", [1, 1], f);
    let op = net.op("last", f, &[(g, Activation::ConcatElu)], &[[0, -1], [0, 0]]);
    let op = op.epilogue(Epilogue {
        scale: 0.75,
        ..Epilogue::default()
    });
    net.graph.op(op, last, [0, 0]);
    let outputs = output.parameters();
    let op = net.op("head", outputs, &[(last, Activation::Relu)], &[[0, 0]]);
    let op = net.term(op, length, outputs);
    net.graph.parameters(op, 0);
    net.finish("vector")
}

/// Codes that depend on a class and on a map, which is read under three activations, above, left and right,
/// on the image's grid and on a coarser one: sides are multiples of 2.
pub fn mapped(codes: usize) -> Network {
    let classes = 3;
    let output = OutputDistribution::Categorical {
        classes: codes,
        channels: 1,
    };
    let input = InputEncoding::OneHot { classes: codes };
    let mut net = Building::new(input, output, Condition::Class(classes));
    let drawn = net.graph.stage("codes");
    let map = net.graph.map("map", 6);
    let f = 8;
    let above = net.graph.tensor("above", [1, 1], f);
    let rows = [[-1, -1], [-1, 0], [-1, 2]];
    let op = net.op("above", f, &[(drawn, Activation::Identity)], &rows);
    let around = [[-3, 1], [-1, -2], [0, -1], [0, 0], [0, 3]];
    let op = net.taps(op, f, &[(map, Activation::Identity)], &around);
    let op = net.term(op, classes, f);
    net.graph.op(op, above, [0, 0]);
    let coarse = net.graph.tensor("coarse", [2, 2], f);
    let sources = [(map, Activation::ConcatElu)];
    let op = net.strided("coarse", [2, 2], f, &sources, &[[-1, -1], [0, 0], [0, 1]]);
    net.graph.op(op, coarse, [0, 0]);
    let fine = net.graph.tensor("fine", [1, 1], f);
    for row in 0..2 {
        for column in 0..2 {
            let name = format!("fine {row} {column}");
            let sources = [(coarse, Activation::Identity)];
            let op = net.strided(&name, [2, 2], f, &sources, &[[0, 0]]);
            net.graph.op(op, fine, [row, column]);
        }
    }
    let h = net.graph.tensor("h", [1, 1], f);
    let op = net.op("h", 2 * f, &[(drawn, Activation::Identity)], &[[0, -1]]);
    let op = net.taps(op, 2 * f, &[(map, Activation::Tanh)], &[[0, 0], [0, -1]]);
    let op = net.taps(op, 2 * f, &[(above, Activation::Identity)], &[[0, 0]]);
    let op = net.taps(op, 2 * f, &[(fine, Activation::Relu)], &[[0, 0]]);
    let op = net.term(op, classes, 2 * f).epilogue(Epilogue {
        gate: Some(Gate::TanhSigmoid),
        ..Epilogue::default()
    });
    net.graph.op(op, h, [0, 0]);
    let op = net.op("head", codes, &[(h, Activation::Elu)], &[[0, 0]]);
    net.graph.parameters(op, 0);
    net.finish("mapped")
}
