//! Damaging files in ways that readers must survive.

/// Deterministic random numbers.
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// Values that lengths and counts should not have.
const HOSTILE: [&[u8]; 8] = [
    &[0xff; 8],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0, 0, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x80; 10],
    &[0, 0, 0, 0x40],
    b"((((((((",
];

/// Damages a file in one of several ways.
pub fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    // Half of all mutations fall into the first or last kilobyte, where headers and indexes are.
    let length = bytes.len();
    let at = match random.below(4) {
        0 => random.below(length.min(1024)),
        1 => length - 1 - random.below(length.min(1024)),
        _ => random.below(length),
    };
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.below(256) as u8,
        2 => {
            let value = HOSTILE[random.below(HOSTILE.len())];
            let end = (at + value.len()).min(length);
            bytes[at..end].copy_from_slice(&value[..end - at]);
        }
        3 => {
            let end = at + random.below((length - at).min(64));
            bytes.drain(at..end);
        }
        4 => {
            let end = at + random.below((length - at).min(64));
            let copy = bytes[at..end].to_vec();
            let to = random.below(length);
            bytes.splice(to..to, copy);
        }
        _ => {
            let other = random.below(length);
            let count = random.below(64).min(length - at.max(other));
            let copy = bytes[at..at + count].to_vec();
            bytes[other..other + count].copy_from_slice(&copy);
        }
    }
}
