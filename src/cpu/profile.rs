//! How long each phase of a generation takes, by the clock of one thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::backend::Profile;

/// What a thread was busy with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lap {
    /// Row phase.
    Row,
    /// Pixel phase, up to the mixture parameters.
    Pixel,
    /// Choosing pixels and pushing them into the image's cache.
    Sampling,
}

/// Adds up the time of each kind of lap. One thread writes; all meet at barriers, so its time is
/// theirs.
#[derive(Debug, Default)]
pub(super) struct ProfileClock([AtomicU64; 3]);

impl ProfileClock {
    fn add(&self, lap: Lap, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0[lap as usize].fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The sums so far.
    pub fn profile(&self) -> Profile {
        let time = |lap: Lap| Duration::from_nanos(self.0[lap as usize].load(Ordering::Relaxed));
        Profile {
            row: time(Lap::Row),
            pixel: time(Lap::Pixel),
            sampling: time(Lap::Sampling),
        }
    }
}

/// Times the laps of a thread; without a clock it does not even look at the time.
pub(super) struct Stopwatch<'a>(Option<(&'a ProfileClock, Instant)>);

impl<'a> Stopwatch<'a> {
    /// Starts, if there is a clock to add to.
    pub fn start(clock: Option<&'a ProfileClock>) -> Self {
        Self(clock.map(|clock| (clock, Instant::now())))
    }

    /// Ends a lap, which was of this kind, and begins the next one.
    pub fn lap(&mut self, lap: Lap) {
        if let Some((clock, last)) = &mut self.0 {
            let now = Instant::now();
            clock.add(lap, now - *last);
            *last = now;
        }
    }
}
