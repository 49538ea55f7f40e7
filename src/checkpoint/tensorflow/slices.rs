//! Tensors stored in slices: where each lies, under which key, and putting them together.

use super::proto::{TensorShape, TensorSlice};

/// More axes than any tensor of a model has.
const MOST_AXES: usize = 8;

/// More parts than any partitioned variable has.
pub(super) const MOST_SLICES: usize = 1024;

/// A part of a tensor: start and length along each axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    extents: Vec<(usize, usize)>,
    /// As the file states it: `None` for a whole axis.
    stated: Vec<(i64, Option<i64>)>,
}

/// The shape, if it is one that can be held.
pub(super) fn shape_of(shape: Option<&TensorShape>) -> Option<Vec<usize>> {
    // A scalar's shape may be left out.
    let Some(shape) = shape else {
        return Some(Vec::new());
    };
    if shape.unknown_rank || shape.dim.len() > MOST_AXES {
        return None;
    }
    shape
        .dim
        .iter()
        .map(|dim| usize::try_from(dim.size).ok())
        .collect()
}

impl Slice {
    /// Checks a slice against its tensor's shape.
    pub(super) fn new(slice: &TensorSlice, shape: &[usize]) -> Option<Self> {
        if slice.extent.len() != shape.len() {
            return None;
        }
        let mut extents = Vec::with_capacity(shape.len());
        let mut stated = Vec::with_capacity(shape.len());
        for (extent, &side) in slice.extent.iter().zip(shape) {
            let start = usize::try_from(extent.start).ok()?;
            let length = match extent.length {
                None if start == 0 => side,
                None => return None,
                Some(length) => usize::try_from(length).ok()?,
            };
            if start.checked_add(length)? > side {
                return None;
            }
            extents.push((start, length));
            stated.push((extent.start, extent.length));
        }
        Some(Self { extents, stated })
    }

    /// The slice that is the whole tensor.
    pub(super) fn whole(shape: &[usize]) -> Self {
        Self {
            extents: shape.iter().map(|&side| (0, side)).collect(),
            stated: vec![(0, None); shape.len()],
        }
    }

    /// Number of elements.
    pub(super) fn count(&self) -> usize {
        // No more than the tensor has, whose count has been checked.
        self.extents.iter().map(|&(_, length)| length).product()
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.extents
            .iter()
            .zip(&other.extents)
            .all(|(&(a, a_length), &(b, b_length))| a < b + b_length && b < a + a_length)
    }

    /// Copies the slice's values to their places in the whole tensor.
    pub(super) fn copy(&self, values: &[f32], shape: &[usize], whole: &mut [f32]) {
        let Some((&(last_start, last_length), outer)) = self.extents.split_last() else {
            whole.copy_from_slice(values);
            return;
        };
        if last_length == 0 {
            return;
        }
        let mut position = vec![0; outer.len()];
        for row in values.chunks_exact(last_length) {
            let mut at = 0;
            for (axis, &offset) in position.iter().enumerate() {
                at = at * shape[axis] + outer[axis].0 + offset;
            }
            at = at * shape[outer.len()] + last_start;
            whole[at..at + last_length].copy_from_slice(row);
            for axis in (0..outer.len()).rev() {
                position[axis] += 1;
                if position[axis] < outer[axis].1 {
                    break;
                }
                position[axis] = 0;
            }
        }
    }

    /// The key of a slice: TensorFlow's order-preserving code of 0, the name, the number of axes,
    /// and start and length along each (-1 for a whole axis).
    pub(super) fn key(&self, name: &str) -> Vec<u8> {
        let mut key = Vec::with_capacity(name.len() + 8 + 4 * self.stated.len());
        number(&mut key, 0);
        for byte in name.bytes() {
            match byte {
                0x00 => key.extend([0x00, 0xff]),
                0xff => key.extend([0xff, 0x00]),
                byte => key.push(byte),
            }
        }
        key.extend([0x00, 0x01]);
        number(&mut key, self.stated.len() as u64);
        for &(start, length) in &self.stated {
            signed(&mut key, start);
            signed(&mut key, length.unwrap_or(-1));
        }
        key
    }
}

/// Whether disjoint slices cover a tensor of this many elements.
pub(super) fn cover(slices: &[Slice], count: usize) -> bool {
    let total = slices
        .iter()
        .try_fold(0usize, |total, slice| total.checked_add(slice.count()));
    let disjoint = slices
        .iter()
        .enumerate()
        .all(|(index, slice)| slices[..index].iter().all(|other| !slice.overlaps(other)));
    total == Some(count) && disjoint
}

