//! From tensors, ops and taps to a graph: derives phases, rings, halos and the schedule, and
//! refuses what cannot be generated pixel by pixel.

use std::ops::Range;

use super::op::{Destination, Epilogue, Op, OpId, Phase, Tap};
use super::schedule::Schedule;
use super::weights::{LayerId, WeightView, Weights};
use super::{
    Activation, Condition, Graph, InputEncoding, OutputDistribution, Stage, Tensor, TensorId,
    Written,
};

/// A description that is no network.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{place}: expected {expected}, found {found}")]
pub struct BuildError {
    /// The op, tensor or number.
    pub place: String,
    /// What the ground floor can do.
    pub expected: String,
    /// What was described.
    pub found: String,
}

fn error<T>(
    place: &str,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> Result<T, BuildError> {
    Err(BuildError {
        place: place.to_owned(),
        expected: expected.into(),
        found: found.into(),
    })
}

/// A tensor as a family declares it.
struct Declared {
    name: String,
    stride: [usize; 2],
    channels: usize,
}

/// A tap as a family lists it.
struct ListedTap {
    source: TensorId,
    activation: Activation,
    offset: [isize; 2],
    weights: WeightView,
}

/// An op as a family lists it.
pub struct OpBuilder {
    name: String,
    stride: [usize; 2],
    outputs: usize,
    taps: Vec<ListedTap>,
    biases: Vec<LayerId>,
    class: Option<LayerId>,
    epilogue: Epilogue,
}

impl OpBuilder {
    /// An op of so many outputs on a grid: rows and columns of the image per row and column of it.
    pub fn new(name: impl Into<String>, stride: [usize; 2], outputs: usize) -> Self {
        Self {
            name: name.into(),
            stride,
            outputs,
            taps: Vec::new(),
            biases: Vec::new(),
            class: None,
            epilogue: Epilogue::default(),
        }
    }

    /// Adds a tap: `source` at (row, column) `offset`, times a matrix. Taps are summed in the
    /// order in which they are added, those of the row phase first.
    pub fn tap(
        mut self,
        source: TensorId,
        activation: Activation,
        offset: [isize; 2],
        weights: WeightView,
    ) -> Self {
        self.taps.push(ListedTap {
            source,
            activation,
            offset,
            weights,
        });
        self
    }

    /// Starts the sum from the bias of a layer, besides those added before.
    pub fn bias(mut self, layer: LayerId) -> Self {
        self.biases.push(layer);
        self
    }

    /// Adds the row of a layer that belongs to the image's class.
    pub fn class(mut self, layer: Option<LayerId>) -> Self {
        self.class = layer;
        self
    }

    /// What becomes of the outputs.
    pub fn epilogue(mut self, epilogue: Epilogue) -> Self {
        self.epilogue = epilogue;
        self
    }
}

/// Builds a [`Graph`]: declare the stages' inputs and the other tensors, list the ops in an order
/// in which they can be computed.
pub struct GraphBuilder {
    input: InputEncoding,
    output: OutputDistribution,
    condition: Condition,
    declared: Vec<Declared>,
    stages: Vec<(TensorId, Range<usize>, Option<OpId>)>,
    ops: Vec<(OpBuilder, TargetOf)>,
}

/// Where a listed op writes.
enum TargetOf {
    Tensor(TensorId, [usize; 2]),
    Stage(usize),
}

impl GraphBuilder {
    /// A network that reads values encoded so, and whose stages are drawn from such a distribution.
    pub fn new(input: InputEncoding, output: OutputDistribution, condition: Condition) -> Self {
        Self {
            input,
            output,
            condition,
            declared: Vec::new(),
            stages: Vec::new(),
            ops: Vec::new(),
        }
    }

    /// Declares the next stage; returns the tensor that holds its values once they are drawn.
    pub fn stage(&mut self, name: impl Into<String>) -> TensorId {
        let values = self.output.channels();
        let first = self.stages.len() * values;
        let input = self.tensor(name, [1, 1], self.input.channels(values));
        self.stages.push((input, first..first + values, None));
        input
    }

    /// Declares a tensor: rows and columns of the image per row and column of its grid, and
    /// channels.
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        stride: [usize; 2],
        channels: usize,
    ) -> TensorId {
        self.declared.push(Declared {
            name: name.into(),
            stride,
            channels,
        });
        self.declared.len() - 1
    }

    /// The stride of a declared tensor's grid.
    pub fn stride(&self, tensor: TensorId) -> [usize; 2] {
        self.declared[tensor].stride
    }

    /// The channels of a declared tensor.
    pub fn channels(&self, tensor: TensorId) -> usize {
        self.declared[tensor].channels
    }

    /// Lists an op that writes a tensor at every position of its grid or, where the tensor's grid
    /// is finer, at those with `offset` (below the ratio of the strides) of each.
    pub fn op(&mut self, op: OpBuilder, to: TensorId, offset: [usize; 2]) {
        self.ops.push((op, TargetOf::Tensor(to, offset)));
    }

    /// Lists the op whose outputs are the parameters of a stage: on the image's grid, with taps at
    /// the current pixel only, without an epilogue.
    pub fn parameters(&mut self, op: OpBuilder, stage: usize) {
        if let Some((_, _, output)) = self.stages.get_mut(stage) {
            *output = Some(self.ops.len());
        }
        self.ops.push((op, TargetOf::Stage(stage)));
    }

    /// Derives everything else.
    ///
    /// # Errors
    /// Names the first op, tensor or number that cannot be part of a network: a tap that looks at
    /// what is not known yet, grids that do not fit each other, an op that reads what no earlier op
    /// wrote, a stage without parameters, sizes of 0.
    pub fn build(self) -> Result<Graph, BuildError> {
        self.check_ends()?;
        let mut tensors: Vec<Tensor> = self.declared.iter().map(tensor).collect();
        for (stage, &(input, ..)) in self.stages.iter().enumerate() {
            tensors[input].written = Written::InPixelPhase;
            tensors[input].stage = stage + 1;
        }
        let inputs: Vec<TensorId> = self.stages.iter().map(|stage| stage.0).collect();
        let mut writers = vec![0usize; tensors.len()];
        for (listed, target) in &self.ops {
            if let TargetOf::Tensor(to, _) = target {
                match writers.get_mut(*to) {
                    Some(writers) if !inputs.contains(to) => *writers += 1,
                    Some(_) => return error(&listed.name, "another tensor", "an input"),
                    None => return error(&listed.name, "a declared tensor", to.to_string()),
                }
            }
        }
        // Tensors that are complete: inputs, and those whose last writer was seen.
        let mut complete: Vec<bool> = (0..tensors.len()).map(|id| inputs.contains(&id)).collect();
        let mut ops = Vec::with_capacity(self.ops.len());
        for (listed, target) in self.ops {
            let op = derive(
                &tensors,
                &complete,
                listed,
                &target,
                self.output,
                self.condition,
            )?;
            if op.stage >= inputs.len() {
                return error(
                    &op.name,
                    "taps at what is known before the last draw of a pixel",
                    "one at the value drawn last",
                );
            }
            if let Some(to) = op.tensor() {
                let written = &mut tensors[to];
                written.stage = written.stage.max(op.stage);
                if !op.complete_in_row_phase {
                    written.written = Written::InPixelPhase;
                }
                writers[to] -= 1;
                complete[to] = writers[to] == 0;
            }
            ops.push(op);
        }
        if let Some(id) = complete.iter().position(|&complete| !complete) {
            return error(&tensors[id].name, "an op that writes it", "none");
        }
        derive_rings(&mut tensors, &ops)?;
        let period = period(&tensors, &ops)?;
        let schedule = Schedule::new(&tensors, &ops, inputs.len(), period);
        let mut stages = Vec::with_capacity(inputs.len());
        for (stage, (input, channels, output)) in self.stages.into_iter().enumerate() {
            let Some(output) = output else {
                return error(
                    &format!("stage {stage}"),
                    "an op with its parameters",
                    "none",
                );
            };
            stages.push(Stage {
                input,
                output,
                channels,
            });
        }
        Ok(Graph {
            tensors,
            ops,
            stages,
            input: self.input,
            output: self.output,
            condition: self.condition,
            schedule,
        })
    }

    /// Checks encoding, distribution and the declared tensors by themselves.
    fn check_ends(&self) -> Result<(), BuildError> {
        let codes = self.input.codes();
        if !(2..=1 << 16).contains(&codes) {
            return error("input", "2 to 65536 codes", codes.to_string());
        }
        if self.output.parameters() == 0 {
            return error("output", "at least one parameter and channel", "none");
        }
        if let OutputDistribution::Categorical { classes, .. } = self.output
            && classes != codes
        {
            return error("output", format!("{codes} classes"), classes.to_string());
        }
        if let (OutputDistribution::LogisticMixture { .. }, false) = (
            self.output,
            matches!(self.input, InputEncoding::Scaled { .. }),
        ) {
            return error("input", "scaled values for a logistic mixture", "classes");
        }
        if self.stages.is_empty() {
            return error("stages", "at least one", "none");
        }
        for Declared {
            name,
            stride,
            channels,
        } in &self.declared
        {
            if *channels == 0 || stride.iter().any(|stride| !stride.is_power_of_two()) {
                return error(
                    name,
                    "channels, and strides that are powers of two",
                    format!("{channels} channels, strides {stride:?}"),
                );
            }
        }
        Ok(())
    }
}

