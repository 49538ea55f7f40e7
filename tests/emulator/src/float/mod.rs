//! Exact floating-point arithmetic with the roundings of PTX.
//!
//! Operations are done in f64 with their error known, then rounded once to the target format.

mod approx;
mod exact;

pub(crate) use approx::{Perturb, accurate, documented_error};
pub(crate) use exact::Exact;

/// Directions of rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    /// To nearest, ties away from zero.
    Away,
    Zero,
    Down,
    Up,
}

impl Rounding {
    pub(crate) fn from_name(name: &str) -> Option<Rounding> {
        Some(match name {
            "rn" | "rni" => Rounding::Nearest,
            "rna" => Rounding::Away,
            "rz" | "rzi" => Rounding::Zero,
            "rm" | "rmi" => Rounding::Down,
            "rp" | "rpi" => Rounding::Up,
            _ => return None,
        })
    }
}

/// The NaN that single-precision instructions give.
pub(crate) const NAN32: u32 = 0x7fff_ffff;
/// The NaN of half precision and bfloat16.
pub(crate) const NAN16: u16 = 0x7fff;

/// A binary format of at most 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    /// Bits of the fraction.
    pub fraction: u32,
    pub exponent: u32,
}

pub(crate) const F16: Format = Format {
    fraction: 10,
    exponent: 5,
};
pub(crate) const BF16: Format = Format {
    fraction: 7,
    exponent: 8,
};
pub(crate) const TF32: Format = Format {
    fraction: 10,
    exponent: 8,
};
pub(crate) const F32: Format = Format {
    fraction: 23,
    exponent: 8,
};

/// Rounds a finite or infinite value to `format`; the bits without sign extension. NaN becomes
/// all ones below the sign.
pub(crate) fn round(value: f64, format: Format, rounding: Rounding) -> u32 {
    let Format { fraction, exponent } = format;
    let bias = (1i32 << (exponent - 1)) - 1;
    let sign = ((value.to_bits() >> 63) as u32) << (fraction + exponent);
    let infinity = ((1u32 << exponent) - 1) << fraction;
    if value.is_nan() {
        return infinity | ((1 << fraction) - 1);
    }
    if value.is_infinite() {
        return sign | infinity;
    }
    let bits = value.to_bits() & (u64::MAX >> 1);
    if bits == 0 {
        return sign;
    }
    let mut e = (bits >> 52) as i32;
    let mut m = bits & ((1 << 52) - 1);
    if e == 0 {
        let shift = m.leading_zeros() as i32 - 11;
        m <<= shift;
        e = 1 - shift;
    } else {
        m |= 1 << 52;
    }
    let unbiased = e - 1023;
    // Bits below the last kept one; more of them for subnormal results.
    let drop = 52 - fraction as i32 + (1 - bias - unbiased).max(0);
    let (kept, rest, half) = if drop > 54 {
        (0u64, 1u64, 2u64)
    } else {
        (m >> drop, m & ((1 << drop) - 1), 1u64 << (drop - 1))
    };
    let negative = sign != 0;
    let up = match rounding {
        Rounding::Nearest => rest > half || (rest == half && kept & 1 != 0),
        Rounding::Away => rest >= half,
        Rounding::Zero => false,
        Rounding::Down => rest != 0 && negative,
        Rounding::Up => rest != 0 && !negative,
    };
    let kept = (kept + u64::from(up)) as u32;
    // Adding the kept fraction with its leading one carries into the exponent by itself.
    let base = (unbiased + bias - 1).max(0) as u32;
    let magnitude = (u64::from(base) << fraction) + u64::from(kept);
    if magnitude >= u64::from(infinity) {
        let away = match rounding {
            Rounding::Nearest | Rounding::Away => true,
            Rounding::Zero => false,
            Rounding::Down => negative,
            Rounding::Up => !negative,
        };
        return sign | if away { infinity } else { infinity - 1 };
    }
    sign | magnitude as u32
}

pub(crate) fn round_to_f16(value: f64) -> u16 {
    round(value, F16, Rounding::Nearest) as u16
}

pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let e = u32::from(bits >> 10) & 31;
    let m = u32::from(bits) & 0x3ff;
    let magnitude = match e {
        0 => (m as f32 * 2f32.powi(-24)).to_bits(),
        31 => 0x7f80_0000 | m << 13,
        _ => (e + 112) << 23 | m << 13,
    };
    f32::from_bits(sign | magnitude)
}

pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// A value rounded to odd at f64's precision: rounding it again to a format with at least two bits
/// less is the same as rounding the exact value (Boldo and Melquiond, 2008).
pub(crate) fn to_odd(sum: f64, error: f64) -> f64 {
    if error == 0.0 || !sum.is_finite() || error.is_nan() {
        return sum;
    }
    let bits = sum.to_bits();
    if bits & 1 != 0 {
        return sum;
    }
    if sum == 0.0 {
        return error;
    }
    // Truncate towards zero first: step back if the nearest value was the larger one.
    let toward = (error < 0.0) != (sum < 0.0);
    f64::from_bits(if toward { bits - 1 } else { bits + 1 })
}

/// The sum and its exact error (Knuth's TwoSum).
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// a + b, odd-rounded.
pub(crate) fn add_odd(a: f64, b: f64) -> f64 {
    let (s, e) = two_sum(a, b);
    to_odd(s, e)
}

/// a b + c, odd-rounded, for operands of at most 24 bits so that the product is exact.
pub(crate) fn fma_odd(a: f64, b: f64, c: f64) -> f64 {
    add_odd(a * b, c)
}

