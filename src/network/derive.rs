//! What follows from the taps of an op: when their operands are known, in which phase and stage the op
//! runs, how many rows and columns its sources keep, and after how many pixels everything repeats.

use super::builder::{BuildError, OpBuilder, TargetOf, error};
use super::op::{Destination, Op, Phase, Tap};
use super::schedule::Schedule;
use super::{Condition, Epilogue, OutputDistribution, Tensor, TensorId, Written};

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
pub(super) fn op(
    tensors: &[Tensor],
    complete: &[bool],
    listed: OpBuilder,
    target: &TargetOf,
    distribution: OutputDistribution,
    condition: Condition,
    map: Option<TensorId>,
) -> Result<Op, BuildError> {
    let OpBuilder {
        name,
        stride,
        outputs,
        taps,
        biases,
        condition: term,
        epilogue,
    } = listed;
    if taps.is_empty() || outputs == 0 {
        return error(&name, "taps and outputs", "none");
    }
    if term.is_some() && condition == Condition::None {
        return error(
            &name,
            "no term of a condition in a network without one",
            "one",
        );
    }
    if !(epilogue.scale.is_finite() && epilogue.scale != 0.0) {
        return error(&name, "a scale other than 0", epilogue.scale.to_string());
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
        condition: term,
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
            lead: match tap.offset[0] {
                _ if map == Some(tap.source) => Tap::LONGEST_LEAD,
                row if row < 0 && step[0] == 1 => row.unsigned_abs(),
                _ => 0,
            },
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
    op.taps
        .sort_by_key(|tap| (tap.phase, std::cmp::Reverse(tap.lead)));
    op.complete_in_row_phase = phases.iter().all(|&phase| phase == Phase::Row);
    match op.destination {
        Destination::Parameters { stage } => {
            if op.taps.iter().any(|tap| tap.phase != Phase::Current) {
                return error(&op.name, "taps at the current pixel only", "others");
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
pub(super) fn rings(tensors: &mut [Tensor], ops: &[Op]) -> Result<(), BuildError> {
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
pub(super) fn period(tensors: &[Tensor], ops: &[Op]) -> Result<[usize; 2], BuildError> {
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
