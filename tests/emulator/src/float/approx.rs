//! Approximate functions, computed accurately and, on request, perturbed within their documented
//! error (PTX ISA reference, floating-point instructions).

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

/// The accurate value of an approximate function and its documented error, relative and absolute.
pub(crate) fn accurate(name: &str, x: f64) -> Option<(f64, f64, f64)> {
    let ulp = |n: f64| n * 2f64.powi(-24);
    Some(match name {
        "ex2" => (x.exp2(), 2f64.powi(-22), 0.0),
        "lg2" => {
            // Absolute near one, relative elsewhere.
            if x > 0.5 && x < 2.0 {
                (x.log2(), 0.0, 2f64.powi(-22))
            } else {
                (x.log2(), 2f64.powi(-22), 0.0)
            }
        }
        "rcp" => (1.0 / x, ulp(1.0), 0.0),
        "sqrt" => (x.sqrt(), 2f64.powi(-23), 0.0),
        "rsqrt" => (1.0 / x.sqrt(), 2f64.powf(-22.9), 0.0),
        "sin" => (x.sin(), 0.0, 2f64.powf(-20.5)),
        "cos" => (x.cos(), 0.0, 2f64.powf(-20.5)),
        "tanh" => (x.tanh(), 2f64.powi(-11), 0.0),
        _ => return None,
    })
}
