//! What one fsync costs where the servers keep their files: figures with `sync_interval: always` hang on it.

use std::{
    env,
    fs::File,
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Context;
use staffetta_testkit::Process;

use crate::figures::{Latencies, millis};

const SYNCS: usize = 200;

/// Faster than this is no disk.
const MEMORY: Duration = Duration::from_micros(10);

/// One line about it, with a warning where the files lie in memory.
///
/// Fails when the system's temporary folder can't be written.
pub(crate) fn describe() -> anyhow::Result<String> {
    // A folder that goes when this process does; no program runs in it.
    let place = Process::new("bench-disk")?;
    // Appending, as NATS and PostgreSQL do: writing the same block again may cost a fraction of it.
    let mut file = File::create(place.folder().join("probe")).context("can't write a temporary file")?;
    let mut latencies = Latencies::new();
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&[0x5A; 4096])?;
        file.sync_data()?;
        latencies.add(start.elapsed());
    }
    let found = latencies.percentiles();
    let mut line = format!(
        "disk: appending 4 KiB and fdatasync p50 {} ms, p99 {} ms",
        millis(found.p50),
        millis(found.p99)
    );
    if found.p50 < MEMORY {
        line += &format!(
            "\nwarning: {} is not on a disk, so syncing costs nothing there: set TMPDIR",
            env::temp_dir().display()
        );
    }
    Ok(line)
}
