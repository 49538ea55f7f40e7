//! What this machine can do at best, measured: the yardstick of every speed reported.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::isa::Isa;
use super::lanes::{LANES, Lanes, Vectorised};

/// Steps of a timed run of fused multiply-adds, per chain.
const STEPS: usize = 20_000;

/// Independent chains of fused multiply-adds on `CHAINS` times sixteen lanes.
struct Multiply<const CHAINS: usize> {
    /// Differing, or the compiler would merge chains.
    start: [[f32; LANES]; CHAINS],
}

impl<const CHAINS: usize> Vectorised for Multiply<CHAINS> {
    type Output = [f32; LANES];

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> [f32; LANES] {
        // SAFETY: registers and arrays of sixteen only.
        unsafe {
            let mut sums = [L::splat(0.0); CHAINS];
            for (sum, start) in sums.iter_mut().zip(&self.start) {
                *sum = L::load(start.as_ptr());
            }
            let (a, b) = (L::splat(self.start[0][1]), L::splat(self.start[0][2]));
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = L::fma(*sum, a, b);
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

/// GFLOP/s of one core with this many chains.
fn rate<const CHAINS: usize>(isa: Isa, budget: Duration) -> f64 {
    let start = std::array::from_fn(|chain| {
        std::array::from_fn(|lane| 1.0 / (2 + chain * LANES + lane) as f32)
    });
    let seconds = fastest(budget, || {
        let start = black_box(start);
        // SAFETY: registers and arrays of sixteen only.
        black_box(unsafe { isa.run(Multiply::<CHAINS> { start }) });
    });
    (2 * LANES * CHAINS * STEPS) as f64 / seconds / 1e9
}

/// Seconds of the fastest of many calls, trying for `budget`.
fn fastest(budget: Duration, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed() < budget {
        let before = Instant::now();
        call();
        best = best.min(before.elapsed().as_secs_f64());
    }
    best
}

/// GFLOP/s of one core in f32 fused multiply-adds (two operations each) that stay in registers,
/// the best of `budget`.
pub fn measured_peak(isa: Isa, budget: Duration) -> f64 {
    // Enough chains to cover the latency of two units, few enough to stay in registers.
    match isa {
        Isa::Portable => rate::<1>(isa, budget),
        Isa::Avx2 | Isa::Neon => rate::<6>(isa, budget),
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => rate::<12>(isa, budget),
    }
}
