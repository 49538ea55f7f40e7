//! The families of models beside PixelCNN++: each against its originals' own numbers, against a
//! restatement in float64 over odd shapes, and the files it is read from.

/// Gated PixelCNN: priors over codes, 8-bit pixels, channels that see each other.
mod gated_pixelcnn;
