//! Families of models, a folder each: the numbers that fix a model, the names of its tensors, the
//! folding of its weights, and the builder that makes a [`Network`](crate::network::Network) of
//! them. What makes networks fast knows none of this.

pub mod pixelcnnpp;
