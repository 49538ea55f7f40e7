//! Sums of products of f64 without any rounding, for the directed roundings.

use super::Rounding;

/// Words of 64 bits: from 2^-2148, the lowest bit of a product of subnormals, to beyond 2^2097 and a sign.
const WORDS: usize = 68;
const LOWEST: i32 = -2148;

/// A number in two's complement, in units of 2^-2148.
#[derive(Clone)]
pub(crate) struct Exact([u64; WORDS]);

/// Sign, integer significand and exponent of a finite value.
fn parts(v: f64) -> (bool, u64, i32) {
    let bits = v.to_bits();
    let (e, fraction) = ((bits >> 52) as i32 & 0x7ff, bits & ((1 << 52) - 1));
    if e == 0 {
        (v.is_sign_negative(), fraction, -1074)
    } else {
        (v.is_sign_negative(), fraction | 1 << 52, e - 1075)
    }
}

impl Exact {
    /// a b + c for finite operands.
    pub(crate) fn fused(a: f64, b: f64, c: f64) -> Exact {
        let mut sum = Exact([0; WORDS]);
        let ((sa, ma, ea), (sb, mb, eb), (sc, mc, ec)) = (parts(a), parts(b), parts(c));
        sum.add(sa != sb, u128::from(ma) * u128::from(mb), ea + eb);
        sum.add(sc, u128::from(mc), ec);
        sum
    }

    /// Adds a magnitude of at most 106 bits times 2^exponent.
    fn add(&mut self, negative: bool, magnitude: u128, exponent: i32) {
        let shift = (exponent - LOWEST) as usize;
        let (first, bits) = (shift / 64, shift % 64);
        let low = magnitude << bits;
        let high = if bits == 0 {
            0
        } else {
            (magnitude >> (128 - bits)) as u64
        };
        let words = [low as u64, (low >> 64) as u64, high];
        let mut carry = negative;
        // A negative term is added as its complement and one.
        let fill = if negative { u64::MAX } else { 0 };
        for (i, word) in self.0.iter_mut().enumerate() {
            let term = i
                .checked_sub(first)
                .and_then(|k| words.get(k))
                .map_or(fill, |w| w ^ fill);
            let (sum, one) = word.overflowing_add(term);
            let (sum, two) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, one || two);
        }
    }

    fn negative(&self) -> bool {
        self.0[WORDS - 1] >> 63 != 0
    }

    /// -1, 0 or 1.
    pub(crate) fn sign(&self) -> f64 {
        if self.0.iter().all(|w| *w == 0) {
            0.0
        } else if self.negative() {
            -1.0
        } else {
            1.0
        }
    }

    /// The f64 that `rounding` gives; an exact zero is positive.
    pub(crate) fn round(&self, rounding: Rounding) -> f64 {
        let negative = self.negative();
        let mut words = self.0;
        if negative {
            let mut carry = true;
            for w in &mut words {
                (*w, carry) = (!*w).overflowing_add(u64::from(carry));
            }
        }
        let Some(top_word) = words.iter().rposition(|w| *w != 0) else {
            return 0.0;
        };
        let top = 64 * top_word as i32 + 63 - words[top_word].leading_zeros() as i32;
        // The exponent of the last place kept, and its bit.
        let last = (top + LOWEST - 52).max(-1074);
        let at = (last - LOWEST) as usize;
        let bit = |i: usize| words[i / 64] >> (i % 64) & 1;
        let kept = (at..at + 53).rev().fold(0, |v, i| v << 1 | bit(i));
        let half = bit(at - 1) != 0;
        let sticky = words[..(at - 1) / 64].iter().any(|w| *w != 0)
            || words[(at - 1) / 64] & ((1 << ((at - 1) % 64)) - 1) != 0;
        let up = match rounding {
            Rounding::Nearest => half && (sticky || kept & 1 != 0),
            Rounding::Away => half,
            Rounding::Zero => false,
            Rounding::Down => (half || sticky) && negative,
            Rounding::Up => (half || sticky) && !negative,
        };
        // A carry out of the significand goes into the exponent by itself.
        let bits = ((last + 1074) as u64) << 52;
        let bits = bits + kept + u64::from(up);
        let infinity = f64::INFINITY.to_bits();
        let bits = if bits < infinity {
            bits
        } else {
            let away = match rounding {
                Rounding::Nearest | Rounding::Away => true,
                Rounding::Zero => false,
                Rounding::Down => negative,
                Rounding::Up => !negative,
            };
            infinity - u64::from(!away)
        };
        f64::from_bits(bits | u64::from(negative) << 63)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_agrees_with_the_processor() {
        let mut seed = 9u64;
        let mut draw = || {
            seed = crate::exec::mix(seed);
            // Exponents near each other, near both ends of the range, and anywhere.
            let exponent = match seed % 4 {
                0 => 1000 + (seed >> 8) % 50,
                1 => (seed >> 8) % 60,
                2 => 2046 - (seed >> 8) % 60,
                _ => (seed >> 8) % 2047,
            };
            f64::from_bits(seed & (1 << 63 | ((1 << 52) - 1)) | exponent << 52)
        };
        for _ in 0..100_000 {
            let (a, b, c) = (draw(), draw(), draw());
            let (found, wanted) = (
                Exact::fused(a, b, c).round(Rounding::Nearest),
                a.mul_add(b, c),
            );
            assert!(
                found.to_bits() == wanted.to_bits() || found == 0.0 && wanted == 0.0,
                "{a:e} {b:e} {c:e}: {found:e}, {wanted:e}"
            );
        }
    }
}
