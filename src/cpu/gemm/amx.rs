//! bf16 products on AMX tiles: 16 rows by 16 columns of f32 sums, 32 bf16 of k at a time.
//!
//! The packed weights of a panel are tiles already: 16 pairs of k by 16 columns, 1 KB in a row.
//! Microkernel operations sit behind [`Tiles`], so that everything else here is tested on machines
//! without AMX against a model of the instructions; the instructions are tested there too, by
//! trapping them. **They have not been run by a processor that has them: none was at hand.**

use std::arch::asm;
use std::ops::Range;

use half::bf16;

use super::PANEL;
use super::blocks::Accumulate;
use crate::cpu::rows::Rows;

/// Rows of a tile.
const MICROKERNEL_ROWS: usize = 16;
/// bf16 in a row of an operand tile: 64 bytes.
const TILE_K: usize = 32;
/// Units of a block with one tile of rows; with two it has half of them, so that four tiles of
/// sums are in flight either way.
const BLOCK_PANELS: usize = 4;

/// The roles of the eight tiles.
const SUMS: [u8; 4] = [0, 1, 2, 3];
const OPERANDS: [u8; 2] = [4, 5];
const WEIGHTS: [u8; 2] = [6, 7];

/// Layout of the tiles, as the processor reads it (palette 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes per row.
    pub width: [u16; 16],
    /// Rows.
    pub rows: [u8; 16],
}

impl Config {
    /// Sums and operands of `first` rows (0 to 16) in one tile and `second` in the other.
    fn new(first: usize, second: usize) -> Self {
        let mut config = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            width: [0; 16],
            rows: [0; 16],
        };
        let mut set = |tile: u8, rows: usize| {
            config.rows[usize::from(tile)] = rows as u8;
            config.width[usize::from(tile)] = 64;
        };
        // A tile that is not used still needs a shape.
        let second_or_first = if second == 0 { first } else { second };
        for (index, tile) in SUMS.into_iter().enumerate() {
            set(tile, if index < 2 { first } else { second_or_first });
        }
        set(OPERANDS[0], first);
        set(OPERANDS[1], second_or_first);
        for tile in WEIGHTS {
            set(tile, MICROKERNEL_ROWS);
        }
        config
    }
}

/// The tile instructions.
///
/// # Safety
/// Tiles must be configured before they are used; addresses must be valid for as many rows of 64
/// bytes, `stride` bytes apart, as the tile has.
pub(super) trait Tiles {
    unsafe fn configure(&mut self, config: &Config);
    /// Gives the tiles back: a thread that keeps them costs the system at every switch.
    unsafe fn release(&mut self);
    unsafe fn load<const T: u8>(&mut self, from: *const u8, stride: usize);
    unsafe fn store<const T: u8>(&mut self, to: *mut u8, stride: usize);
    /// Microkernel `C` += tile `A` times tile `B`.
    unsafe fn multiply<const C: u8, const A: u8, const B: u8>(&mut self);
    /// Asks for the cache lines of the tile of weights there; any address will do.
    unsafe fn prefetch(&mut self, from: *const u8);
}

/// The processor's tiles.
pub(super) struct Hardware;

// The compiler knows nothing of tile registers and so leaves them alone between these blocks.
// SAFETY (all blocks below): the trait asks its callers for what the instructions need.
impl Tiles for Hardware {
    #[inline(always)]
    unsafe fn configure(&mut self, config: &Config) {
        // SAFETY: see above.
        unsafe { asm!("ldtilecfg [{}]", in(reg) config, options(nostack, preserves_flags)) }
    }
    #[inline(always)]
    unsafe fn release(&mut self) {
        // SAFETY: see above.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags)) }
    }
    #[inline(always)]
    unsafe fn load<const T: u8>(&mut self, from: *const u8, stride: usize) {
        // SAFETY: see above.
        unsafe {
            asm!("tileloadd tmm{t}, [{from} + {stride}]", t = const T, from = in(reg) from,
                stride = in(reg) stride, options(nostack, preserves_flags))
        }
    }
    #[inline(always)]
    unsafe fn store<const T: u8>(&mut self, to: *mut u8, stride: usize) {
        // SAFETY: see above.
        unsafe {
            asm!("tilestored [{to} + {stride}], tmm{t}", t = const T, to = in(reg) to,
                stride = in(reg) stride, options(nostack, preserves_flags))
        }
    }
    #[inline(always)]
    unsafe fn multiply<const C: u8, const A: u8, const B: u8>(&mut self) {
        // SAFETY: see above.
        unsafe {
            asm!("tdpbf16ps tmm{c}, tmm{a}, tmm{b}", c = const C, a = const A, b = const B,
                options(nostack, preserves_flags))
        }
    }
    #[inline(always)]
    unsafe fn prefetch(&mut self, from: *const u8) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        for line in 0..MICROKERNEL_ROWS {
            // SAFETY: a prefetch does not fault.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(64 * line).cast()) };
        }
    }
}

