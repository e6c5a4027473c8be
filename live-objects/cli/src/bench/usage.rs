//! What the system says that a process has used so far.

use std::time::Duration;

/// What a process has used.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Usage {
    /// Of processors, by the process and for it in the system.
    pub(super) cpu: Duration,
    /// Bytes that are resident.
    pub(super) resident: u64,
    /// Of these, bytes that are its own alone.
    pub(super) own: u64,
    pub(super) threads: u64,
    /// How often its first thread had waited.
    pub(super) wakes: u64,
}

#[cfg(target_os = "linux")]
impl Usage {
    /// What this process has used, by its id.
    pub(super) fn of(process: u32) -> Result<Self, String> {
        let read = || {
            let process = procfs::process::Process::new(process.cast_signed())?;
            let (stat, status) = (process.stat()?, process.status()?);
            let ticks = stat.utime + stat.stime;
            let cpu = ticks as f64 / procfs::ticks_per_second() as f64;
            Ok(Self {
                cpu: Duration::from_secs_f64(cpu),
                resident: status.vmrss.unwrap_or_default() * KIB,
                own: status.rssanon.unwrap_or_default() * KIB,
                threads: status.threads,
                wakes: status.voluntary_ctxt_switches.unwrap_or_default(),
            })
        };
        read().map_err(|error: procfs::ProcError| format!("process {process}: {error}"))
    }
}

/// How many processes wanted to run in the last minute, on average.
#[cfg(target_os = "linux")]
pub(super) fn load_average() -> Option<f64> {
    use procfs::Current;
    procfs::LoadAverage::current().ok().map(|load| load.one.into())
}

#[cfg(not(target_os = "linux"))]
impl Usage {
    /// Other systems tell it otherwise, or not at all.
    pub(super) fn of(_: u32) -> Result<Self, String> {
        Err("what processes use is read from /proc as Linux has it: run this on Linux".to_owned())
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn load_average() -> Option<f64> {
    None
}

#[cfg(target_os = "linux")]
const KIB: u64 = 1_024;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_uses_grows_as_it_works() {
        let before = Usage::of(std::process::id()).unwrap();
        assert!(before.resident >= before.own && before.own > 0 && before.threads > 0);
        let mut after = before;
        let mut turns = 0_u64;
        while after.cpu == before.cpu {
            turns = (0..1_000_000).fold(turns, |sum, turn| std::hint::black_box(sum ^ turn));
            after = Usage::of(std::process::id()).unwrap();
        }
        assert!(after.cpu > before.cpu);
        assert!(load_average().is_some());
    }

    #[test]
    fn of_who_is_not_there_nothing_is_told() {
        // No system counts its processes so far.
        let error = Usage::of(i32::MAX.cast_unsigned()).unwrap_err();
        assert!(error.contains("2147483647"), "{error}");
    }
}
