//! Fast, exact sampling from PixelCNN++ models with cached activations.