fn tensor(declared: &Declared) -> Tensor {
    Tensor {
        name: declared.name.clone(),
        stride: declared.stride,
        channels: declared.channels,
        written: Written::InRowPhase,
        stage: 0,
        residual: false,
        rings: [None; Activation::COUNT],
    }
}

/// How many times `stride` goes into `coarse`, by axis.
fn steps(
    name: &str,
    coarse: [usize; 2],
    stride: [usize; 2],
    what: &str,
) -> Result<[usize; 2], BuildError> {
    for axis in 0..2 {
        if coarse[axis] == 0 || !coarse[axis].is_multiple_of(stride[axis]) {
            return error(
                name,
                format!("{what} on a grid whose strides divide {coarse:?}"),
                format!("strides {stride:?}"),
            );
        }
    }
    Ok([coarse[0] / stride[0], coarse[1] / stride[1]])
}

/// Derives steps, phases and the stage of an op from the tensors before it.
fn derive(
    tensors: &[Tensor],
    complete: &[bool],
    listed: OpBuilder,
    target: &TargetOf,
    distribution: OutputDistribution,
    condition: Condition,
) -> Result<Op, BuildError> {
    let OpBuilder {
        name,
        stride,
        outputs,
        taps,
        biases,
        class,
        epilogue,
    } = listed;
    if taps.is_empty() || outputs == 0 {
        return error(&name, "taps and outputs", "none");
    }
    if class.is_some() && condition.classes().is_none() {
        return error(&name, "no class term in a network without classes", "one");
    }
    let destination = match *target {
        TargetOf::Tensor(tensor, offset) => {
            let step = steps(&name, stride, tensors[tensor].stride, "a result")?;
            if offset[0] >= step[0] || offset[1] >= step[1] {
                return error(
                    &name,
                    format!("an offset below {step:?}"),
                    format!("{offset:?}"),
                );
            }
            let halves = if epilogue.gate.is_some() { 2 } else { 1 };
            let expected = halves * tensors[tensor].channels;
            if outputs != expected {
                return error(&name, format!("{expected} outputs"), outputs.to_string());
            }
            Destination::Tensor {
                tensor,
                step,
                offset,
            }
        }
        TargetOf::Stage(stage) => {
            let expected = distribution.parameters();
            if outputs != expected || stride != [1, 1] || epilogue != Epilogue::default() {
                return error(
                    &name,
                    format!("{expected} outputs on the image's grid, without epilogue"),
                    format!("{outputs} on strides {stride:?}, {epilogue:?}"),
                );
            }
            Destination::Parameters { stage }
        }
    };
    let mut op = Op {
        name,
        stride,
        outputs,
        taps: Vec::new(),
        biases,
        class,
        epilogue,
        destination,
        complete_in_row_phase: false,
        stage: 0,
    };
    let mut phases = Vec::new();
    for tap in taps {
        let Some(source) = tensors.get(tap.source).filter(|_| complete[tap.source]) else {
            return error(
                &op.name,
                "taps at what earlier ops wrote",
                tap.source.to_string(),
            );
        };
        let step = steps(&op.name, stride, source.stride, "an operand")?;
        let phase = match (phase(&op, source, tap.offset)?, op.destination) {
            // Parameters are the pixel phase's, also where they are known earlier.
            (Phase::Row, Destination::Parameters { .. }) if tap.offset == [0, 0] => Phase::Current,
            (phase, _) => phase,
        };
        if phase == Phase::Current {
            op.stage = op.stage.max(source.stage);
        }
        phases.push(phase);
        op.taps.push(Tap {
            source: tap.source,
            activation: tap.activation,
            k: tap.activation.channels(source.channels),
            offset: tap.offset,
            step,
            phase,
            weights: tap.weights,
        });
    }
    if let Some(id) = epilogue.residual {
        let Some(residual) = tensors.get(id).filter(|_| complete[id]) else {
            return error(
                &op.name,
                "a residual that earlier ops wrote",
                id.to_string(),
            );
        };
        let Some(to) = op.tensor().map(|to| &tensors[to]) else {
            return error(&op.name, "no residual", id.to_string());
        };
        if (residual.stride, residual.channels) != (to.stride, to.channels) {
            return error(
                &op.name,
                format!("a residual like the result {}", to.name),
                format!("{}, of another grid or other channels", residual.name),
            );
        }
        if residual.written == Written::InPixelPhase {
            let Destination::Tensor { step: [1, 1], .. } = op.destination else {
                return error(&op.name, "a residual on the op's own grid", "a finer one");
            };
            phases.push(Phase::Current);
            op.stage = op.stage.max(residual.stage);
        }
    }
    op.taps.sort_by_key(|tap| tap.phase);
    op.complete_in_row_phase = phases.iter().all(|&phase| phase == Phase::Row);
    match op.destination {
        Destination::Parameters { stage } => {
            let taps_here = op.taps.iter().all(|tap| tap.offset == [0, 0]);
            if op.complete_in_row_phase || !taps_here {
                return error(
                    &op.name,
                    "parameters from the current pixel only",
                    "other taps",
                );
            }
            if op.stage > stage {
                return error(
                    &op.name,
                    format!("parameters known before draw {stage} of a pixel"),
                    format!("a tap at what draw {} gives", op.stage - 1),
                );
            }
            op.stage = stage;
        }
        Destination::Tensor { .. } if !op.complete_in_row_phase && op.row_time() != 0 => {
            return error(
                &op.name,
                "rows between those of its grid to be known a row earlier",
                "a tap at the same row",
            );
        }
        Destination::Tensor { .. } => {}
    }
    Ok(op)
}

