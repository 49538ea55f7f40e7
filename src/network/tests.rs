//! What is derived from taps, and which descriptions are no network.

use super::*;

const CODES: usize = 4;

/// A network's description so far, with one stage.
struct Sketch {
    graph: GraphBuilder,
    input: TensorId,
}

/// A description without any stage.
fn of_codes() -> GraphBuilder {
    GraphBuilder::new(
        InputEncoding::OneHot { classes: CODES },
        OutputDistribution::Categorical {
            classes: CODES,
            channels: 1,
        },
        Condition::None,
    )
}

fn sketch() -> Sketch {
    let mut graph = of_codes();
    let input = graph.stage("codes");
    Sketch { graph, input }
}

/// Some matrix: the ground floor looks at numbers only when weights are given.
fn weights(k: usize) -> WeightView {
    WeightView {
        layer: 0,
        first: [0, 0],
        half: k,
        row_stride: 1,
        column_stride: 0,
    }
}

fn op(name: &str, outputs: usize, source: TensorId, offsets: &[[isize; 2]]) -> OpBuilder {
    let mut op = OpBuilder::new(name, [1, 1], outputs);
    for &offset in offsets {
        op = op.tap(source, Activation::Identity, offset, weights(8));
    }
    op
}

impl Sketch {
    /// Adds a tensor of 8 channels and the op that writes it.
    fn layer(&mut self, name: &str, source: TensorId, offsets: &[[isize; 2]]) -> TensorId {
        let tensor = self.graph.tensor(name, [1, 1], 8);
        self.graph.op(op(name, 8, source, offsets), tensor, [0, 0]);
        tensor
    }

    fn head(mut self, source: TensorId) -> Result<Graph, BuildError> {
        self.graph
            .parameters(op("head", CODES, source, &[[0, 0]]), 0);
        self.graph.build()
    }
}

fn named<'a>(graph: &'a Graph, name: &str) -> &'a Op {
    graph.ops.iter().find(|op| op.name == name).unwrap()
}

#[test]
fn taps_are_sorted_by_when_their_operand_is_known() {
    let mut sketch = sketch();
    let input = sketch.input;
    let h = sketch.layer("h", input, &[[0, -2], [-1, 5], [0, -1], [-2, 0]]);
    let above = sketch.layer("above", input, &[[-1, 0]]);
    let y = sketch.graph.tensor("y", [1, 1], 8);
    let taps = op("y", 8, h, &[[0, 0], [0, -1], [-1, 1]]);
    let taps = taps.tap(above, Activation::Relu, [0, 3], weights(8));
    sketch.graph.op(taps, y, [0, 0]);
    let graph = sketch.head(y).unwrap();
    let phases = |name: &str| -> Vec<(Phase, [isize; 2])> {
        let taps = named(&graph, name).taps.iter();
        taps.map(|tap| (tap.phase, tap.offset)).collect()
    };
    use Phase::{Current, Left, Row};
    assert_eq!(
        phases("h"),
        [
            // The farthest back first.
            (Row, [-2, 0]),
            (Row, [-1, 5]),
            (Left, [0, -2]),
            (Left, [0, -1])
        ]
    );
    // What was written in the row phase is known there for all columns.
    assert_eq!(
        phases("y"),
        [
            (Row, [-1, 1]),
            (Row, [0, 3]),
            (Left, [0, -1]),
            (Current, [0, 0])
        ]
    );
    assert!(named(&graph, "above").complete_in_row_phase);
    assert!(named(&graph, "y").leaves_partial_sums());
    assert!(!named(&graph, "head").leaves_partial_sums());
}

#[test]
fn taps_are_known_for_as_many_rows_as_they_look_back() {
    let mut sketch = sketch();
    let input = sketch.input;
    let map = sketch.graph.map("map", 3);
    let y = sketch.graph.tensor("y", [1, 1], 8);
    let offsets: Vec<[isize; 2]> = [1, 2, 3, 7, 64, 100].map(|back| [-back, 0]).to_vec();
    let taps = op("y", 8, input, &offsets);
    let taps = taps.tap(map, Activation::Identity, [0, 0], weights(8));
    sketch.graph.op(taps, y, [0, 0]);
    let z = sketch.layer("z", y, &[[-4, 0], [0, 0]]);
    let graph = sketch.head(z).unwrap();
    let blocks = |name: &str| -> Vec<(isize, usize)> {
        let taps = named(&graph, name).taps.iter();
        taps.map(|tap| (tap.offset[0], tap.block())).collect()
    };
    // Powers of two, 64 at the most; the map, in front of what looks back 64, is known for all rows.
    assert_eq!(
        blocks("y"),
        [
            (-100, 64),
            (-64, 64),
            (0, 64),
            (-7, 4),
            (-3, 2),
            (-2, 2),
            (-1, 1)
        ]
    );
    assert_eq!(blocks("z"), [(-4, 4), (0, 1)]);
    assert_eq!(graph.receptive_rows(), 100 + 4 + 1);
    assert_eq!(graph.map_channels(), Some(3));
}