/// Length in bytes, then big-endian bytes without leading zeros.
fn number(key: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let length = 8 - value.leading_zeros() as usize / 8;
    key.push(length as u8);
    key.extend_from_slice(&bytes[8 - length..]);
}

/// A leading bit for the sign, as many bits of that kind as further bytes, then the number in
/// two's complement; negative numbers are the complement of what they would be otherwise.
fn signed(key: &mut Vec<u8>, value: i64) {
    let magnitude = if value < 0 { !value } else { value } as u64;
    let bits = 64 - magnitude.leading_zeros() as usize;
    // Each byte holds seven bits, one of all of them the sign.
    let length = bits / 7 + 1;
    let mut bytes = [if value < 0 { 0xff } else { 0 }; 10];
    bytes[2..].copy_from_slice(&value.to_be_bytes());
    let start = 10 - length;
    // The header: `length` ones, counted from the top.
    let header = (0xffffu32 << (16 - length)) as u16;
    bytes[start] ^= (header >> 8) as u8;
    if length > 1 {
        bytes[start + 1] ^= header as u8;
    }
    key.extend_from_slice(&bytes[start..]);
}

#[cfg(test)]
mod tests {
    use super::super::proto::{Dim, Extent};
    use super::*;

    fn slice(extents: &[(i64, Option<i64>)]) -> TensorSlice {
        TensorSlice {
            extent: extents
                .iter()
                .map(|&(start, length)| Extent { start, length })
                .collect(),
        }
    }

    #[test]
    fn slices_are_put_in_their_places() {
        let shape = [2, 4];
        let left = Slice::new(&slice(&[(0, None), (0, Some(1))]), &shape).unwrap();
        let right = Slice::new(&slice(&[(0, None), (1, Some(3))]), &shape).unwrap();
        assert!(cover(&[left.clone(), right.clone()], 8));
        let mut whole = [0.0; 8];
        left.copy(&[1.0, 5.0], &shape, &mut whole);
        right.copy(&[2.0, 3.0, 4.0, 6.0, 7.0, 8.0], &shape, &mut whole);
        assert_eq!(whole, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    }

    #[test]
    fn overlap_and_gaps_are_no_cover() {
        let shape = [4];
        let first = Slice::new(&slice(&[(0, Some(2))]), &shape).unwrap();
        let second = Slice::new(&slice(&[(1, Some(2))]), &shape).unwrap();
        assert!(!cover(&[first.clone(), second], 4));
        assert!(!cover(&[first], 4));
        assert_eq!(Slice::new(&slice(&[(2, Some(3))]), &shape), None);
        assert_eq!(Slice::new(&slice(&[(-1, Some(1))]), &shape), None);
        assert_eq!(Slice::new(&slice(&[(1, Some(i64::MAX))]), &shape), None);
    }

    #[test]
    fn shapes_out_of_range_are_refused() {
        let shape = |sizes: &[i64]| TensorShape {
            dim: sizes.iter().map(|&size| Dim { size }).collect(),
            unknown_rank: false,
        };
        assert_eq!(shape_of(Some(&shape(&[2, 3]))), Some(vec![2, 3]));
        assert_eq!(shape_of(Some(&shape(&[-1]))), None);
        assert_eq!(shape_of(Some(&shape(&[1; 9]))), None);
    }

    #[test]
    fn signed_numbers_are_coded_as_tensorflow_codes_them() {
        let code = |value| {
            let mut key = Vec::new();
            signed(&mut key, value);
            key
        };
        assert_eq!(code(0), [0x80]);
        assert_eq!(code(-1), [0x7f]);
        assert_eq!(code(63), [0xbf]);
        assert_eq!(code(-64), [0x40]);
        // From TensorFlow's description of the code: 14 bits with the header 110.
        assert_eq!(code(64), [0xc0, 0x40]);
        assert_eq!(code(-65), [0x3f, 0xbf]);
        assert_eq!(code(8191), [0xdf, 0xff]);
        assert_eq!(code(8192), [0xe0, 0x20, 0x00]);
        // Order is kept over all lengths.
        let mut numbers: Vec<i64> = (0..63).flat_map(|bit| [1 << bit, -(1 << bit)]).collect();
        numbers.extend([i64::MIN, i64::MAX]);
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| code(pair[0]) < code(pair[1])));
    }
}
