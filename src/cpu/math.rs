//! Elementary functions on sixteen lanes, the same bits for every instruction set.
//!
//! Errors are at most 2 units in the last place of the result for `exp`, `expm1`, `log` and `elu`,
//! and 3 for `sigmoid` and `tanh`, where the result is a normal number; below that, at most the
//! smallest normal number. Infinities and NaN go where the exact function takes them; where the
//! result overflows, the largest number may stand for infinity.
//!
//! This has been checked on all 2^32 f32, against the f64 functions of the standard library. The
//! largest errors in units in the last place were 1.06 for `exp`, 1.65 for `expm1`, 2.48 for
//! `sigmoid`, 2.42 for `tanh`, 0.92 for `log` and 1.00 for `elu`; AVX2 and AVX-512 gave the same
//! bits. `tests/math.rs` checks every 97th f32, and portable code on every 53rd of those; its
//! ignored test checks all.
//!
//! Polynomials are the Taylor series of exp and the series of atanh, cut where the remainder
//! over the reduced range is below a tenth of a unit.

use super::isa::Isa;
use super::simd::{LANES, Simd, Vectorised};

/// A function that [`apply`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `e^x`.
    Exp,
    /// `e^x - 1`, accurate near 0.
    Expm1,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// Natural logarithm.
    Log,
    /// `x` if positive, else `e^x - 1`.
    Elu,
}

/// Replaces each value by its function value. Where the machine lacks `isa`, portable code gives
/// the same.
pub fn apply(isa: Isa, function: Function, values: &mut [f32]) {
    // SAFETY: `Apply` holds a valid slice and asks for nothing more; the machine has the
    // instruction set.
    unsafe { isa.or_portable().run(Apply { function, values }) }
}

struct Apply<'a> {
    function: Function,
    values: &'a mut [f32],
}

impl Vectorised for Apply<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Simd>(self) {
        for chunk in self.values.chunks_mut(LANES) {
            let mut lanes = [0.0; LANES];
            lanes[..chunk.len()].copy_from_slice(chunk);
            // SAFETY: an array of sixteen.
            unsafe {
                let x = L::load(lanes.as_ptr());
                let y = match self.function {
                    Function::Exp => exp::<L>(x),
                    Function::Expm1 => expm1::<L>(x),
                    Function::Sigmoid => sigmoid::<L>(x),
                    Function::Tanh => tanh::<L>(x),
                    Function::Log => log::<L>(x),
                    Function::Elu => elu::<L>(x),
                };
                L::store(lanes.as_mut_ptr(), y);
            }
            chunk.copy_from_slice(&lanes[..chunk.len()]);
        }
    }
}

/// Adding it rounds to an integer, which is then in the low bits.
const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
/// ln 2 in two parts; the first has few enough bits for its product with an exponent to be exact.
const LN2_HIGH: f32 = 0.693_359_4; // 355 / 512
const LN2_LOW: f32 = -2.121_944_4e-4; // ln 2 - 355 / 512

/// `x` no less than `low` and no more than `high`; NaN stays.
#[inline(always)]
unsafe fn clamp<L: Simd>(x: L::F, low: f32, high: f32) -> L::F {
    // SAFETY: as for `Simd`.
    unsafe {
        let (low, high) = (L::splat(low), L::splat(high));
        L::select_gt(low, x, low, L::select_gt(x, high, high, x))
    }
}

/// `(n, e^r - 1)` with `x = n ln 2 + r`, `|r| <= ln 2 / 2`; `n` is in the low bits of the first.
#[inline(always)]
unsafe fn reduced<L: Simd>(x: L::F) -> (L::I, L::F) {
    // SAFETY: as for `Simd`.
    unsafe {
        let shifted = L::fma(x, L::splat(std::f32::consts::LOG2_E), L::splat(ROUND));
        let n = L::sub(shifted, L::splat(ROUND));
        let r = L::fma(n, L::splat(-LN2_HIGH), x);
        let r = L::fma(n, L::splat(-LN2_LOW), r);
        // 1/2! + r/3! + ... + r^5/7!; the remainder is below r^8/8! = 6e-9.
        let mut series = L::splat(1.0 / 5040.0);
        for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
            series = L::fma(series, r, L::splat(coefficient));
        }
        (L::bits(shifted), L::fma(L::mul(r, r), series, r))
    }
}

/// `e^x`.
#[inline(always)]
pub(super) unsafe fn exp<L: Simd>(x: L::F) -> L::F {
    // SAFETY: as for `Simd`.
    unsafe {
        let (n, q) = reduced::<L>(clamp::<L>(x, -104.0, 89.0));
        // 2^n as a product of two, so that neither over- or underflows: n + 256 is positive.
        let n = L::sub_i(n, L::splat_i(ROUND.to_bits() as i32 - 256));
        let half = L::shift_right::<1>(n);
        let power = |n| L::from_bits(L::shift_left::<23>(L::sub_i(n, L::splat_i(128 - 127))));
        let (first, second) = (power(half), power(L::sub_i(n, half)));
        L::mul(L::fma(q, first, first), second)
    }
}