/// When the operand of a tap is known.
fn phase(op: &Op, source: &Tensor, offset: [isize; 2]) -> Result<Phase, BuildError> {
    let row = offset[0] * source.stride[0] as isize;
    let column = offset[1] * source.stride[1] as isize;
    let now = op.row_time() as isize;
    let future = || {
        error(
            &op.name,
            "taps at what is known before the value they predict",
            format!("{} at offset {offset:?}", source.name),
        )
    };
    match source.written {
        Written::InRowPhase if row <= now => Ok(Phase::Row),
        Written::InRowPhase => future(),
        Written::InPixelPhase if row < now => Ok(Phase::Row),
        Written::InPixelPhase if row == now && column < 0 => Ok(Phase::Left),
        Written::InPixelPhase if row == now && column == 0 => Ok(Phase::Current),
        Written::InPixelPhase => future(),
    }
}

/// Derives from the taps how many rows and which halo each tensor needs.
fn derive_rings(tensors: &mut [Tensor], ops: &[Op]) -> Result<(), BuildError> {
    for op in ops {
        for tap in &op.taps {
            let source = &mut tensors[tap.source];
            let [row, column] = tap.offset;
            let lookback = if row < 0 { row.unsigned_abs() } else { 0 };
            let rows = match source.written {
                Written::InRowPhase => lookback + 1,
                Written::InPixelPhase => lookback.max(1),
            };
            let beyond = column - (tap.step[1] as isize - 1);
            let ring = source.rings[tap.activation as usize].get_or_insert_default();
            ring.rows = ring.rows.max(rows);
            ring.lookback = ring.lookback.max(lookback);
            ring.left = ring
                .left
                .max(if column < 0 { column.unsigned_abs() } else { 0 });
            ring.right = ring.right.max(if beyond > 0 { beyond as usize } else { 0 });
            if row >= tap.step[0] as isize
                || ring.rows > LONGEST_RING
                || column.unsigned_abs() > LONGEST_RING
            {
                return error(
                    &op.name,
                    format!("taps at most {LONGEST_RING} rows and columns away"),
                    format!("one at offset {:?}", tap.offset),
                );
            }
        }
        if let Some(residual) = op.epilogue.residual {
            tensors[residual].residual = true;
        }
    }
    Ok(())
}

