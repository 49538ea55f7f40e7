//! What this machine can do at best, measured: the yardstick of every speed reported.

use std::hint::black_box;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use bytemuck::Zeroable;
use half::bf16;

use super::gemm::Gemm;
use super::isa::Isa;
use super::simd::{LANES, Simd, Vectorised};

/// Steps of a timed run, per chain.
const STEPS: usize = 20_000;

/// Independent chains of products of cells (see [`Gemm::multiply`]) on `CHAINS` times sixteen
/// lanes.
struct Multiply<E, const CHAINS: usize> {
    /// Differing, or the compiler would merge chains.
    start: [[f32; LANES]; CHAINS],
    element: PhantomData<E>,
}

impl<E: Gemm, const CHAINS: usize> Vectorised for Multiply<E, CHAINS> {
    type Output = [f32; LANES];

    #[inline(always)]
    unsafe fn run<L: Simd>(self) -> [f32; LANES] {
        // SAFETY: registers and arrays of sixteen only.
        unsafe {
            let mut sums = [L::splat(0.0); CHAINS];
            for (sum, start) in sums.iter_mut().zip(&self.start) {
                *sum = L::load(start.as_ptr());
            }
            let a = L::bits(L::load(self.start[0].as_ptr()));
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = E::multiply::<L>(*sum, a, a);
                }
            }
            let mut total = sums[0];
            for &sum in &sums[1..] {
                total = L::add(total, sum);
            }
            let mut out = [0.0; LANES];
            L::store(out.as_mut_ptr(), total);
            out
        }
    }
}

/// Seconds of the fastest of many calls, trying for `budget`.
fn fastest(budget: Duration, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while best.is_infinite() || start.elapsed() < budget {
        let before = Instant::now();
        call();
        best = best.min(before.elapsed().as_secs_f64());
    }
    best
}

/// GFLOP/s with `CHAINS` chains of sixteen lanes.
///
/// # Safety
/// This machine must have `isa`.
unsafe fn rate<E: Gemm, const CHAINS: usize>(isa: Isa, budget: Duration) -> f64 {
    let start: [[f32; LANES]; CHAINS] = std::array::from_fn(|chain| {
        std::array::from_fn(|lane| 1.0 / (2 + chain * LANES + lane) as f32)
    });
    let seconds = fastest(budget, || {
        let operation = Multiply::<E, CHAINS> {
            start: black_box(start),
            element: PhantomData,
        };
        // SAFETY: the caller's promise; registers and arrays of sixteen only.
        black_box(unsafe { E::run(isa, operation) });
    });
    let per_cell = size_of::<f32>() / size_of::<E>();
    (2 * per_cell * LANES * CHAINS * STEPS) as f64 / seconds / 1e9
}

/// An element type whose product speed can be measured: f32 and bf16.
pub trait Measurable: Gemm {
    /// See [`measured_peak`].
    ///
    /// # Safety
    /// This machine must have `isa`.
    unsafe fn peak(isa: Isa, budget: Duration) -> f64;
}

impl Measurable for f32 {
    unsafe fn peak(isa: Isa, budget: Duration) -> f64 {
        // SAFETY: the caller's promise.
        unsafe { vector_peak::<Self>(isa, budget) }
    }
}

impl Measurable for bf16 {
    unsafe fn peak(isa: Isa, budget: Duration) -> f64 {
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Amx {
            const MULTIPLIES: usize = 4096;
            let seconds = fastest(budget, || {
                // SAFETY: [`measured_peak`] makes sure of AMX.
                unsafe { super::gemm::amx::multiply_only(MULTIPLIES) }
            });
            // 16 rows, 16 columns, 32 of k.
            return (2 * 16 * 16 * 32 * MULTIPLIES) as f64 / seconds / 1e9;
        }
        // SAFETY: the caller's promise.
        unsafe { vector_peak::<Self>(isa, budget) }
    }
}

/// See [`measured_peak`].
///
/// # Safety
/// This machine must have `isa`.
unsafe fn vector_peak<E: Gemm>(isa: Isa, budget: Duration) -> f64 {
    // Enough chains to cover the latency of two panels, few enough to stay in registers.
    // SAFETY: the caller's promise.
    unsafe {
        match isa {
            Isa::Portable => rate::<E, 1>(isa, budget),
            Isa::Avx2 | Isa::Neon => rate::<E, 6>(isa, budget),
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => rate::<E, 12>(isa, budget),
        }
    }
}

/// GFLOP/s of one core in the multiply-adds (two operations each) that products of `E` use on this
/// instruction set, from registers (AMX: tiles) alone: the best of `budget`. Portable code's where
/// the machine lacks it.
pub fn measured_peak<E: Measurable>(isa: Isa, budget: Duration) -> f64 {
    // SAFETY: the machine has it.
    unsafe { E::peak(isa.or_portable(), budget) }
}