/// The longest run of rows from `rows.start` on that are evenly spaced everywhere, at most a tile.
fn even(product: &Accumulate<'_, bf16>, rows: Range<usize>) -> Range<usize> {
    let mut end = rows.end.min(rows.start + MICROKERNEL_ROWS);
    end = product.acc.even_end(rows.start, end);
    for segment in product.segments {
        end = segment.even_end(rows.start, end);
    }
    rows.start..end
}

/// [`super::accumulate`] on tiles.
///
/// # Safety
/// As there; the tile instructions must be available.
pub(super) unsafe fn accumulate<T: Tiles>(tiles: &mut T, product: &Accumulate<'_, bf16>) {
    let mut rows = product.rows.clone();
    let mut config = None;
    while !rows.is_empty() {
        let first = even(product, rows.clone());
        let second = even(product, first.end..rows.end);
        rows.start = second.end;
        let wanted = Config::new(first.len(), second.len());
        // SAFETY: the configuration is one that palette 1 allows; the rest is the caller's promise.
        unsafe {
            if config != Some(wanted) {
                tiles.configure(&wanted);
                config = Some(wanted);
            }
            if second.is_empty() {
                for panels in super::blocks::parts(product.panels.clone(), BLOCK_PANELS) {
                    one_tile_of_rows(tiles, product, first.start, panels);
                }
            } else {
                for panels in super::blocks::parts(product.panels.clone(), BLOCK_PANELS / 2) {
                    two_tiles_of_rows(tiles, product, [first.start, second.start], panels);
                }
            }
        }
    }
    // SAFETY: nothing uses the tiles any more.
    unsafe { tiles.release() };
}

/// Where the rows of a tile lie.
#[derive(Clone, Copy)]
struct Place {
    start: *mut u8,
    stride: usize,
}

/// The tile of rows from `first` on, from element `column` on.
unsafe fn place<T>(rows: &Rows<T>, first: usize, column: usize) -> Place {
    // SAFETY: the caller vouches for the rows.
    unsafe {
        Place {
            start: rows.row(first).add(column).cast(),
            stride: rows.even_stride() * size_of::<T>(),
        }
    }
}

/// Weights of one panel, from tile to tile.
#[derive(Clone, Copy)]
struct Stream(*const u8);

impl Stream {
    fn new(product: &Accumulate<'_, bf16>, panel: usize) -> Self {
        let bytes = panel * product.weights.depth() * PANEL * size_of::<bf16>();
        Self(
            product
                .weights
                .data()
                .as_ptr()
                .cast::<u8>()
                .wrapping_add(bytes),
        )
    }

    #[inline(always)]
    unsafe fn load<const W: u8, T: Tiles>(&mut self, tiles: &mut T) {
        const BYTES: usize = TILE_K * PANEL * size_of::<bf16>();
        // SAFETY: the caller loads no more tiles than the panel has.
        unsafe {
            tiles.load::<W>(self.0, 64);
            tiles.prefetch(self.0.wrapping_add(4 * BYTES));
        }
        self.0 = self.0.wrapping_add(BYTES);
    }
}

/// Up to four panels of one tile of rows.
#[inline(always)]
unsafe fn one_tile_of_rows<T: Tiles>(
    tiles: &mut T,
    product: &Accumulate<'_, bf16>,
    row: usize,
    panels: Range<usize>,
) {
    let count = panels.len();
    let mut streams = [0, 1, 2, 3].map(|panel| Stream::new(product, panels.start + panel));
    // SAFETY: the caller's promise.
    unsafe {
        let sums = place(&product.acc, row, panels.start * PANEL);
        let at = |panel: usize| sums.start.wrapping_add(panel * PANEL * size_of::<f32>());
        tiles.load::<0>(at(0), sums.stride);
        if count > 1 {
            tiles.load::<1>(at(1), sums.stride);
        }
        if count > 2 {
            tiles.load::<2>(at(2), sums.stride);
        }
        if count > 3 {
            tiles.load::<3>(at(3), sums.stride);
        }
        for (&length, segment) in product.weights.segments().iter().zip(product.segments) {
            let operand = place(segment, row, 0);
            for k in (0..length).step_by(TILE_K) {
                tiles.load::<4>(operand.start.add(k * size_of::<bf16>()), operand.stride);
                streams[0].load::<6, T>(tiles);
                tiles.multiply::<0, 4, 6>();
                if count > 1 {
                    streams[1].load::<7, T>(tiles);
                    tiles.multiply::<1, 4, 7>();
                }
                if count > 2 {
                    streams[2].load::<6, T>(tiles);
                    tiles.multiply::<2, 4, 6>();
                }
                if count > 3 {
                    streams[3].load::<7, T>(tiles);
                    tiles.multiply::<3, 4, 7>();
                }
            }
        }
        tiles.store::<0>(at(0), sums.stride);
        if count > 1 {
            tiles.store::<1>(at(1), sums.stride);
        }
        if count > 2 {
            tiles.store::<2>(at(2), sums.stride);
        }
        if count > 3 {
            tiles.store::<3>(at(3), sums.stride);
        }
    }
}

