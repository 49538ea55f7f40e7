//! Instructions that lanes of a warp execute together, once all that are named have arrived.

use super::block::{Flow, Worker};
use super::matrix::multiply;
use super::op::{Instr, LANES, Op, Shuffle, Slot, Vote};
use super::warp::{Group, Warp};
use crate::check::{FaultKind, Trouble};

/// The register that names the lanes; none where the whole warp is meant.
fn mask_slot(op: &Op) -> Option<Slot> {
    match op {
        Op::WarpBarrier { mask }
        | Op::Shuffle { mask, .. }
        | Op::Vote { mask, .. }
        | Op::Match { mask, .. }
        | Op::Reduce { mask, .. }
        | Op::Elect { mask, .. } => Some(*mask),
        _ => None,
    }
}

impl Worker<'_> {
    /// Executes a `.sync` instruction for the lanes whose partners have all arrived; the others
    /// wait.
    pub(crate) fn together(
        &mut self,
        w: usize,
        group: &Group,
        instr: &Instr,
        mask: u32,
    ) -> Result<Flow, Box<Trouble>> {
        let code = &self.launch.code.instructions;
        let warp = &mut self.warps[w];
        let barrier = matches!(instr.op, Op::WarpBarrier { .. });
        let mut named = warp.named;
        for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
            named[lane] = match mask_slot(&instr.op) {
                Some(slot) => warp.row(slot)[lane] as u32,
                None => warp.started,
            };
            if named[lane] >> lane & 1 == 0 {
                return Err(Trouble::new(
                    FaultKind::DivergentSync,
                    format!(
                        "the mask {:#010x} does not name the lane itself",
                        named[lane]
                    ),
                )
                .lane(lane));
            }
        }
        warp.named = named;
        let mut waiting = 0;
        for lane in (0..LANES).filter(|l| warp.syncing >> l & 1 != 0) {
            let pc = warp.pc[lane];
            // Warp barriers meet whatever their place; other instructions must be the same one.
            let meets =
                pc == group.pc || barrier && matches!(code[pc as usize].op, Op::WarpBarrier { .. });
            waiting |= u32::from(meets) << lane;
        }
        let arrived = mask | waiting;
        let mut ready = 0;
        for lane in (0..LANES).filter(|l| arrived >> l & 1 != 0) {
            let ok = named[lane] & warp.alive & !arrived == 0;
            ready |= u32::from(ok) << lane;
            let other = (0..LANES)
                .find(|&o| (arrived & named[lane]) >> o & 1 != 0 && named[o] != named[lane]);
            if let Some(other) = other {
                return Err(Trouble::new(
                    FaultKind::DivergentSync,
                    format!(
                        "the mask {:#010x} names lane {other}, which gives the mask {:#010x}",
                        named[lane], named[other]
                    ),
                )
                .lane(lane));
            }
        }
        if barrier && ready != 0 {
            self.clocks.advance(w);
        } else if ready != 0 {
            self.exchange(w, group.pc, instr, ready)?;
        }
        if ready == group.active {
            return Ok(Flow::Next);
        }
        let warp = &mut self.warps[w];
        warp.set_pc(group.active, group.pc + 1);
        let late = mask & !ready;
        warp.set_pc(late, group.pc);
        for lane in (0..LANES).filter(|l| (ready & waiting) >> l & 1 != 0) {
            warp.pc[lane] += 1;
        }
        warp.blocked = warp.blocked & !ready | late;
        warp.syncing = warp.syncing & !ready | late;
        Ok(Flow::Choose)
    }

    fn exchange(
        &mut self,
        w: usize,
        pc: u32,
        instr: &Instr,
        lanes: u32,
    ) -> Result<(), Box<Trouble>> {
        let warp = &mut self.warps[w];
        let named = warp.named;
        let each = (0..LANES).filter(|l| lanes >> l & 1 != 0);
        let mut out = [0; LANES];
        match &instr.op {
            Op::Shuffle {
                mode,
                d,
                p,
                a,
                b,
                c,
                ..
            } => {
                let (a, b, c) = (warp.row(*a), warp.row(*b), warp.row(*c));
                let mut inside = 0;
                for lane in each {
                    let (source, ok) = shuffle_source(*mode, lane as u32, b[lane], c[lane]);
                    if named[lane] & lanes & 1 << source == 0 {
                        return Err(absent(warp, lane, source));
                    }
                    out[lane] = a[source as usize];
                    inside |= u32::from(ok) << lane;
                }
                warp.write(*d, &out, lanes);
                if let Some(p) = p {
                    warp.set_predicate(*p, inside, lanes);
                }
            }
            Op::Vote { mode, d, p, .. } => {
                let bits = warp.predicate(*p);
                let mut result = 0;
                for lane in each {
                    let who = named[lane] & lanes;
                    let holds = match mode {
                        Vote::All => bits & who == who,
                        Vote::Any => bits & who != 0,
                        Vote::Uniform => bits & who == who || bits & who == 0,
                        Vote::Ballot => {
                            out[lane] = u64::from(bits & who);
                            continue;
                        }
                    };
                    result |= u32::from(holds) << lane;
                }
                if *mode == Vote::Ballot {
                    warp.write(*d, &out, lanes);
                } else {
                    warp.set_predicate(*d, result, lanes);
                }
            }
            Op::Match { all, d, p, a, .. } => {
                let a = *warp.row(*a);
                let mut result = 0;
                for lane in each {
                    let who = named[lane] & lanes;
                    let mut same = 0;
                    for other in (0..LANES).filter(|l| who >> l & 1 != 0) {
                        same |= u32::from(a[other] == a[lane]) << other;
                    }
                    let whole = same == who;
                    out[lane] = if *all && !whole { 0 } else { u64::from(same) };
                    result |= u32::from(whole) << lane;
                }
                warp.write(*d, &out, lanes);
                if let Some(p) = p {
                    warp.set_predicate(*p, result, lanes);
                }
            }
            Op::Reduce { f, d, a, .. } => {
                let a = *warp.row(*a);
                for lane in each {
                    let who = named[lane] & lanes;
                    out[lane] = (0..LANES)
                        .filter(|l| who >> l & 1 != 0)
                        .map(|l| a[l] as u32)
                        .reduce(*f)
                        .map_or(0, u64::from);
                }
                warp.write(*d, &out, lanes);
            }
            Op::Elect { d, p, .. } => {
                let mut leaders = 0;
                for lane in each {
                    let leader = (named[lane] & lanes).trailing_zeros();
                    out[lane] = u64::from(leader);
                    leaders |= u32::from(leader as usize == lane) << lane;
                }
                if let Some(d) = d {
                    warp.write(*d, &out, lanes);
                }
                warp.set_predicate(*p, leaders, lanes);
            }
            Op::Matrix(_) | Op::LoadMatrix { .. } if lanes != u32::MAX => {
                return Err(Trouble::new(
                    FaultKind::DivergentSync,
                    "a matrix instruction needs all 32 lanes of the warp",
                )
                .lane(lanes.trailing_zeros() as usize));
            }
            Op::Matrix(m) => multiply(warp, m),
            Op::LoadMatrix { at, d, transpose } => {
                self.load_matrix(w, pc, *at, d, *transpose)?;
            }
            _ => return Err(Trouble::new(FaultKind::Unsupported, "not implemented")),
        }
        Ok(())
    }
}

