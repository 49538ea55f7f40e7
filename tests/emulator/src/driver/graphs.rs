//! Graphs: made by stream capture, instantiated, launched.

use std::sync::Arc;

use super::operations::{Operation, Step, submit};
use super::order::{Clock, branches};
use super::pointers::Out;
use super::state::{Driver, Handle, enter, enter_context};
use super::status::{Outcome, Status};

/// `CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH`, `_UPLOAD`, `_DEVICE_LAUNCH` and `_USE_NODE_PRIORITY`.
const AUTO_FREE: u64 = 1;
const UPLOAD: u64 = 2;
const DEVICE_LAUNCH: u64 = 4;
const ALL_FLAGS: u64 = 15;

#[derive(Clone)]
pub(super) struct Node {
    pub handle: Handle,
    pub operation: Operation,
    /// Indices of earlier nodes.
    pub after: Vec<usize>,
}

/// Nodes in an order that satisfies their dependencies.
#[derive(Clone, Default)]
pub(super) struct Body {
    pub nodes: Vec<Node>,
}

impl Body {
    pub fn add(&mut self, handle: Handle, operation: Operation, after: Vec<usize>) -> usize {
        self.nodes.push(Node {
            handle,
            operation,
            after,
        });
        self.nodes.len() - 1
    }

    /// Which nodes are among `heads` or must finish before one of them.
    pub fn ancestors(&self, heads: &[usize]) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        for &node in heads {
            reached[node] = true;
        }
        for node in (0..self.nodes.len()).rev() {
            if reached[node] {
                for &before in &self.nodes[node].after {
                    reached[before] = true;
                }
            }
        }
        reached
    }

    /// The same work with the nodes of child graphs in their place.
    fn flattened(&self) -> Body {
        let mut flat = Body::default();
        // For each node, the flat nodes that stand for it when others depend on it.
        let mut ends: Vec<Vec<usize>> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let mut before: Vec<usize> = node
                .after
                .iter()
                .flat_map(|&n| ends[n].iter().copied())
                .collect();
            before.sort_unstable();
            before.dedup();
            let Operation::Child(child) = &node.operation else {
                ends.push(vec![flat.add(node.handle, node.operation.clone(), before)]);
                continue;
            };
            let child = child.flattened();
            let base = flat.nodes.len();
            let mut is_end = vec![true; child.nodes.len()];
            for inner in &child.nodes {
                let after = if inner.after.is_empty() {
                    before.clone()
                } else {
                    inner.after.iter().map(|n| n + base).collect()
                };
                inner.after.iter().for_each(|&n| is_end[n] = false);
                flat.add(inner.handle, inner.operation.clone(), after);
            }
            let last = (0..child.nodes.len())
                .filter(|&n| is_end[n])
                .map(|n| n + base)
                .collect::<Vec<_>>();
            ends.push(if last.is_empty() { before } else { last });
        }
        flat
    }
}

pub(super) struct Graph {
    pub context: Handle,
    pub body: Body,
}

pub(super) struct GraphExec {
    pub context: Handle,
    pub body: Arc<Body>,
    pub flags: u64,
    /// Each node's branch; branch 0 runs on the launching stream's timeline, the others on their own.
    branch: Vec<usize>,
    timelines: Vec<usize>,
    /// The end of the last launch: launches of one instance never overlap.
    clock: Clock,
}

impl Driver {
    fn instantiate(&mut self, graph: Handle, flags: u64) -> Outcome<Handle> {
        let (context, body) = self
            .graphs
            .get(&graph)
            .map(|g| (g.context, g.body.flattened()))
            .ok_or(Status::INVALID_HANDLE)?;
        self.usable(context)?;
        if flags & !ALL_FLAGS != 0
            || (flags & DEVICE_LAUNCH != 0 && flags & (AUTO_FREE | UPLOAD) != 0)
        {
            return Err(Status::INVALID_VALUE);
        }
        if flags & DEVICE_LAUNCH != 0 {
            return Err(Status::NOT_SUPPORTED);
        }
        let (branch, count) = branches(
            &body
                .nodes
                .iter()
                .map(|n| n.after.clone())
                .collect::<Vec<_>>(),
        );
        let timelines = (1..count).map(|_| self.timelines.add()).collect();
        let exec = self.handle();
        self.execs.insert(
            exec,
            GraphExec {
                context,
                body: Arc::new(body),
                flags,
                branch,
                timelines,
                clock: Clock::default(),
            },
        );
        Ok(exec)
    }