#[test]
fn rings_and_halos_are_as_large_as_the_taps_need() {
    let mut sketch = sketch();
    let input = sketch.input;
    let grown = sketch.layer("grown", input, &[[0, -1], [-300, 0]]);
    let above = sketch.layer("above", input, &[[-1, 7]]);
    let y = sketch.graph.tensor("y", [1, 1], 8);
    let taps = op("y", 8, grown, &[[-40, -9], [0, 0]]);
    let taps = taps.tap(above, Activation::Tanh, [-3, 0], weights(8));
    sketch.graph.op(taps, y, [0, 0]);
    let graph = sketch.head(y).unwrap();
    let ring = |id: TensorId, activation: Activation| graph.tensors[id].rings[activation as usize];
    let rows = |rows, lookback, left, right| {
        Some(Ring {
            rows,
            lookback,
            left,
            right,
        })
    };
    let identity = Activation::Identity;
    assert_eq!(ring(input, identity), rows(300, 300, 1, 7));
    // Overwritten in place; beside it, the row being written.
    assert_eq!(ring(grown, identity), rows(40, 40, 9, 0));
    assert_eq!(ring(above, Activation::Tanh), rows(4, 3, 0, 0));
    assert_eq!(ring(above, identity), None);
    assert_eq!(ring(y, identity), rows(1, 0, 0, 0));
}

#[test]
fn a_layout_adds_up_to_what_its_rows_take() {
    struct Plain;
    impl layout::Storage for Plain {
        fn operand_bytes(&self) -> usize {
            2
        }
        fn operand_channels(&self, channels: usize, activation: Activation) -> usize {
            activation.channels(channels).next_multiple_of(16)
        }
        fn residual_channels(&self, channels: usize) -> usize {
            channels
        }
        fn outputs(&self, op: &Op) -> usize {
            op.outputs.next_multiple_of(32)
        }
        fn buffer_bytes(&self, bytes: usize) -> usize {
            bytes.next_multiple_of(256)
        }
    }
    use layout::{Extent, Layout, Shape};
    let mut sketch = sketch();
    let input = sketch.input;
    let h = sketch.layer("h", input, &[[-2, -1], [0, -1]]);
    let graph = sketch.head(h).unwrap();
    let shape = Shape {
        height: 9,
        width: 5,
        batch: 3,
    };
    let rings = Layout::new(&graph, shape, Extent::Rings, &Plain);
    // Two rows of one column of halo and five columns; one row of five; five columns of sums.
    let input_bytes: usize = 2 * (1 + 5) * 3 * 16 * 2;
    let h_bytes: usize = 5 * 3 * 16 * 2;
    let partial_bytes: usize = 5 * 3 * 32 * 4;
    let expected = [input_bytes, h_bytes, partial_bytes];
    let expected = expected.map(|bytes| bytes.next_multiple_of(256));
    assert_eq!(rings.cache_bytes(&Plain), expected.iter().sum::<usize>());
    let taller = Shape {
        height: 90,
        ..shape
    };
    let taller = Layout::new(&graph, taller, Extent::Rings, &Plain);
    assert_eq!(taller.cache_bytes(&Plain), rings.cache_bytes(&Plain));
    let whole = Layout::new(&graph, shape, Extent::WholeImage, &Plain);
    let rows = whole.tensors[input].operands[Activation::Identity as usize];
    // Rows -2 and -1 are kept as zeros.
    assert_eq!(rows.map(|rows| rows.rows), Some(9 + 2));
    assert!(whole.partials.iter().all(Option::is_none));
}

