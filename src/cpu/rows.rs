//! Where the rows of operands and results lie in memory.

/// Addresses of a sequence of rows: row `i` starts at
/// `base + (i / group) * group_stride + (i % group) * row_stride` (all in elements).
///
/// In the row phase a group is one column of the image with its batch; a group stride of two
/// columns addresses the input of a stride-2 convolution.
#[derive(Clone, Copy, Debug)]
pub struct Rows<T> {
    /// Start of row 0.
    pub base: *mut T,
    /// Distance between the rows of a group.
    pub row_stride: usize,
    /// Rows per group, at least 1.
    pub group: usize,
    /// Distance between groups.
    pub group_stride: usize,
}

impl<T> Rows<T> {
    /// Start of row `i`.
    ///
    /// # Safety
    /// Row `i` must lie in the allocation that `base` points into.
    #[inline(always)]
    pub unsafe fn row(&self, i: usize) -> *mut T {
        // SAFETY: the caller vouches for the row.
        unsafe {
            self.base
                .add((i / self.group) * self.group_stride + (i % self.group) * self.row_stride)
        }
    }

    /// The end of the longest run of rows in `first..end` that lie [`Self::even_stride`] apart.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn even_end(&self, first: usize, end: usize) -> usize {
        let joined = self.group.checked_mul(self.row_stride) == Some(self.group_stride);
        if self.group == 1 || joined {
            return end;
        }
        // Up to the end of the group.
        end.min((first / self.group + 1).saturating_mul(self.group))
    }

    /// Distance between the rows of such a run.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn even_stride(&self) -> usize {
        match self.group {
            1 => self.group_stride,
            _ => self.row_stride,
        }
    }

    /// Starts of the `N` rows from `first` on, with one division.
    ///
    /// # Safety
    /// As for [`Self::row`].
    #[inline(always)]
    pub(super) unsafe fn rows<const N: usize>(&self, first: usize) -> [*mut T; N] {
        let (mut group, mut within) = match first < self.group {
            true => (0, first),
            false => (first / self.group, first % self.group),
        };
        std::array::from_fn(|_| {
            let at = group * self.group_stride + within * self.row_stride;
            within += 1;
            if within == self.group {
                (group, within) = (group + 1, 0);
            }
            // SAFETY: the caller vouches for the rows.
            unsafe { self.base.add(at) }
        })
    }
}

// SAFETY: a `Rows` is an address; whoever dereferences it vouches for exclusive or shared access.
unsafe impl<T> Send for Rows<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Rows<T> {}
