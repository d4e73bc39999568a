//! The machine in a world of chance, under a clock of its own: stream, database, endpoint and owners as they are and as
//! they fail. One seed is one life; the same seed lives the same again.
//!
//! `STAFFETTA_SIM_SEEDS` says how many seeds are tried, `STAFFETTA_SIM_SEED` which one alone.

mod world;

use world::World;

/// Seeds of a run of the tests.
const SEEDS: u64 = 300;

#[test]
fn the_promises_hold_whatever_happens() {
    let said = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let seeds: Vec<u64> = match said("STAFFETTA_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (1..=said("STAFFETTA_SIM_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let failed: Vec<String> = seeds
        .into_iter()
        .filter_map(|seed| World::new(seed).live().err().map(|breach| format!("seed {seed}: {breach}")))
        .collect();
    assert!(failed.is_empty(), "{} seeds failed:\n{}", failed.len(), failed.join("\n"));
}
