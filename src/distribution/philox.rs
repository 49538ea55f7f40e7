//! Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"),
//! used as a function from (seed, image, pixel, draw) to uniforms, so that an image depends on
//! nothing but the model, the seed and its own index.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// The smallest uniform draw; the largest is `1 - UNIFORM_MIN`, as in the original sampler.
const UNIFORM_MIN: f32 = 1e-5;

/// Random numbers of one pixel of one image.
#[derive(Clone, Copy, Debug)]
pub struct Philox {
    key: [u32; 2],
    image: u64,
    pixel: u32,
}

impl Philox {
    /// Keyed by the seed. The counter is (image index low, pixel index, draw index, image index
    /// high): the last word is 0 for the first 2^32 images.
    pub fn new(seed: u64, image: u64, pixel: u32) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            image,
            pixel,
        }
    }

    /// The pixel's draws from number `first` on.
    pub fn draws(self, first: usize) -> Draws {
        Draws {
            philox: self,
            next: first,
            four: None,
        }
    }

    /// The pixel's uniforms in `[1e-5, 1 - 1e-5]`, one after the other.
    pub fn uniforms(self) -> impl Iterator<Item = f32> {
        self.draws(0).uniforms()
    }

    fn four(&self, draw: u32) -> [u32; 4] {
        let counter = [
            self.image as u32,
            self.pixel,
            draw,
            (self.image >> 32) as u32,
        ];
        philox4x32_10(counter, self.key)
    }
}

/// The random words of a pixel, one after the other: number `j` is word `j % 4` of counter `j / 4`.
#[derive(Clone, Debug)]
pub struct Draws {
    philox: Philox,
    next: usize,
    /// The words of the counter that the next one belongs to, if it was computed.
    four: Option<[u32; 4]>,
}

impl Draws {
    /// As words of 32 bits.
    pub fn words(self) -> impl Iterator<Item = u32> {
        self
    }

    /// As uniforms in `[1e-5, 1 - 1e-5]`.
    pub fn uniforms(self) -> impl Iterator<Item = f32> {
        self.map(uniform)
    }
}

impl Iterator for Draws {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (counter, within) = (self.next / 4, self.next % 4);
        let four = match self.four {
            Some(four) if within > 0 => four,
            _ => self.philox.four(u32::try_from(counter).ok()?),
        };
        self.four = Some(four);
        self.next += 1;
        Some(four[within])
    }
}

/// The uniform in `[1e-5, 1 - 1e-5]` made from the upper 24 bits of a random word, in one
/// rounding.
pub fn uniform(word: u32) -> f32 {
    ((word >> 8) as f32 * (1.0 / (1 << 24) as f32)).mul_add(1.0 - 2.0 * UNIFORM_MIN, UNIFORM_MIN)
}

fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let wide = |lane: usize| u64::from(MULTIPLIERS[lane / 2]) * u64::from(counter[lane]);
        let (first, second) = (wide(0), wide(2));
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_matches_the_published_known_answers() {
        // kat_vectors of the authors' Random123 distribution, philox4x32 10.
        for (counter, key, expected) in [
            (
                [0; 4],
                [0; 2],
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                [u32::MAX; 4],
                [u32::MAX; 2],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox4x32_10(counter, key), expected);
        }
    }

    #[test]
    fn uniforms_stay_inside_the_samplers_range() {
        assert_eq!(uniform(0), 1e-5);
        assert!(uniform(u32::MAX) <= 1.0 - 1e-5);
        assert!(uniform(u32::MAX) > 1.0 - 1.1e-5);
    }
}
