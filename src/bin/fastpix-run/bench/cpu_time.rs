//! The processor time of this process: what work costs, whoever else uses the machine.

use std::time::Duration;

/// Processor time that all threads of this process have used so far, where the system tells.
#[cfg(unix)]
pub fn cpu_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
    Some(Duration::new(seconds, nanoseconds))
}

/// Processor time that all threads of this process have used so far, where the system tells.
#[cfg(not(unix))]
pub fn cpu_time() -> Option<Duration> {
    None
}

/// Processor time that something takes, in seconds; never 0, so that rates stay numbers.
pub fn measured<T>(what: impl FnOnce() -> T) -> (T, Option<f64>) {
    let before = cpu_time();
    let result = what();
    let used = cpu_time().zip(before).map(|(after, before)| {
        let used = after.saturating_sub(before);
        used.max(Duration::from_nanos(1)).as_secs_f64()
    });
    (result, used)
}
