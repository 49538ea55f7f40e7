//! Orders basic blocks so that the lowest program counter is always the right one to run: a join
//! after both sides of its branch, a loop's exit after its body.
//!
//! Strongly connected components are put in topological order; within each, the edges back to its
//! entry are dropped and the rest is ordered the same way. Irreducible loops are covered too: any
//! entry will do.

use crate::exec::op::{Instr, Op};

struct Block {
    start: usize,
    end: usize,
    successors: Vec<usize>,
    /// Where control goes if it runs off the end.
    falls: Option<usize>,
}

/// Reorders instructions and mends branch targets; jumps are added where blocks no longer follow.
pub(super) fn order(instructions: Vec<Instr>) -> Vec<Instr> {
    let blocks = split(&instructions);
    let order = arrange(&blocks);
    // New place of each block: its length plus one jump if what it falls into does not follow.
    let mut place = vec![0u32; blocks.len()];
    let mut at = 0;
    let mut jumps = vec![None; blocks.len()];
    for (i, &b) in order.iter().enumerate() {
        place[b] = at;
        at += (blocks[b].end - blocks[b].start) as u32;
        if let Some(next) = blocks[b].falls
            && order.get(i + 1) != Some(&next)
        {
            jumps[b] = Some(next);
            at += 1;
        }
    }
    let block_of: std::collections::HashMap<usize, usize> = blocks
        .iter()
        .enumerate()
        .map(|(i, b)| (b.start, i))
        .collect();
    // A label at the very end points at the final exit, which always exists.
    let new_target = |old: u32| block_of.get(&(old as usize)).map_or(0, |&b| place[b]);
    let mut old: Vec<Option<Instr>> = instructions.into_iter().map(Some).collect();
    let mut out = Vec::with_capacity(at as usize);
    for &b in &order {
        let mut source = 0;
        for slot in &mut old[blocks[b].start..blocks[b].end] {
            let Some(mut i) = slot.take() else { continue };
            match &mut i.op {
                Op::Branch { target } => *target = new_target(*target),
                Op::BranchIndexed { targets, .. } => {
                    for t in targets {
                        *t = new_target(*t);
                    }
                }
                _ => {}
            }
            source = i.source;
            out.push(i);
        }
        if let Some(next) = jumps[b] {
            out.push(Instr {
                guard: None,
                op: Op::Branch {
                    target: place[next],
                },
                class: crate::counters::Class::Control,
                source,
                synthetic: true,
            });
        }
    }
    out
}

fn split(instructions: &[Instr]) -> Vec<Block> {
    let n = instructions.len();
    let mut leader = vec![false; n + 1];
    leader[0] = true;
    for (i, instr) in instructions.iter().enumerate() {
        match &instr.op {
            Op::Branch { target } => {
                leader[(*target as usize).min(n)] = true;
                leader[i + 1] = true;
            }
            Op::BranchIndexed { targets, .. } => {
                for t in targets {
                    leader[(*t as usize).min(n)] = true;
                }
                leader[i + 1] = true;
            }
            Op::Exit => leader[i + 1] = true,
            _ => {}
        }
    }
    let starts: Vec<usize> = (0..n).filter(|&i| leader[i]).collect();
    let mut number = vec![0; n];
    for (b, &s) in starts.iter().enumerate() {
        number[s] = b;
    }
    (0..starts.len())
        .map(|b| {
            let start = starts[b];
            let end = starts.get(b + 1).copied().unwrap_or(n);
            let last = &instructions[end - 1];
            let mut successors: Vec<usize> = match &last.op {
                Op::Branch { target } => vec![number[*target as usize]],
                Op::BranchIndexed { targets, .. } => {
                    targets.iter().map(|&t| number[t as usize]).collect()
                }
                _ => Vec::new(),
            };
            let ends = matches!(
                last.op,
                Op::Branch { .. } | Op::BranchIndexed { .. } | Op::Exit
            ) && last.guard.is_none();
            let falls = (!ends && end < n).then(|| b + 1);
            successors.extend(falls);
            Block {
                start,
                end,
                successors,
                falls,
            }
        })
        .collect()
}

fn arrange(blocks: &[Block]) -> Vec<usize> {
    let n = blocks.len();
    // Work items: a set of blocks that is entered at `entry`; sets come out in final order.
    let mut order = Vec::with_capacity(n);
    let mut set_of = vec![0usize; n];
    let mut next_set = 1;
    let mut work = vec![((0..n).collect::<Vec<_>>(), usize::MAX, 0usize)];
    while let Some((members, entry, set)) = work.pop() {
        if members.len() == 1 {
            order.push(members[0]);
            continue;
        }
        let components = components(blocks, &members, entry, set, &set_of);
        // Tarjan gives components in reverse topological order, which suits a stack: the last
        // pushed is the first in topological order.
        for component in components {
            let id = next_set;
            next_set += 1;
            let head = head_of(blocks, &component);
            for &b in &component {
                set_of[b] = id;
            }
            work.push((component, head, id));
        }
    }
    order
}

/// The block of a component that is entered from outside it, the first in the text if several.
fn head_of(blocks: &[Block], component: &[usize]) -> usize {
    let inside: std::collections::HashSet<usize> = component.iter().copied().collect();
    let mut best = None;
    for (b, block) in blocks.iter().enumerate() {
        if inside.contains(&b) || component.len() == 1 {
            continue;
        }
        for s in &block.successors {
            if inside.contains(s) && best.is_none_or(|x| *s < x) {
                best = Some(*s);
            }
        }
    }
    best.unwrap_or_else(|| component.iter().copied().min().unwrap_or(0))
}

/// Strongly connected components of `members`, without the edges into `entry`, in reverse
/// topological order. Tarjan's algorithm without recursion.
fn components(
    blocks: &[Block],
    members: &[usize],
    entry: usize,
    set: usize,
    set_of: &[usize],
) -> Vec<Vec<usize>> {
    let mut index = std::collections::HashMap::new();
    let mut low: std::collections::HashMap<usize, usize> = std::collections::HashMap::new();
    let mut on_stack = std::collections::HashSet::new();
    let mut stack = Vec::new();
    let mut found = Vec::new();
    // Everything that can run is reached from the entry; the rest is left out.
    let first = if entry == usize::MAX {
        members.iter().copied().min()
    } else {
        Some(entry)
    };
    if let Some(root) = first {
        let mut calls = vec![(root, 0usize)];
        while let Some((v, next)) = calls.pop() {
            if next == 0 {
                index.insert(v, index.len());
                low.insert(v, index[&v]);
                stack.push(v);
                on_stack.insert(v);
            }
            if let Some(&s) = blocks[v].successors.get(next) {
                calls.push((v, next + 1));
                if s == entry || set_of[s] != set {
                    continue;
                }
                if !index.contains_key(&s) {
                    calls.push((s, 0));
                } else if on_stack.contains(&s) {
                    let l = low[&v].min(index[&s]);
                    low.insert(v, l);
                }
                continue;
            }
            if low[&v] == index[&v] {
                let mut component = Vec::new();
                while let Some(u) = stack.pop() {
                    on_stack.remove(&u);
                    component.push(u);
                    if u == v {
                        break;
                    }
                }
                found.push(component);
            }
            if let Some(&(parent, _)) = calls.last() {
                let l = low[&parent].min(low[&v]);
                low.insert(parent, l);
            }
        }
    }
    found
}
