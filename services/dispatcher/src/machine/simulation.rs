//! The machine in a world of chance, under a clock of its own: queue, database, provider and owners as they are and as
//! they fail. One seed is one life; the same seed lives the same again.
//!
//! `STAFFETTA_SIM_SEEDS` says how many seeds are tried, `STAFFETTA_SIM_SEED` which one alone.

mod database;
mod owner;
mod plan;
mod provider;
mod queue;
mod scenes;
mod verdict;
mod work;
mod world;

use std::collections::VecDeque;

use crate::governor::Dice;
use plan::Plan;
use world::World;

/// Seeds that once failed.
const PAST_FAILURES: &[u64] = &[514, 1_332];
/// Lives at a time.
const THREADS: usize = 2;
/// Seeds of a run of the tests.
const SEEDS: u64 = 1_500;

fn live(seed: u64, trace: Option<VecDeque<String>>) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let plan = Plan::any(&mut dice);
    let mut world = World::new(plan, dice);
    world.trace = trace;
    let lived = world.run().and_then(|()| world.check_end());
    lived.map_err(|breach| {
        let trace: Vec<String> = world.trace.take().unwrap_or_default().into();
        format!("seed {seed}: {breach}\n{}", trace.join("\n"))
    })
}

/// The seeds that are tried; with `STAFFETTA_SIM_SEED`, that one alone.
fn seeds() -> Vec<u64> {
    let said = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    match said("STAFFETTA_SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            PAST_FAILURES.iter().copied().chain(1..=said("STAFFETTA_SIM_SEEDS").unwrap_or(SEEDS)).collect()
        }
    }
}

fn failures(seeds: &[u64], part: usize) -> Vec<(u64, String)> {
    let part = seeds.iter().skip(part).step_by(THREADS);
    part.filter_map(|seed| Some((*seed, live(*seed, None).err()?))).collect()
}

#[test]
fn the_promises_hold_whatever_happens() {
    let seeds = seeds();
    let mut failed = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..THREADS)
            .map(|part| {
                scope.spawn({
                    let seeds = &seeds;
                    move || failures(seeds, part)
                })
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("nobody panics")).collect::<Vec<_>>()
    });
    failed.sort();
    if let Some((seed, _)) = failed.first() {
        let told = live(*seed, Some(VecDeque::new())).err();
        let all: Vec<&str> = failed.iter().map(|(_, breach)| breach.trim()).collect();
        panic!("{}\n{} seeds failed:\n{}", told.unwrap_or_default(), all.len(), all.join("\n"));
    }
}