/// One or two panels of two tiles of rows.
#[inline(always)]
unsafe fn two_tiles_of_rows<T: Tiles>(
    tiles: &mut T,
    product: &Accumulate<'_, bf16>,
    rows: [usize; 2],
    panels: Range<usize>,
) {
    let both = panels.len() > 1;
    let mut streams = [0, 1].map(|panel| Stream::new(product, panels.start + panel));
    // SAFETY: the caller's promise.
    unsafe {
        let sums = rows.map(|row| place(&product.acc, row, panels.start * PANEL));
        let next = |place: Place| place.start.wrapping_add(PANEL * size_of::<f32>());
        tiles.load::<0>(sums[0].start, sums[0].stride);
        tiles.load::<2>(sums[1].start, sums[1].stride);
        if both {
            tiles.load::<1>(next(sums[0]), sums[0].stride);
            tiles.load::<3>(next(sums[1]), sums[1].stride);
        }
        for (&length, segment) in product.weights.segments().iter().zip(product.segments) {
            let operands = rows.map(|row| place(segment, row, 0));
            for k in (0..length).step_by(TILE_K) {
                let at = k * size_of::<bf16>();
                tiles.load::<4>(operands[0].start.add(at), operands[0].stride);
                tiles.load::<5>(operands[1].start.add(at), operands[1].stride);
                streams[0].load::<6, T>(tiles);
                tiles.multiply::<0, 4, 6>();
                tiles.multiply::<2, 5, 6>();
                if both {
                    streams[1].load::<7, T>(tiles);
                    tiles.multiply::<1, 4, 7>();
                    tiles.multiply::<3, 5, 7>();
                }
            }
        }
        tiles.store::<0>(sums[0].start, sums[0].stride);
        tiles.store::<2>(sums[1].start, sums[1].stride);
        if both {
            tiles.store::<1>(next(sums[0]), sums[0].stride);
            tiles.store::<3>(next(sums[1]), sums[1].stride);
        }
    }
}

/// `count` products of tiles that depend on no memory, for the measured peak.
///
/// # Safety
/// [`available`] must hold.
pub(in crate::cpu) unsafe fn multiply_only(count: usize) {
    let tiles = &mut Hardware;
    // SAFETY: the caller has AMX; new tiles are zero, and no address is used.
    unsafe {
        tiles.configure(&Config::new(MICROKERNEL_ROWS, MICROKERNEL_ROWS));
        for _ in 0..count / 4 {
            tiles.multiply::<0, 4, 6>();
            tiles.multiply::<1, 4, 7>();
            tiles.multiply::<2, 5, 6>();
            tiles.multiply::<3, 5, 7>();
        }
        tiles.release();
    }
}

/// Whether the processor has AMX tiles for bf16, and the system lets this process use them (which
/// this asks for).
pub(in crate::cpu) fn available() -> bool {
    static AVAILABLE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *AVAILABLE.get_or_init(|| has_instructions() && permitted())
}

fn has_instructions() -> bool {
    use std::arch::x86_64::__cpuid_count;
    const OSXSAVE: u32 = 1 << 27;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    // Microkernel configuration and tile data.
    const STATE: u64 = 0b11 << 17;
    #[allow(unused_unsafe, reason = "the call was unsafe in older Rust versions")]
    // SAFETY: every x86-64 processor has the instruction.
    let cpuid = |leaf| unsafe { __cpuid_count(leaf, 0) };
    if cpuid(0).eax < 0x1d || cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let features = cpuid(7).edx;
    if features & AMX_BF16 == 0 || features & AMX_TILE == 0 {
        return false;
    }
    let (low, high): (u32, u32);
    // SAFETY: OSXSAVE says that the instruction can be used.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags));
    }
    (u64::from(high) << 32 | u64::from(low)) & STATE == STATE
}

/// Asks Linux for the large register state (5.16 and later grant it per process).
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        ) == 0
    }
}

/// Other systems need not be asked; those that hide the state from XCR0 have been ruled out.
#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    true
}

#[cfg(test)]
mod tests;