/// A cache line.
#[derive(Clone, Copy, Zeroable)]
#[repr(align(64))]
struct Line([i32; LANES]);

/// Reads lines in order.
struct Read<'a>(&'a [Line]);

impl Vectorised for Read<'_> {
    type Output = [f32; LANES];

    #[inline(always)]
    unsafe fn run<L: Simd>(self) -> [f32; LANES] {
        // SAFETY: lines are arrays of sixteen.
        unsafe {
            let mut sums = [L::splat_i(0); 4];
            let chunks = self.0.chunks_exact(4);
            for chunk in chunks {
                for (sum, line) in sums.iter_mut().zip(chunk) {
                    *sum = L::or_i(*sum, L::load_i(line.0.as_ptr()));
                }
            }
            let sum = L::or_i(L::or_i(sums[0], sums[1]), L::or_i(sums[2], sums[3]));
            let mut out = [0.0; LANES];
            L::store(out.as_mut_ptr(), L::from_bits(sum));
            out
        }
    }
}

/// GB/s (10^9 bytes) at which one core reads `bytes` of memory over and over, in order: the best
/// of `budget`. Small sizes stay in a cache.
pub fn measured_read(isa: Isa, bytes: usize, budget: Duration) -> f64 {
    let count = bytes.div_ceil(size_of::<Line>()).next_multiple_of(4);
    let isa = isa.or_portable();
    // Written, or all pages would be one page of zeros.
    let lines: Vec<Line> = (0..count).map(|i| Line([i as i32; LANES])).collect();
    // Long enough for the clock.
    let rounds = (4_000_000 / bytes.max(1)).max(1);
    let seconds = fastest(budget, || {
        for _ in 0..rounds {
            // SAFETY: `Read` holds a valid slice and the machine has the instruction set.
            black_box(unsafe { isa.run(Read(black_box(&lines))) });
        }
    });
    (rounds * size_of_val(lines.as_slice())) as f64 / seconds / 1e9
}

/// Read bandwidths of one core in GB/s (10^9 bytes per second).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bandwidth {
    /// From half of the second-level cache.
    pub l2: f64,
    /// From a working set that fits in the third-level cache but not in the second; of the size
    /// of the weights that a published model reads per pixel (15 MB) if there is room.
    pub l3: f64,
    /// From a working set far larger than the caches.
    pub memory: f64,
}

/// Sizes of the second- and third-level caches in bytes as Linux tells them; 1 MB and 32 MB where
/// it does not.
pub fn cache_sizes() -> (usize, usize) {
    let level = |level: &str| {
        (0..8).find_map(|index| {
            let file = |name: &str| {
                let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}");
                std::fs::read_to_string(path).ok()
            };
            if file("level")?.trim() != level {
                return None;
            }
            let kilobytes: usize = file("size")?.trim().strip_suffix('K')?.parse().ok()?;
            kilobytes.checked_mul(1024).filter(|&bytes| bytes > 0)
        })
    };
    (
        level("2").unwrap_or(1 << 20),
        level("3").unwrap_or(32 << 20),
    )
}

/// Measures the three bandwidths, each for `budget`. Allocates up to 256 MB.
pub fn measured_bandwidth(isa: Isa, budget: Duration) -> Bandwidth {
    let (l2, l3) = cache_sizes();
    Bandwidth {
        l2: measured_read(isa, l2 / 2, budget),
        l3: measured_read(isa, (l3 / 2).clamp(l2, 15_000_000.max(l2)), budget),
        memory: measured_read(isa, (4 * l3).clamp(64 << 20, 256 << 20), budget),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_reads_every_lane_of_every_line() {
        let mut lines = vec![Line([0; LANES]); 8];
        for isa in Isa::available() {
            for line in 0..lines.len() {
                for lane in 0..LANES {
                    lines[line].0[lane] = 1 << (line + lane);
                    // SAFETY: the machine has the instruction set.
                    let read = unsafe { isa.run(Read(&lines)) };
                    lines[line].0[lane] = 0;
                    assert_eq!(
                        read[lane].to_bits(),
                        1 << (line + lane),
                        "{isa} {line} {lane}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_chain_is_multiplied_as_often_as_it_is_counted() {
        for isa in Isa::available() {
            let operation = Multiply::<f32, 6> {
                start: [[1.0; LANES]; 6],
                element: PhantomData,
            };
            // SAFETY: the machine has the instruction set.
            let sums = unsafe { f32::run(isa, operation) };
            assert_eq!(sums, [6.0 * (STEPS + 1) as f32; LANES], "{isa}");
        }
    }

    #[test]
    fn every_instruction_set_has_a_peak() {
        for isa in Isa::available() {
            let peaks = [
                measured_peak::<f32>(isa, Duration::ZERO),
                measured_peak::<bf16>(isa, Duration::ZERO),
            ];
            assert!(peaks.iter().all(|peak| peak.is_finite() && *peak > 0.0));
        }
    }
}
