//! Weights in the order in which the inner loops read them.

use super::blocks::Upcoming;
use crate::cpu::cache_line::CacheLine;
use crate::cpu::element::Element;
use crate::cpu::isa::Isa;

/// Columns of a panel: the granule in which weights are packed and columns are shared out.
pub const PANEL: usize = 16;

/// How the columns of a weight matrix are placed in panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Panel `i` holds columns `16 i .. 16 i + 16`; the last one is padded with zeros.
    Plain,
    /// The matrix has `2 n` columns, an `a` and a `b` half; panel `2 i` holds columns
    /// `16 i .. 16 i + 16` of the a half and panel `2 i + 1` those of the b half, so that a gate
    /// finds both side by side.
    Gated,
}

/// A weight matrix packed for [`super::accumulate`]: by panel, then by segment, then by
/// [`Element::GROUP`] of k, `[16][GROUP]` weights: all that a panel needs is one run of memory.
#[derive(Clone, Debug)]
pub struct Packed<E> {
    segments: Vec<usize>,
    depth: usize,
    panels: usize,
    lines: Vec<CacheLine>,
    element: std::marker::PhantomData<E>,
}

impl<E: Element> Packed<E> {
    /// Packs a matrix of `segments.iter().sum()` rows (before padding) and `n` columns (`2 n` when
    /// gated); `weight(segment, k, column)` gives its entries.
    pub fn new(
        _isa: Isa,
        segments: &[usize],
        n: usize,
        columns: Columns,
        weight: impl Fn(usize, usize, usize) -> f32,
    ) -> Self {
        let groups = n.div_ceil(PANEL);
        let panels = match columns {
            Columns::Plain => groups,
            Columns::Gated => 2 * groups,
        };
        let padded: Vec<usize> = segments
            .iter()
            .map(|k| k.next_multiple_of(E::PAD))
            .collect();
        let depth: usize = padded.iter().sum();
        let mut lines = CacheLine::zeros(panels * depth * PANEL * size_of::<E>());
        let data: &mut [E] = bytemuck::cast_slice_mut(&mut lines);
        for panel in 0..panels {
            let (group, half) = match columns {
                Columns::Plain => (panel, 0),
                Columns::Gated => (panel / 2, panel % 2),
            };
            let mut start = panel * depth;
            for (segment, (&k, &padded)) in segments.iter().zip(&padded).enumerate() {
                for k_index in 0..k {
                    for lane in 0..PANEL.min(n - group * PANEL) {
                        let column = half * n + group * PANEL + lane;
                        let (block, within) = (k_index / E::GROUP, k_index % E::GROUP);
                        let at = (start + block * E::GROUP) * PANEL + lane * E::GROUP + within;
                        data[at] = E::from_f32(weight(segment, k_index, column));
                    }
                }
                start += padded;
            }
        }
        Self {
            segments: padded,
            depth,
            panels,
            lines,
            element: std::marker::PhantomData,
        }
    }

    /// Panels of 16 columns.
    pub fn panels(&self) -> usize {
        self.panels
    }

    /// Padded length of each segment, in elements.
    pub fn segments(&self) -> &[usize] {
        &self.segments
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        std::mem::size_of_val(self.lines.as_slice())
    }

    /// The weights of the panels from `panel` on, for [`super::accumulate`].
    pub fn upcoming(&self, panel: usize) -> Upcoming {
        let cells = self.depth / E::GROUP;
        let weights: *const i32 = self.lines.as_ptr().cast();
        Upcoming {
            weights: weights.wrapping_add(panel * cells * PANEL),
            panel_stride: cells * PANEL,
        }
    }

    /// Sum of the padded segment lengths: `16 * depth` weights from one panel to the next.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// All weights.
    pub(super) fn data(&self) -> &[E] {
        bytemuck::cast_slice(&self.lines)
    }
}
