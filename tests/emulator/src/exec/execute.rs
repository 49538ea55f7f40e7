//! One instruction at a time: what it does to registers, predicates and control flow.

use super::access::Words;
use super::block::{Flow, Worker};
use super::op::{CarryKind, Dynamic, Instr, LANES, Op};
use super::warp::Group;
use crate::check::{FaultKind, Trouble};

impl Worker<'_> {
    #[inline(always)]
    pub(super) fn execute(
        &mut self,
        w: usize,
        group: &Group,
        instr: &Instr,
        mask: u32,
        spins: &mut u32,
    ) -> Result<Flow, Box<Trouble>> {
        let warp = &mut self.warps[w];
        match &instr.op {
            Op::Unary { f, d, a } => {
                let mut out = [0; LANES];
                f(&mut out, warp.row(*a));
                warp.write(*d, &out, mask);
            }
            Op::Binary { f, d, a, b } => {
                let mut out = [0; LANES];
                f(&mut out, warp.row(*a), warp.row(*b));
                warp.write(*d, &out, mask);
            }
            Op::Ternary { f, d, a, b, c } => {
                let mut out = [0; LANES];
                f(&mut out, warp.row(*a), warp.row(*b), warp.row(*c));
                warp.write(*d, &out, mask);
            }
            Op::Quaternary { f, d, a, b, c, e } => {
                let mut out = [0; LANES];
                f(
                    &mut out,
                    warp.row(*a),
                    warp.row(*b),
                    warp.row(*c),
                    warp.row(*e),
                );
                warp.write(*d, &out, mask);
            }
            Op::Copy { d, a } => {
                let row = *warp.row(*a);
                warp.write(*d, &row, mask);
            }
            Op::Compare {
                test,
                combine,
                p,
                q,
                a,
                b,
            } => {
                let mut yes = test(warp.row(*a), warp.row(*b));
                let mut no = !yes;
                if let Some((f, c)) = combine {
                    let c = warp.predicate(*c);
                    (yes, no) = (f(yes, c), f(no, c));
                }
                if let Some(p) = p {
                    warp.set_predicate(*p, yes, mask);
                }
                if let Some(q) = q {
                    warp.set_predicate(*q, no, mask);
                }
            }
            Op::ComparePair {
                low,
                high,
                combine,
                p,
                q,
                a,
                b,
            } => {
                let mut first = low(warp.row(*a), warp.row(*b));
                let mut second = high(warp.row(*a), warp.row(*b));
                if let Some((f, c)) = combine {
                    let c = warp.predicate(*c);
                    (first, second) = (f(first, c), f(second, c));
                }
                if let Some(p) = p {
                    warp.set_predicate(*p, first, mask);
                }
                if let Some(q) = q {
                    warp.set_predicate(*q, second, mask);
                }
            }
            Op::Set {
                test,
                combine,
                d,
                yes,
                a,
                b,
            } => {
                let mut holds = test(warp.row(*a), warp.row(*b));
                if let Some((f, c)) = combine {
                    holds = f(holds, warp.predicate(*c));
                }
                let mut out = [0; LANES];
                for (i, o) in out.iter_mut().enumerate() {
                    *o = if holds >> i & 1 != 0 { *yes } else { 0 };
                }
                warp.write(*d, &out, mask);
            }
            Op::Test { f, p, a } => {
                let bits = f(warp.row(*a));
                warp.set_predicate(*p, bits, mask);
            }
            Op::Select { d, a, b, p } => {
                let bits = warp.predicate(*p);
                let (a, b) = (warp.row(*a), warp.row(*b));
                let mut out = [0; LANES];
                for i in 0..LANES {
                    out[i] = if bits >> i & 1 != 0 { a[i] } else { b[i] };
                }
                warp.write(*d, &out, mask);
            }
            Op::Logic { f, d, a, b } => {
                let bits = f(warp.predicate(*a), warp.predicate(*b));
                warp.set_predicate(*d, bits, mask);
            }
            Op::Carry {
                kind,
                bits,
                signed,
                d,
                a,
                b,
                c,
                flag,
                takes,
                gives,
            } => {
                let (a, b, c) = (*warp.row(*a), *warp.row(*b), *warp.row(*c));
                let old = warp.predicates[*flag as usize];
                let mut out = [0; LANES];
                let mut new = 0;
                for i in 0..LANES {
                    let carry = *takes && old >> i & 1 != 0;
                    let (value, next) = carry_lane(*kind, *bits, *signed, a[i], b[i], c[i], carry);
                    out[i] = value;
                    new |= u32::from(next) << i;
                }
                warp.write(*d, &out, mask);
                if *gives {
                    warp.set_predicate(*flag, new, mask);
                }
            }
            Op::Pack { d, parts, bits } => {
                let mut out = [0; LANES];
                for (k, part) in parts.iter().enumerate() {
                    let row = warp.row(*part);
                    for i in 0..LANES {
                        out[i] |= row[i] << (k as u32 * bits);
                    }
                }
                warp.write(*d, &out, mask);
            }
            Op::Unpack { parts, bits, a } => {
                let row = *warp.row(*a);
                for (k, part) in parts.iter().enumerate() {
                    if let Some(d) = part {
                        let mut out = row;
                        for o in &mut out {
                            *o = (*o >> (k as u32 * bits)) & ((1u64 << bits) - 1);
                        }
                        warp.write(*d, &out, mask);
                    }
                }
            }
            Op::Read { what, d } => {
                let value = match what {
                    Dynamic::Clock => {
                        *spins += 1;
                        self.steps + self.tally.warp.iter().sum::<u64>()
                    }
                    Dynamic::ActiveMask => u64::from(mask),
                };
                warp.write(*d, &[value; LANES], mask);
            }
            Op::Load {
                access,
                at,
                d,
                signed,
                width,
            } => {
                *spins += u32::from(access.strong);
                let rows = self.addresses(w, *at);
                let mut words: Words = [[0; LANES]; 8];
                self.load_words(w, group.pc, access, &rows, mask, &mut words)?;
                let warp = &mut self.warps[w];
                for (k, d) in d.iter().enumerate() {
                    let Some(d) = d else { continue };
                    let mut out = [0; LANES];
                    element(&words, access.element, k, *signed, *width, &mut out);
                    warp.write(*d, &out, mask);
                }
            }
            Op::Store { access, at, a } => {
                let rows = self.addresses(w, *at);
                let mut words: Words = [[0; LANES]; 8];
                let warp = &self.warps[w];
                for (k, a) in a.iter().enumerate() {
                    let row = warp.row(*a);
                    match access.element {
                        8 => {
                            for i in 0..LANES {
                                words[2 * k][i] = row[i] as u32;
                                words[2 * k + 1][i] = (row[i] >> 32) as u32;
                            }
                        }
                        4 => {
                            for i in 0..LANES {
                                words[k][i] = row[i] as u32;
                            }
                        }
                        e => {
                            let at = k as u32 * e;
                            let bits = u32::MAX >> (32 - 8 * e);
                            for i in 0..LANES {
                                words[(at / 4) as usize][i] |=
                                    (row[i] as u32 & bits) << (8 * (at & 3));
                            }
                        }
                    }
                }
                self.store_words(w, group.pc, access, &rows, mask, &words)?;
            }
            Op::Atomic {
                access,
                at,
                f,
                flushes,
                d,
                b,
                c,
            } => {
                *spins += 1;
                self.atomic(w, group.pc, access, *at, mask, f, *flushes, *d, *b, *c)?;
            }
            Op::Forget { offset, bytes } => {
                for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
                    self.local
                        .forget((w * LANES + lane) as u32, *offset, *bytes);
                }
            }
            Op::Fence { device } => {
                self.clocks.fence(w);
                if *device && let Some(clocks) = self.block_clocks {
                    clocks.borrow_mut().fence(self.block_number);
                }
            }
            Op::Branch { target } => {
                if instr.guard.is_some() {
                    self.tally.branches += 1;
                }
                if mask == group.active {
                    return Ok(Flow::Jump(*target));
                }
                self.tally.divergent_branches += 1;
                warp.set_pc(group.active & !mask, group.pc + 1);
                warp.set_pc(mask, *target);
                return Ok(Flow::Choose);
            }
            Op::BranchIndexed { index, targets } => {
                self.tally.branches += 1;
                warp.set_pc(group.active & !mask, group.pc + 1);
                let row = *warp.row(*index);
                for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
                    match targets.get(row[lane] as usize) {
                        Some(&target) => warp.pc[lane] = target,
                        None => {
                            return Err(Trouble::new(
                                FaultKind::OutOfBounds,
                                format!("brx.idx to target {} of {}", row[lane], targets.len()),
                            )
                            .lane(lane));
                        }
                    }
                }
                return Ok(Flow::Choose);
            }
            Op::Exit => {
                warp.alive &= !mask;
                warp.set_pc(group.active & !mask, group.pc + 1);
                warp.wake_syncing();
                return Ok(Flow::Choose);
            }
            Op::Trap { message } => {
                return Err(Trouble::new(FaultKind::Trap, message.clone())
                    .lane(mask.trailing_zeros() as usize));
            }
            Op::Print {
                format,
                arguments,
                d,
            } => {
                let (format, arguments, d) = (*format, *arguments, *d);
                self.print(w, group.pc, format, arguments, mask)?;
                if let Some(d) = d {
                    self.warps[w].write(d, &[0; LANES], mask);
                }
            }
            Op::Barrier { kind, id, count } => {
                warp.set_pc(group.active, group.pc + 1);
                self.arrive(w, group.pc, mask, *kind, *id, *count)?;
                return Ok(Flow::Choose);
            }
            Op::AsyncCopy {
                to,
                from,
                bytes,
                source,
                space,
            } => {
                self.async_copy(w, group.pc, *to, *from, *bytes, *source, *space, mask)?;
            }
            Op::AsyncCommit => {
                for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
                    warp.open_group[lane] += 1;
                }
            }
            Op::AsyncWait { pending } => self.async_wait(w, *pending, mask),
            Op::Hint { spins: waits } => *spins += u32::from(*waits) * 8,
            _ => return self.together(w, group, instr, mask),
        }
        Ok(Flow::Next)
    }
}