/// A shuffle from a lane that does not take part: what it gives is undefined.
#[cold]
fn absent(warp: &Warp, lane: usize, source: u32) -> Box<Trouble> {
    let named = warp.named[lane];
    let why = if warp.started >> source & 1 == 0 {
        "which the block does not have".to_string()
    } else if warp.alive >> source & 1 == 0 {
        "which has exited".to_string()
    } else {
        format!("which the mask {named:#010x} does not name")
    };
    Trouble::new(
        FaultKind::DivergentSync,
        format!("lane {lane} reads lane {source}, {why}"),
    )
    .lane(lane)
}

/// The lane a shuffle reads and whether it lies in range.
fn shuffle_source(mode: Shuffle, lane: u32, b: u64, c: u64) -> (u32, bool) {
    let b = b as u32 & 31;
    let clamp = c as u32 & 31;
    let segment = (c >> 8) as u32 & 31;
    let last = (lane & segment) | (clamp & !segment);
    let (source, inside) = match mode {
        Shuffle::Up => (lane.wrapping_sub(b), lane as i32 - b as i32 >= last as i32),
        Shuffle::Down => (lane + b, lane + b <= last),
        Shuffle::Butterfly => (lane ^ b, lane ^ b <= last),
        Shuffle::Index => {
            let source = (lane & segment) | (b & !segment);
            (source, source <= last)
        }
    };
    if inside {
        (source & 31, true)
    } else {
        (lane, false)
    }
}
