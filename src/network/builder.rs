//! From tensors, ops and taps to a graph: derives phases, rings, halos and the schedule, and
//! refuses what cannot be generated pixel by pixel.

use std::ops::Range;

use super::derive;
use super::op::{Epilogue, OpId};
use super::schedule::Schedule;
use super::weights::{LayerId, WeightView};
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

pub(super) fn error<T>(
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
pub(super) struct ListedTap {
    pub source: TensorId,
    pub activation: Activation,
    pub offset: [isize; 2],
    pub weights: WeightView,
}

/// An op as a family lists it.
pub struct OpBuilder {
    pub(super) name: String,
    pub(super) stride: [usize; 2],
    pub(super) outputs: usize,
    pub(super) taps: Vec<ListedTap>,
    pub(super) biases: Vec<LayerId>,
    pub(super) condition: Option<LayerId>,
    pub(super) epilogue: Epilogue,
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
            condition: None,
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

    /// Adds a layer's term of the image's condition: see [`Op::condition`](super::Op::condition).
    pub fn condition(mut self, layer: Option<LayerId>) -> Self {
        self.condition = layer;
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
    map: Option<TensorId>,
    ops: Vec<(OpBuilder, TargetOf)>,
}

/// Where a listed op writes.
pub(super) enum TargetOf {
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
            map: None,
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

    /// Declares the map: a tensor on the image's grid whose values at every position are given with
    /// the request. Networks have at most one; the last one declared counts.
    pub fn map(&mut self, name: impl Into<String>, channels: usize) -> TensorId {
        let map = self.tensor(name, [1, 1], channels);
        self.map = Some(map);
        map
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
                    Some(writers) if !inputs.contains(to) && self.map != Some(*to) => *writers += 1,
                    Some(_) => return error(&listed.name, "another tensor", "an input"),
                    None => return error(&listed.name, "a declared tensor", to.to_string()),
                }
            }
        }
        // Tensors that are complete: what is given, and those whose last writer was seen.
        let mut complete: Vec<bool> = (0..tensors.len())
            .map(|id| inputs.contains(&id) || self.map == Some(id))
            .collect();
        let mut ops = Vec::with_capacity(self.ops.len());
        for (listed, target) in self.ops {
            let op = derive::op(
                &tensors,
                &complete,
                listed,
                &target,
                self.output,
                self.condition,
                self.map,
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
        derive::rings(&mut tensors, &ops)?;
        let period = derive::period(&tensors, &ops)?;
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
            map: self.map,
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
        if let OutputDistribution::LogisticMixture(mixture) = self.output {
            if !matches!(self.input, InputEncoding::Scaled { .. }) {
                return error("input", "scaled values for a logistic mixture", "classes");
            }
            if mixture.mixtures == 0 || mixture.channels == 0 || mixture.layout.groups == 0 {
                return error("output", "at least one component and channel", "none");
            }
            if mixture.last_parameter() >= mixture.layout.parameters {
                return error(
                    "output",
                    format!("parameters 0 to {}", mixture.layout.parameters - 1),
                    mixture.last_parameter().to_string(),
                );
            }
        }
        if let InputEncoding::Scaled { limit, .. } = self.input
            && !(limit.is_finite() && limit > 0.0)
        {
            return error("input", "a positive limit", limit.to_string());
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