/// Asserts that a description is refused, and how.
#[track_caller]
fn refused(built: Result<Graph, BuildError>, message: &str) {
    let error = built.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn taps_at_what_is_not_known_yet_are_refused() {
    for offset in [[0, 0], [0, 1], [1, 0], [1, -1]] {
        let mut sketch = sketch();
        let input = sketch.input;
        let h = sketch.layer("h", input, &[[0, -1], offset]);
        refused(sketch.head(h), "h: expected taps at what is known before");
    }
    let mut sketch = sketch();
    let input = sketch.input;
    let h = sketch.layer("h", input, &[[0, -1]]);
    sketch.graph.parameters(op("head", CODES, h, &[[0, -1]]), 0);
    refused(
        sketch.graph.build(),
        "head: expected taps at the current pixel only",
    );
}

#[test]
fn what_is_drawn_later_cannot_decide_what_is_drawn_before() {
    let mut graph = of_codes();
    let (first, second) = (graph.stage("first"), graph.stage("second"));
    let h = graph.tensor("h", [1, 1], 8);
    graph.op(op("h", 8, first, &[[0, 0]]), h, [0, 0]);
    graph.parameters(op("late", CODES, h, &[[0, 0]]), 0);
    graph.parameters(op("other", CODES, second, &[[0, 0]]), 1);
    refused(
        graph.build(),
        "late: expected parameters known before draw 0",
    );
}

#[test]
fn grids_channels_and_ends_must_fit_each_other() {
    let two = |name: &str| OpBuilder::new(name, [2, 2], 8);
    let mut sketch_ = sketch();
    let coarse = sketch_.graph.tensor("coarse", [2, 2], 8);
    let taps = two("coarse").tap(sketch_.input, Activation::Identity, [-1, 0], weights(4));
    sketch_.graph.op(taps, coarse, [0, 0]);
    let fine = sketch_.layer("fine", coarse, &[[0, 0]]);
    refused(
        sketch_.head(fine),
        "fine: expected an operand on a grid whose strides divide",
    );

    let mut odd = sketch();
    odd.graph.tensor("thirds", [3, 1], 8);
    let input = odd.input;
    refused(
        odd.head(input),
        "thirds: expected channels, and strides that are powers of two",
    );

    let mut unwritten = sketch();
    let never = unwritten.graph.tensor("never", [1, 1], 8);
    refused(
        unwritten.head(never),
        "head: expected taps at what earlier ops wrote",
    );

    let mut wrong = sketch();
    let input = wrong.input;
    let h = wrong.graph.tensor("h", [1, 1], 5);
    wrong.graph.op(op("h", 8, input, &[[0, -1]]), h, [0, 0]);
    refused(wrong.head(h), "h: expected 5 outputs, found 8");

    let headless = sketch();
    refused(
        headless.graph.build(),
        "stage 0: expected an op with its parameters",
    );

    let mut far = sketch();
    let input = far.input;
    let h = far.layer("h", input, &[[-70_000, 0]]);
    refused(
        far.head(h),
        "h: expected taps at most 65536 rows and columns away",
    );

    let classes = GraphBuilder::new(
        InputEncoding::OneHot { classes: 3 },
        OutputDistribution::Categorical {
            classes: 4,
            channels: 1,
        },
        Condition::None,
    );
    refused(classes.build(), "output: expected 3 classes, found 4");
}

#[test]
fn weights_must_be_as_long_as_their_views_say() {
    let mut sketch = sketch();
    let input = sketch.input;
    let view = WeightView {
        layer: 0,
        first: [0, 0],
        half: CODES,
        row_stride: 8,
        column_stride: 1,
    };
    let h = sketch.graph.tensor("h", [1, 1], 8);
    let taps = OpBuilder::new("h", [1, 1], 8).tap(input, Activation::Identity, [0, -1], view);
    sketch.graph.op(taps, h, [0, 0]);
    let graph = sketch.head(h).unwrap();
    let network = |length: usize| {
        let weights = Weights {
            layers: vec![Layer {
                weight: vec![0.5; length],
                bias: vec![],
            }],
        };
        let info = Info {
            family: "sketch",
            summary: String::new(),
            hyperparameters: Default::default(),
            image_size: None,
            medium: Medium::Pixels,
        };
        Network::new(graph.clone(), weights, info).map(|_| ())
    };
    assert_eq!(network(CODES * 8), Ok(()));
    let error = network(CODES * 8 - 1).unwrap_err().to_string();
    assert_eq!(error, "h: expected more than 31 weights, found 31");
}

#[test]
fn values_and_codes_are_each_others_inverse() {
    for encoding in [
        InputEncoding::Scaled {
            codes: 256,
            limit: 1.0,
            ones: true,
        },
        InputEncoding::Scaled {
            codes: 2,
            limit: 1.0,
            ones: false,
        },
        InputEncoding::OneHot { classes: 300 },
    ] {
        for code in 0..encoding.codes() as u16 {
            assert_eq!(encoding.code(encoding.value(code)), code);
        }
        let last = encoding.codes() as u16 - 1;
        assert_eq!(encoding.code(f32::INFINITY), last);
        assert_eq!(encoding.code(-1e9), 0);
        assert_eq!(encoding.code(f32::NAN), 0);
    }
}

#[test]
fn mixtures_of_one_and_three_channels_have_the_originals_parameters() {
    let parameters = [1, 2, 3, 4].map(|channels| {
        let mixture = LogisticMixture::original(10, channels);
        let mixture = OutputDistribution::LogisticMixture(mixture);
        mixture.parameters()
    });
    // 3 numbers per mixture for one channel, 10 for three; 7 for two in the HAWC fork.
    assert_eq!(parameters, [30, 70, 100, 170]);
}
