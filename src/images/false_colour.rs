//! Colours for codes that have no order: to look at, not to be read back.

/// What the red, the green and the blue of a code gain over those of the code before, in 2^-32 of
/// the whole range, which wraps around: 1/p^2, 1/p^3 and 1/p with p = 1.2207..., the root of p^4 = p + 1.
/// With these steps any number of codes fills the cube of colours evenly (the additive recurrence
/// R3 of Roberts 2018, "The unreasonable effectiveness of quasirandom sequences").
const STEPS: [u32; 3] = [2_882_110_345, 2_360_945_575, 3_518_319_155];

/// The colour of a code: red, green, blue. Neighbouring codes differ by 115 or more of 255 levels in
/// green, 84 or more in red and 46 or more in blue; no two codes have the same colour. Code 0 is grey.
pub fn false_colour(code: u16) -> [u8; 3] {
    const MIDDLE: u32 = 1 << 31;
    STEPS.map(|step| (step.wrapping_mul(code.into()).wrapping_add(MIDDLE) >> 24) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_powers_of_the_root() {
        let mut p = 1.2f64;
        for _ in 0..100 {
            p = (p + 1.0).powf(0.25);
        }
        for (step, power) in STEPS.iter().zip([2, 3, 1]) {
            let exact = p.powi(-power) * 2f64.powi(32);
            assert!((f64::from(*step) - exact).abs() <= 0.5, "{step} {exact}");
        }
    }

    #[test]
    fn neighbours_differ_clearly() {
        for code in 0..u16::MAX {
            let (a, b) = (false_colour(code), false_colour(code + 1));
            for ((a, b), least) in a.iter().zip(b).zip([84, 115, 46]) {
                assert!(a.abs_diff(b) >= least, "{code}: {a} {b}");
            }
        }
    }

    #[test]
    fn all_codes_have_colours_of_their_own() {
        let mut colours: Vec<[u8; 3]> = (0..=u16::MAX).map(false_colour).collect();
        colours.sort_unstable();
        colours.dedup();
        assert_eq!(colours.len(), 1 << 16);
    }
}
