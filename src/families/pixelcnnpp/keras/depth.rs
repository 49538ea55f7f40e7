//! The order in which Keras lists the layers of a model: by depth, the number of steps from a layer
//! to the outputs, and where that is equal, by when a walk from the outputs first meets it.

use std::collections::BTreeMap;

use crate::families::pixelcnnpp::{Block, Hyperparameters, Layers};
use crate::network::{Activation, LayerId};

/// The layers of a model in this order, as TensorFlow Probability's program calls them.
pub(super) fn order(hyper: &Hyperparameters, layers: &Layers) -> Vec<LayerId> {
    let mut calls = Calls {
        // Other activations are functions, each call of which becomes a layer of its own.
        activation_is_shared: hyper.dialect.activation == Activation::ConcatElu,
        ..Calls::default()
    };
    let image = calls.once(&[]);
    let given = (hyper.condition.rows() > 0).then(|| calls.once(&[]));
    let mut u = calls.layer(layers.u_init, image);
    let above = calls.layer(layers.ul_init_above, image);
    let left = calls.layer(layers.ul_init_left, image);
    let mut ul = calls.once(&[above, left]);
    let mut skips = vec![(u, ul)];
    for (level, blocks) in layers.up.iter().enumerate() {
        for pair in blocks {
            u = calls.block(&pair.u, u, None, given);
            ul = calls.block(&pair.ul, ul, Some(u), given);
            skips.push((u, ul));
        }
        if let Some(pair) = layers.downsample.get(level) {
            u = calls.layer(pair.u, u);
            ul = calls.layer(pair.ul, ul);
            skips.push((u, ul));
        }
    }
    skips.pop();
    let mut skips = skips.into_iter().rev();
    for (level, blocks) in layers.down.iter().enumerate().rev() {
        for (pair, (u_skip, ul_skip)) in blocks.iter().zip(&mut skips) {
            u = calls.block(&pair.u, u, Some(u_skip), given);
            let both = calls.once(&[u, ul_skip]);
            ul = calls.block(&pair.ul, ul, Some(both), given);
        }
        if let Some(pair) = level.checked_sub(1).map(|finer| layers.upsample[finer]) {
            u = calls.layer(pair.u, u);
            ul = calls.layer(pair.ul, ul);
        }
    }
    let activated = calls.once(&[ul]);
    let output = calls.layer(layers.output, activated);
    // Reshaped, then split into logits, means, and scales, which go through softplus and a sum.
    let reshaped = calls.once(&[output]);
    let split = calls.once(&[reshaped]);
    let logits = calls.once(&[split]);
    let softplus = calls.once(&[split]);
    let scales = calls.once(&[softplus]);
    calls.by_depth(&[logits, split, scales])
}

/// Index of a call of a layer.
type NodeId = usize;

/// Who is called: one of the model's layers, the one layer that applies `concat_elu` everywhere, or
/// something that is called once only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Called {
    Layer(LayerId),
    SharedActivation,
    Once(NodeId),
}

/// The calls of a model, each with those whose results it takes.
#[derive(Default)]
struct Calls {
    sources: Vec<Vec<NodeId>>,
    called: Vec<Called>,
    activation_is_shared: bool,
}

impl Calls {
    fn call(&mut self, called: Called, sources: &[NodeId]) -> NodeId {
        self.sources.push(sources.to_vec());
        self.called.push(called);
        self.called.len() - 1
    }

    fn layer(&mut self, layer: LayerId, source: NodeId) -> NodeId {
        self.call(Called::Layer(layer), &[source])
    }

    fn once(&mut self, sources: &[NodeId]) -> NodeId {
        self.call(Called::Once(self.called.len()), sources)
    }

    fn activation(&mut self, source: NodeId) -> NodeId {
        match self.activation_is_shared {
            true => self.call(Called::SharedActivation, &[source]),
            false => self.once(&[source]),
        }
    }

    fn activated(&mut self, layer: LayerId, source: NodeId) -> NodeId {
        let source = self.activation(source);
        self.layer(layer, source)
    }

    /// A block; its 1x1 layer takes `aux`.
    fn block(
        &mut self,
        block: &Block,
        x: NodeId,
        aux: Option<NodeId>,
        condition: Option<NodeId>,
    ) -> NodeId {
        let mut y = self.activated(block.conv_in, x);
        if let (Some(aux), Some(nin)) = (aux, block.nin) {
            let aux = self.activated(nin, aux);
            y = self.once(&[aux, y]);
        }
        y = self.activation(y);
        // Dropout.
        y = self.once(&[y]);
        y = self.layer(block.conv_out, y);
        if let (Some(condition), Some(class)) = (condition, block.class) {
            // Flattened before, sliced after.
            let flat = self.once(&[condition]);
            let term = self.layer(class, flat);
            let term = self.once(&[term]);
            y = self.once(&[y, term]);
        }
        let halves = self.once(&[y]);
        let gate = self.once(&[halves]);
        let gated = self.once(&[gate, halves]);
        self.once(&[x, gated])
    }

    /// Layers in the order of depth.
    fn by_depth(&self, outputs: &[NodeId]) -> Vec<LayerId> {
        let (met, finished) = self.walk(outputs);
        let mut depths: BTreeMap<Called, usize> = BTreeMap::new();
        let mut of_nodes = vec![0; self.called.len()];
        for &node in finished.iter().rev() {
            let of_layer = depths.entry(self.called[node]).or_default();
            // All calls of a layer are as deep as the deepest so far.
            *of_layer = (*of_layer).max(of_nodes[node]);
            of_nodes[node] = *of_layer;
            for &source in &self.sources[node] {
                of_nodes[source] = of_nodes[source].max(*of_layer + 1);
            }
        }
        let mut order: Vec<Called> = depths.keys().copied().collect();
        order.sort_by_key(|called| (std::cmp::Reverse(depths[called]), met[called]));
        let layers = order.into_iter().filter_map(|called| match called {
            Called::Layer(layer) => Some(layer),
            Called::SharedActivation | Called::Once(_) => None,
        });
        layers.collect()
    }

    /// Walks from the outputs to what they take, depth first: when who was first met, and calls in
    /// the order in which all that they take is done. Without recursion, as a file decides how deep
    /// a model is.
    fn walk(&self, outputs: &[NodeId]) -> (BTreeMap<Called, usize>, Vec<NodeId>) {
        let mut met = BTreeMap::new();
        let mut finished = Vec::new();
        let mut seen = vec![false; self.called.len()];
        for &output in outputs {
            // Calls being visited, each with how many of its sources are done.
            let mut open = vec![(output, 0)];
            while let Some((node, done)) = open.last_mut() {
                let node = *node;
                if *done == 0 {
                    let first = met.len();
                    met.entry(self.called[node]).or_insert(first);
                    if std::mem::replace(&mut seen[node], true) {
                        open.pop();
                        continue;
                    }
                }
                match self.sources[node].get(*done) {
                    Some(&source) => {
                        *done += 1;
                        if !seen[source] {
                            open.push((source, 0));
                        }
                    }
                    None => {
                        finished.push(node);
                        open.pop();
                    }
                }
            }
        }
        (met, finished)
    }
}