    /// The steps of one launch of `exec` on `stream`; `clock` moves from before the launch to after it.
    pub fn prepare_graph(
        &mut self,
        exec: Handle,
        stream: Handle,
        clock: &mut Clock,
    ) -> Outcome<Vec<Step>> {
        let GraphExec {
            context,
            body,
            branch,
            timelines,
            clock: previous,
            ..
        } = self.execs.get(&exec).ok_or(Status::INVALID_HANDLE)?;
        let (context, body, branch, timelines) =
            (*context, body.clone(), branch.clone(), timelines.clone());
        clock.join(previous);
        if self.streams[&stream].context != context {
            return Err(Status::INVALID_HANDLE);
        }
        let own = self.streams[&stream].timeline;
        let mut steps = Vec::with_capacity(body.nodes.len());
        let mut ends: Vec<Clock> = Vec::with_capacity(body.nodes.len());
        for (index, node) in body.nodes.iter().enumerate() {
            let mut at = clock.clone();
            for &before in &node.after {
                at.join(&ends[before]);
            }
            let timeline = if branch[index] == 0 {
                own
            } else {
                timelines[branch[index] - 1]
            };
            steps.push(self.step(context, timeline, &mut at, node.operation.clone()));
            ends.push(at);
        }
        for end in &ends {
            clock.join(end);
        }
        if let Some(exec) = self.execs.get_mut(&exec) {
            exec.clock = clock.clone();
        }
        Ok(steps)
    }

    fn node(&self, handle: Handle) -> Outcome<(&Graph, usize)> {
        self.graphs
            .values()
            .find_map(|g| {
                g.body
                    .nodes
                    .iter()
                    .position(|n| n.handle == handle)
                    .map(|index| (g, index))
            })
            .ok_or(Status::INVALID_HANDLE)
    }
}

/// Answers a query for an array: how many there are when no array is given, else as many as fit.
fn answer(list: &[Handle], out: &Out<Handle>, count: &Out<usize>) -> Outcome {
    if out.is_null() {
        return count.set(list.len());
    }
    let room = count.get()?;
    for index in 0..room {
        out.set_at(index, list.get(index).copied().unwrap_or(0))?;
    }
    count.set(room.min(list.len()))
}