/// Rows or columns beyond which no tap looks.
const LONGEST_RING: usize = 1 << 16;

/// Rows and columns after which the schedule repeats: strides are powers of two, so the largest.
fn period(tensors: &[Tensor], ops: &[Op]) -> Result<[usize; 2], BuildError> {
    let strides = || {
        let tensors = tensors.iter().map(|tensor| tensor.stride);
        tensors.chain(ops.iter().map(|op| op.stride))
    };
    let largest = |axis: usize| strides().map(|stride| stride[axis]).max().unwrap_or(1);
    let period = [largest(0), largest(1)];
    match period[0].checked_mul(period[1]) {
        Some(pixels) if pixels <= Schedule::LONGEST => Ok(period),
        _ => error(
            "grids",
            format!("strides whose product is at most {}", Schedule::LONGEST),
            format!("{period:?}"),
        ),
    }
}

/// Checks that every view lies within its layer.
pub(super) fn check_weights(graph: &Graph, weights: &Weights) -> Result<(), BuildError> {
    let layer = |op: &Op, id: LayerId| match weights.layers.get(id) {
        Some(layer) => Ok(layer),
        None => error(
            &op.name,
            format!("layers 0 to {}", weights.layers.len()),
            id.to_string(),
        ),
    };
    for op in &graph.ops {
        for tap in &op.taps {
            let length = layer(op, tap.weights.layer)?.weight.len();
            let half = tap.weights.half.min(tap.k);
            let ends = [half, tap.k].into_iter().filter(|&end| end > 0);
            let ends = ends.map(|end| tap.weights.index(end - 1, op.outputs - 1));
            let last = ends.max().unwrap_or(0);
            if last >= length {
                return error(
                    &op.name,
                    format!("more than {last} weights"),
                    length.to_string(),
                );
            }
        }
        for &id in &op.biases {
            let length = layer(op, id)?.bias.len();
            if length != op.outputs {
                return error(
                    &op.name,
                    format!("a bias of {}", op.outputs),
                    length.to_string(),
                );
            }
        }
        if let (Some(id), Some(classes)) = (op.class, graph.condition.classes()) {
            let length = layer(op, id)?.weight.len();
            if length != classes * op.outputs {
                return error(
                    &op.name,
                    format!("{classes} class terms of {}", op.outputs),
                    length.to_string(),
                );
            }
        }
    }
    if let InputEncoding::Embedding {
        classes,
        channels,
        table,
    } = graph.input
    {
        let length = weights
            .layers
            .get(table)
            .map_or(0, |layer| layer.weight.len());
        if length != classes * channels {
            return error(
                "embedding",
                format!("a table of {classes} x {channels}"),
                length.to_string(),
            );
        }
    }
    Ok(())
}