/// One lane of carry arithmetic: the result and the carry out.
fn carry_lane(
    kind: CarryKind,
    bits: u32,
    signed: bool,
    a: u64,
    b: u64,
    c: u64,
    carry: bool,
) -> (u64, bool) {
    let modulus = 1u128 << bits;
    let (a, b, c) = (u128::from(a), u128::from(b), u128::from(c));
    let total = match kind {
        CarryKind::Add => a + b + u128::from(carry),
        CarryKind::Sub => {
            let taken = b + u128::from(carry);
            return (((a + modulus - taken) % modulus) as u64, a < taken);
        }
        CarryKind::MadLow | CarryKind::MadHigh => {
            let product = if signed {
                let widen = |v: u128| {
                    if bits == 32 {
                        i128::from(v as u32 as i32)
                    } else {
                        i128::from(v as i64)
                    }
                };
                (widen(a) * widen(b)) as u128
            } else {
                a * b
            };
            let part = if kind == CarryKind::MadLow {
                product
            } else {
                product >> bits
            };
            part % modulus + c + u128::from(carry)
        }
    };
    ((total % modulus) as u64, total >= modulus)
}

/// Element `k` of a loaded vector, extended to a register of `width` bits.
#[inline(always)]
fn element(words: &Words, bytes: u32, k: usize, signed: bool, width: u32, out: &mut [u64; LANES]) {
    let keep = u64::MAX >> (64 - width);
    match bytes {
        8 => {
            for i in 0..LANES {
                out[i] = u64::from(words[2 * k][i]) | u64::from(words[2 * k + 1][i]) << 32;
            }
        }
        4 if !signed => {
            for i in 0..LANES {
                out[i] = u64::from(words[k][i]);
            }
        }
        4 => {
            for i in 0..LANES {
                out[i] = words[k][i] as i32 as i64 as u64 & keep;
            }
        }
        _ => {
            let at = k as u32 * bytes;
            let bits = 8 * bytes;
            for i in 0..LANES {
                let v = words[(at / 4) as usize][i] >> (8 * (at & 3));
                let v = u64::from(v) << (64 - bits);
                out[i] = if signed {
                    ((v as i64) >> (64 - bits)) as u64 & keep
                } else {
                    v >> (64 - bits)
                };
            }
        }
    }
}