/// Makes an empty graph.
#[unsafe(no_mangle)]
extern "C" fn cuGraphCreate(out: Out<Handle>, flags: u32) -> Status {
    enter_context(|driver, context| {
        if flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let handle = driver.handle();
        driver.graphs.insert(
            handle,
            Graph {
                context,
                body: Body::default(),
            },
        );
        out.set(handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroy(graph: Handle) -> Status {
    enter(|driver| {
        driver
            .graphs
            .remove(&graph)
            .map(|_| ())
            .ok_or(Status::INVALID_HANDLE)
    })
}

/// A copy of a graph, with nodes of its own.
#[unsafe(no_mangle)]
extern "C" fn cuGraphClone(out: Out<Handle>, graph: Handle) -> Status {
    enter(|driver| {
        let (context, mut body) = driver
            .graphs
            .get(&graph)
            .map(|g| (g.context, g.body.clone()))
            .ok_or(Status::INVALID_HANDLE)?;
        for node in &mut body.nodes {
            node.handle = driver.handle();
        }
        let handle = driver.handle();
        driver.graphs.insert(handle, Graph { context, body });
        out.set(handle)
    })
}

/// The nodes of a graph, or only how many.
#[unsafe(no_mangle)]
extern "C" fn cuGraphGetNodes(graph: Handle, nodes: Out<Handle>, count: Out<usize>) -> Status {
    enter(|driver| {
        let graph = driver.graphs.get(&graph).ok_or(Status::INVALID_HANDLE)?;
        answer(
            &graph
                .body
                .nodes
                .iter()
                .map(|n| n.handle)
                .collect::<Vec<_>>(),
            &nodes,
            &count,
        )
    })
}

/// The nodes that depend on none.
#[unsafe(no_mangle)]
extern "C" fn cuGraphGetRootNodes(graph: Handle, nodes: Out<Handle>, count: Out<usize>) -> Status {
    enter(|driver| {
        let graph = driver.graphs.get(&graph).ok_or(Status::INVALID_HANDLE)?;
        let roots = graph
            .body
            .nodes
            .iter()
            .filter(|n| n.after.is_empty())
            .map(|n| n.handle);
        answer(&roots.collect::<Vec<_>>(), &nodes, &count)
    })
}

/// The dependencies between a graph's nodes, or only how many.
#[unsafe(no_mangle)]
extern "C" fn cuGraphGetEdges(
    graph: Handle,
    from: Out<Handle>,
    to: Out<Handle>,
    count: Out<usize>,
) -> Status {
    enter(|driver| {
        let nodes = &driver
            .graphs
            .get(&graph)
            .ok_or(Status::INVALID_HANDLE)?
            .body
            .nodes;
        let edges = nodes.iter().flat_map(|n| {
            n.after
                .iter()
                .map(|&before| (nodes[before].handle, n.handle))
        });
        let (sources, targets): (Vec<_>, Vec<_>) = edges.unzip();
        if from.is_null() != to.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        if !from.is_null() {
            // Both arrays have the room that count says; it is changed only once, by the second answer.
            for index in 0..count.get()? {
                from.set_at(index, sources.get(index).copied().unwrap_or(0))?;
            }
        }
        answer(&targets, &to, &count)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetType(node: Handle, kind: Out<u32>) -> Status {
    enter(|driver| {
        let (graph, index) = driver.node(node)?;
        kind.set(graph.body.nodes[index].operation.node_type())
    })
}

/// The nodes that a node waits for.
#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetDependencies(
    node: Handle,
    nodes: Out<Handle>,
    count: Out<usize>,
) -> Status {
    enter(|driver| {
        let (graph, index) = driver.node(node)?;
        let before = graph.body.nodes[index]
            .after
            .iter()
            .map(|&n| graph.body.nodes[n].handle);
        answer(&before.collect::<Vec<_>>(), &nodes, &count)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphInstantiateWithFlags(out: Out<Handle>, graph: Handle, flags: u64) -> Status {
    enter(|driver| out.set(driver.instantiate(graph, flags)?))
}

/// The older form: no flags, and a log that stays empty.
#[unsafe(no_mangle)]
extern "C" fn cuGraphInstantiate_v2(
    out: Out<Handle>,
    graph: Handle,
    error_node: Out<Handle>,
    log: Out<u8>,
    log_bytes: usize,
) -> Status {
    enter(|driver| {
        error_node.set_if_wanted(0);
        if log_bytes > 0 {
            log.set_if_wanted(0);
        }
        out.set(driver.instantiate(graph, 0)?)
    })
}

/// `CUDA_GRAPH_INSTANTIATE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct InstantiateParameters {
    flags: u64,
    upload_stream: Handle,
    error_node: Handle,
    result: u32,
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphInstantiateWithParams(
    out: Out<Handle>,
    graph: Handle,
    parameters: Out<InstantiateParameters>,
) -> Status {
    enter(|driver| {
        let mut given = parameters.get()?;
        let exec = driver.instantiate(graph, given.flags);
        (given.error_node, given.result) = (0, exec.is_err() as u32);
        parameters.set(given)?;
        out.set(exec?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecGetFlags(exec: Handle, flags: Out<u64>) -> Status {
    enter(|driver| flags.set(driver.execs.get(&exec).ok_or(Status::INVALID_HANDLE)?.flags))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(exec: Handle) -> Status {
    enter(|driver| {
        driver
            .execs
            .remove(&exec)
            .map(|_| ())
            .ok_or(Status::INVALID_HANDLE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(exec: Handle, stream: Handle) -> Status {
    let known = enter(|driver| {
        driver
            .execs
            .get(&exec)
            .map(|_| ())
            .ok_or(Status::INVALID_HANDLE)
    });
    if known != Status::SUCCESS {
        known
    } else {
        submit(stream, Operation::Launch(exec))
    }
}

/// Nothing to prepare, but the handles are checked.
#[unsafe(no_mangle)]
extern "C" fn cuGraphUpload(exec: Handle, stream: Handle) -> Status {
    enter(|driver| {
        let stream = driver.stream(stream)?;
        let context = driver
            .execs
            .get(&exec)
            .ok_or(Status::INVALID_HANDLE)?
            .context;
        if driver.streams[&stream].context == context {
            Ok(())
        } else {
            Err(Status::INVALID_HANDLE)
        }
    })
}
