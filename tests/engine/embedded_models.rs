use fastpix::Dtype;
use test_support::engine::{Mode, embedded, engine, score};
use test_support::reference::held_out;

use crate::devices::Device;

test_on_devices!(held_out_scores_match_the_training_framework);
fn held_out_scores_match_the_training_framework(device: Device) {
    // All of them, or as many as the emulator does in a moment.
    let count = if device.is_cpu() { usize::MAX } else { 1 };
    let tolerance = match device.dtype() {
        Dtype::F32 => 0.001,
        // Less than a hundredth of a bit is what half precision costs.
        _ => 0.01,
    };
    for name in ["avatars", "fashion"] {
        let weights = embedded(name);
        let (images, labels, expected) =
            held_out(name, weights.graph().condition().classes(), count);
        let engine = engine(&weights, &device.target());
        let (bits, _) = score(&engine, &images, &labels, Mode::WholeImage);
        assert_eq!(bits.len(), expected.len());
        let mean = |bits: &[f64]| bits.iter().sum::<f64>() / bits.len() as f64;
        let (found, expected) = (mean(&bits), mean(&expected));
        let close = (found - expected).abs() <= tolerance;
        assert!(close, "{name}: {found} against {expected}");
    }
}