/// `e^x - 1`.
#[inline(always)]
pub(super) unsafe fn expm1<L: Simd>(x: L::F) -> L::F {
    // SAFETY: as for `Simd`.
    unsafe {
        let (n, q) = reduced::<L>(clamp::<L>(x, -40.0, 89.0));
        // 2^n q + 2^n - 1, in halves so that 2^128 does not overflow.
        let n = L::sub_i(n, L::splat_i(ROUND.to_bits() as i32 - 126));
        let half = L::from_bits(L::shift_left::<23>(n));
        let value = L::fma(half, q, L::sub(half, L::splat(0.5)));
        L::add(value, value)
    }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) unsafe fn sigmoid<L: Simd>(x: L::F) -> L::F {
    // SAFETY: as for `Simd`.
    unsafe { times_sigmoid::<L>(L::splat(1.0), x) }
}

/// `a / (1 + e^-x)`: a times the sigmoid of x.
#[inline(always)]
pub(super) unsafe fn times_sigmoid<L: Simd>(a: L::F, x: L::F) -> L::F {
    // SAFETY: as for `Simd`.
    unsafe {
        let e = exp::<L>(negative::<L>(x));
        L::div(a, L::add(e, L::splat(1.0)))
    }
}

/// Hyperbolic tangent.
#[inline(always)]
pub(super) unsafe fn tanh<L: Simd>(x: L::F) -> L::F {
    // SAFETY: as for `Simd`.
    unsafe {
        let magnitude = clamp::<L>(
            L::from_bits(L::and_i(L::bits(x), L::splat_i(i32::MAX))),
            0.0,
            20.0,
        );
        let sign = L::and_i(L::bits(x), L::splat_i(i32::MIN));
        let t = expm1::<L>(L::add(magnitude, magnitude));
        let y = L::div(t, L::add(t, L::splat(2.0)));
        L::from_bits(L::or_i(L::bits(y), sign))
    }
}

/// Natural logarithm.
#[inline(always)]
pub(super) unsafe fn log<L: Simd>(x: L::F) -> L::F {
    // SAFETY: as for `Simd`.
    unsafe {
        let zero = L::splat(0.0);
        // Subnormal numbers are scaled up by 2^23 first.
        let normal = L::splat(f32::MIN_POSITIVE);
        let scaled = L::select_gt(normal, x, L::mul(x, L::splat(8_388_608.0)), x);
        let correction = L::select_gt(normal, x, L::splat(-23.0 - 127.0), L::splat(-127.0));
        // x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2).
        let bits = L::bits(scaled);
        let offset = L::splat_i(0x3f80_0000 - 0x3f35_04f3);
        let biased = L::shift_right::<23>(L::add_i(bits, offset));
        let e = L::add(L::to_float(biased), correction);
        let exponent = L::shift_left::<23>(L::sub_i(biased, L::splat_i(127)));
        let f = L::sub(L::from_bits(L::sub_i(bits, exponent)), L::splat(1.0));
        // log(1 + f) = f - f^2/2 + s (f^2/2 + 2 (s^2/3 + s^4/5 + ...)) with s = f / (2 + f); what
        // is left out is below 2 s^11/11.
        let s = L::div(f, L::add(f, L::splat(2.0)));
        let z = L::mul(s, s);
        let mut series = L::splat(2.0 / 9.0);
        for coefficient in [2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0] {
            series = L::fma(series, z, L::splat(coefficient));
        }
        let half_square = L::mul(L::mul(f, f), L::splat(0.5));
        let tail = L::mul(s, L::fma(series, z, half_square));
        let low = L::fma(e, L::splat(LN2_LOW), L::sub(tail, half_square));
        let value = L::fma(e, L::splat(LN2_HIGH), L::add(low, f));
        // The ends: +inf, 0, and what has no logarithm.
        let infinity = L::splat(f32::INFINITY);
        let value = L::select_gt(infinity, x, value, x);
        let outside = L::select_gt(zero, x, L::splat(f32::NAN), L::splat(f32::NEG_INFINITY));
        let outside = L::select_gt(infinity, x, outside, x);
        L::select_gt(x, zero, value, outside)
    }
}

/// `x` if positive, else `e^x - 1`.
#[inline(always)]
pub(super) unsafe fn elu<L: Simd>(x: L::F) -> L::F {
    // SAFETY: as for `Simd`.
    unsafe { L::select_gt(x, L::splat(0.0), x, expm1::<L>(x)) }
}

/// `-x`, for zeros and NaN too.
#[inline(always)]
pub(super) unsafe fn negative<L: Simd>(x: L::F) -> L::F {
    // SAFETY: as for `Simd`.
    unsafe {
        // Adding the sign bit flips it.
        L::from_bits(L::add_i(L::bits(x), L::splat_i(i32::MIN)))
    }
}
