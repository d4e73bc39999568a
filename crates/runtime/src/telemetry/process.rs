//! What the process uses of its machine, read from `/proc/self`. Where there is none, nothing is shown.

use std::fs;
use std::sync::Once;
use std::time::Instant;

use opentelemetry::KeyValue;
use rustix::param::{clock_ticks_per_second, page_size};

use super::meter;

/// Shows it from now on.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let started = Instant::now();
        meter()
            .f64_observable_gauge("process.uptime")
            .with_unit("s")
            .with_description("Since the start of the process")
            .with_callback(move |gauge| gauge.observe(started.elapsed().as_secs_f64(), &[]))
            .build();
        meter()
            .f64_observable_counter("process.cpu.time")
            .with_unit("s")
            .with_description("Processor time")
            .with_callback(|counter| {
                let Some(stat) = Stat::read() else { return };
                counter.observe(stat.user, &[KeyValue::new("cpu.mode", "user")]);
                counter.observe(stat.system, &[KeyValue::new("cpu.mode", "system")]);
            })
            .build();
        meter()
            .u64_observable_gauge("process.memory.usage")
            .with_unit("By")
            .with_description("Memory in use (resident)")
            .with_callback(|gauge| {
                if let Some(stat) = Stat::read() {
                    gauge.observe(stat.resident, &[]);
                }
            })
            .build();
        meter()
            .u64_observable_gauge("process.thread.count")
            .with_description("Threads")
            .with_callback(|gauge| {
                if let Some(stat) = Stat::read() {
                    gauge.observe(stat.threads, &[]);
                }
            })
            .build();
        meter()
            .u64_observable_gauge("process.unix.file_descriptor.count")
            .with_description("Open files and connections")
            .with_callback(|gauge| {
                if let Ok(open) = fs::read_dir("/proc/self/fd") {
                    gauge.observe(open.count() as u64, &[]);
                }
            })
            .build();
    });
}

/// Some of `/proc/self/stat`.
struct Stat {
    /// Seconds.
    user: f64,
    /// Seconds.
    system: f64,
    threads: u64,
    /// Bytes.
    resident: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::of(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn of(text: &str) -> Option<Self> {
        // The second field is the program's name in brackets, which may hold anything; what follows it is numbered
        // from 3 in proc(5).
        let rest = text.rsplit_once(')')?.1;
        let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
        let ticks = clock_ticks_per_second() as f64;
        Some(Self {
            user: field(14)? as f64 / ticks,
            system: field(15)? as f64 / ticks,
            threads: field(20)?,
            resident: field(24)? * page_size() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let fields: Vec<String> = (4..30).map(|number| (number * 100).to_string()).collect();
        let stat = Stat::of(&format!("7 (a) b (c)) S {}", fields.join(" "))).unwrap();
        assert_eq!(stat.threads, 2000);
        assert_eq!(stat.resident, 2400 * page_size() as u64);
        assert!(Stat::of("7").is_none());
    }
}
