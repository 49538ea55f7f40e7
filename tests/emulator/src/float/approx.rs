//! Approximate functions, computed accurately and, on request, perturbed within their documented
//! error (PTX ISA reference, floating-point instructions).

use super::{BF16, F16, Format};

/// Perturbs results by a fraction of the documented error that depends only on the seed and the
/// operands, so that runs repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Perturb(pub Option<u64>);

impl Perturb {
    /// `value` moved by at most `relative * |value| + absolute`.
    pub(crate) fn apply(self, value: f64, operands: u64, relative: f64, absolute: f64) -> f64 {
        let Some(seed) = self.0 else { return value };
        if !value.is_finite() || value == 0.0 {
            return value;
        }
        let bits = crate::exec::mix(seed ^ operands.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let unit = (bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
        value + unit * (relative * value.abs() + absolute)
    }
}

/// The accurate value of an approximate function.
pub(crate) fn accurate(name: &str, x: f64) -> Option<f64> {
    Some(match name {
        "ex2" => x.exp2(),
        "lg2" => x.log2(),
        "rcp" => 1.0 / x,
        "sqrt" => x.sqrt(),
        "rsqrt" => 1.0 / x.sqrt(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tanh" => x.tanh(),
        _ => return None,
    })
}

/// The documented error of an approximate function at `x`: relative and absolute.
pub(crate) fn documented_error(name: &str, x: f64, format: Format) -> (f64, f64) {
    match (name, format) {
        ("ex2", F16) => (2f64.powf(-9.9), 0.0),
        ("ex2", BF16) => (2f64.powi(-7), 0.0),
        ("tanh", F16) => (0.0, 2f64.powf(-10.987)),
        ("tanh", BF16) => (0.0, 2f64.powi(-8)),
        // Absolute near one, relative elsewhere.
        ("lg2", _) if x > 0.5 && x < 2.0 => (0.0, 2f64.powi(-22)),
        ("ex2" | "lg2", _) => (2f64.powi(-22), 0.0),
        ("rcp" | "sqrt", _) => (2f64.powi(-23), 0.0),
        ("rsqrt", _) => (2f64.powf(-22.9), 0.0),
        ("sin" | "cos", _) => (0.0, 2f64.powf(-20.5)),
        _ => (2f64.powi(-11), 0.0),
    }
}
