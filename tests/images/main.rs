//! Files of images and arrays: what is read from them, and what damaged ones come to.

/// Arrays of every type, rank and order.
mod arrays;
/// Damaged arrays and pictures.
mod mutations;
