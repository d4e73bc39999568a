//! What the kernel knows of a process: its CPU time and its memory.

use std::{fs, thread, time::Duration};

use anyhow::Context;
use rustix::{
    param::clock_ticks_per_second,
    time::{ClockId, clock_gettime},
};

/// One line about where the figures come from.
pub(crate) fn describe() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, Linux {}", kernel.trim())
}

/// CPU time of a running process so far, user and system, all threads. Exact to a clock tick, mostly 10 ms.
///
/// Fails when there is no such process.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    Ok(Stat::of(pid)?.own)
}

/// CPU time of a process, of its children that ended, and of those that run.
///
/// Fails when there is no such process. A child that ends between two calls is in the second one all the same.
pub(crate) fn cpu_with_children(pid: u32) -> anyhow::Result<Duration> {
    let stat = Stat::of(pid)?;
    let running: Duration =
        children(pid)?.into_iter().filter_map(|child| Some(Stat::of(child).ok()?.own)).sum();
    Ok(stat.own + stat.ended_children + running)
}

/// CPU time of the calling thread, to the nanosecond.
pub(crate) fn cpu_of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.try_into().unwrap_or(0))
}

/// Memory of a process that lies in RAM, in bytes: `VmRSS`.
///
/// Fails when there is no such process.
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| gone(pid))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 =
        line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is not a number")?;
    Ok(kilobytes * 1024)
}

/// The process that started this one.
///
/// Fails when there is no such process.
pub(crate) fn parent(pid: u32) -> anyhow::Result<u32> {
    Ok(Stat::of(pid)?.parent)
}

/// The processes that this one started and that still run.
///
/// Fails when the system has no `/proc`.
pub(crate) fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let all = fs::read_dir("/proc").context("no /proc")?;
    let ids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(ids.filter(|&id| Stat::of(id).is_ok_and(|stat| stat.parent == pid)).collect())
}

/// A process's program, cut to 15 characters.
pub(crate) fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn gone(pid: u32) -> String {
    format!("process {pid} is gone")
}

/// Some fields of `/proc/<pid>/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own: Duration,
    ended_children: Duration,
}

impl Stat {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| gone(pid))?;
        Self::parse(&text, clock_ticks_per_second()).context("/proc/<pid>/stat is not as expected")
    }

    fn parse(text: &str, ticks_per_second: u64) -> Option<Self> {
        // The name stands in brackets and may hold anything, brackets too.
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let time = |ticks: u64| Duration::from_nanos(ticks * (1_000_000_000 / ticks_per_second));
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: time(ticks(11)? + ticks(12)?),
            ended_children: time(ticks(13)? + ticks(14)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_brackets() {
        let text = "42 (a (b) c) S 7 42 42 0 -1 4194304 1 2 3 4 100 50 20 10 20 0 3 0 9 9 9";
        let stat = Stat::parse(text, 100).unwrap();
        let (own, ended_children) = (Duration::from_millis(1_500), Duration::from_millis(300));
        assert_eq!(stat, Stat { parent: 7, own, ended_children });
    }

    #[test]
    fn this_process_has_memory_and_a_parent() {
        let pid = std::process::id();
        assert!(resident(pid).unwrap() > 0);
        assert!(children(parent(pid).unwrap()).unwrap().contains(&pid));
    }
}