/// a / b, odd-rounded.
pub(crate) fn div_odd(a: f64, b: f64) -> f64 {
    let q = a / b;
    if !q.is_finite() || q == 0.0 || !b.is_finite() {
        return q;
    }
    let r = (-q).mul_add(b, a);
    to_odd(q, if b < 0.0 { -r } else { r })
}

/// The square root, odd-rounded.
pub(crate) fn sqrt_odd(a: f64) -> f64 {
    let s = a.sqrt();
    if !s.is_finite() || s == 0.0 {
        return s;
    }
    to_odd(s, (-s).mul_add(s, a))
}

/// An exact zero sum is negative only when rounding down, unless both terms agree.
pub(crate) fn zero_sign(sum: f64, a: f64, b: f64, rounding: Rounding) -> f64 {
    if sum != 0.0 || (a == 0.0 && b == 0.0 && a.is_sign_negative() == b.is_sign_negative()) {
        return sum;
    }
    if rounding == Rounding::Down {
        -0.0
    } else {
        0.0
    }
}

/// Flushes a subnormal to zero of its sign.
#[inline(always)]
pub(crate) fn flush(v: f32) -> f32 {
    if v.abs() < f32::MIN_POSITIVE {
        f32::from_bits(v.to_bits() & 0x8000_0000)
    } else {
        v
    }
}

/// a b + c in f64, rounded once in any direction.
pub(crate) fn fused64(a: f64, b: f64, c: f64, rounding: Rounding) -> f64 {
    let nearest = a.mul_add(b, c);
    if rounding == Rounding::Nearest || !(a.is_finite() && b.is_finite() && c.is_finite()) {
        return nearest;
    }
    let exact = Exact::fused(a, b, c);
    if exact.sign() == 0.0 {
        // The product of two values that are not zero is not zero, though the nearest f64 may be.
        let zero = a == 0.0 || b == 0.0;
        let product = if zero { a * b } else { 1.0 };
        return zero_sign(0.0f64.copysign(nearest), product, c, rounding);
    }
    exact.round(rounding)
}

/// The neighbour of the nearest f64 that a directed rounding takes; `error` has the sign of the
/// exact value less `value`.
pub(crate) fn direct64(value: f64, error: f64, rounding: Rounding) -> f64 {
    if value.is_nan() || error == 0.0 {
        return value;
    }
    let down = match rounding {
        Rounding::Nearest | Rounding::Away => return value,
        Rounding::Zero => value > 0.0 || (value == 0.0 && error > 0.0),
        Rounding::Down => true,
        Rounding::Up => false,
    };
    match (down, error < 0.0) {
        (true, true) => value.next_down(),
        (false, false) => value.next_up(),
        _ => value,
    }
}

/// a / b in f64, rounded once in any direction.
pub(crate) fn quotient64(a: f64, b: f64, rounding: Rounding) -> f64 {
    let nearest = a / b;
    if rounding == Rounding::Nearest || !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0 {
        return nearest;
    }
    let positive = (a < 0.0) == (b < 0.0);
    let error = if nearest.is_infinite() {
        -nearest.signum()
    } else {
        Exact::fused(-nearest, b, a).sign() * b.signum()
    };
    // A quotient that vanished keeps its sign in each direction.
    if nearest == 0.0 && error != 0.0 {
        return match (rounding, positive) {
            (Rounding::Up, true) => f64::from_bits(1),
            (Rounding::Down, false) => -f64::from_bits(1),
            _ => nearest,
        };
    }
    direct64(nearest, error, rounding)
}

/// The square root in f64, rounded once in any direction.
pub(crate) fn root64(a: f64, rounding: Rounding) -> f64 {
    let nearest = a.sqrt();
    if rounding == Rounding::Nearest || !nearest.is_finite() || nearest == 0.0 {
        return nearest;
    }
    direct64(nearest, Exact::fused(-nearest, nearest, a).sign(), rounding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_f32_agrees_with_the_language() {
        let mut seed = 1u64;
        for _ in 0..200_000 {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let exponent = 870 + (seed >> 33) % 300;
            let value = f64::from_bits(exponent << 52 | seed & ((1 << 52) - 1) | seed << 63);
            assert_eq!(
                round(value, F32, Rounding::Nearest),
                (value as f32).to_bits(),
                "{value:e}"
            );
        }
    }

    #[test]
    fn every_half_converts_there_and_back() {
        for bits in 0..=u16::MAX {
            let value = f16_to_f32(bits);
            if value.is_nan() {
                assert_eq!(round_to_f16(f64::from(value)), NAN16);
            } else {
                assert_eq!(round_to_f16(f64::from(value)), bits);
            }
        }
    }

    #[test]
    fn ties_and_directions_of_half() {
        // Between 2048 and 2050 lies a tie.
        let cases = [
            (2049.0, Rounding::Nearest, 2048.0),
            (2051.0, Rounding::Nearest, 2052.0),
            (2049.0, Rounding::Away, 2050.0),
            (2049.0, Rounding::Zero, 2048.0),
            (-2049.0, Rounding::Down, -2050.0),
            (-2049.0, Rounding::Up, -2048.0),
        ];
        for (value, rounding, expected) in cases {
            assert_eq!(
                f16_to_f32(round(value, F16, rounding) as u16),
                expected,
                "{value} {rounding:?}"
            );
        }
        assert_eq!(round(65520.0, F16, Rounding::Nearest), 0x7c00);
        assert_eq!(round(65520.0, F16, Rounding::Zero), 0x7bff);
        assert_eq!(round(2f64.powi(-25), F16, Rounding::Nearest), 0);
        assert_eq!(round(2f64.powi(-25) * 1.001, F16, Rounding::Nearest), 1);
    }
}
