//! Lives with few faults, in which more is promised.

use std::time::Duration;

use staffetta_domain::{CommandState, Lane};

use super::plan::{Plan, Planned, SECOND, START, Trouble, number_of};
use super::world::World;
use crate::governor::Dice;

/// What a command takes through queue and database until it is written.
const WAY: Duration = Duration::from_millis(25);

/// So many bulk commands that stand there from the start, to so many users.
fn backlog(limit: u32, commands: usize, users: usize) -> Plan {
    let mut plan = Plan::quiet(limit, users);
    let command = |number| Planned::text(START, number, Lane::Bulk, &number_of(number % users));
    plan.commands = (0..commands).map(command).collect();
    plan
}

fn lived(plan: Plan, seed: u64) -> World {
    let mut world = World::new(plan, Dice::new(seed));
    world.run().and_then(|()| world.check_end()).unwrap_or_else(|breach| panic!("seed {seed}: {breach}"));
    world
}

#[test]
fn a_backlog_uses_the_rate() {
    // The governor takes five seconds to find its feet: see its own simulation.
    for (limit, seconds) in [(20, 18), (80, 10), (250, 8)] {
        let world = lived(backlog(limit, limit as usize * (seconds + 2), 200), 1);
        let span = START + SECOND * 5..START + SECOND * seconds as u32;
        let taken = world.provider.taken.values().flatten().filter(|at| span.contains(*at)).count();
        let most = f64::from(limit) * (seconds - 5) as f64;
        // One place is more or less than a hundredth, where there are few.
        assert!(taken as f64 + 1.0 >= 0.99 * most, "{taken} of {most} at {limit}");
        assert!(world.provider.worst <= limit as usize);
    }
}

#[test]
fn an_urgent_command_leaves_within_a_tenth_of_a_second() {
    for (limit, seed) in [(20, 1), (80, 2), (250, 3)] {
        let mut plan = backlog(limit, limit as usize * 6, 200);
        for number in 0..12 {
            let at = START + SECOND + Duration::from_millis(370) * number;
            plan.commands.push(Planned::text(
                at,
                100_000 + number as usize,
                Lane::Urgent,
                &number_of(number as usize),
            ));
        }
        let world = lived(plan, seed);
        for command in world.plan.commands.iter().filter(|command| command.lane == Lane::Urgent) {
            let waited = world.written[&command.id] - command.at;
            assert!(waited <= SECOND / 10 + WAY, "{} waited for {waited:?} at {limit}", command.id);
        }
    }
}

#[test]
fn nobody_waits_for_a_user_who_has_got_enough() {
    for seed in 1..=5 {
        let mut plan = Plan::quiet(80, 41);
        let to_one = (0..100).map(|number| Planned::text(START, number, Lane::Normal, &number_of(0)));
        let to_others =
            (1..=40).map(|number| Planned::text(START, 1_000 + number, Lane::Normal, &number_of(number)));
        plan.commands = to_one.chain(to_others).collect();
        let world = lived(plan, seed);
        for command in world.plan.commands.iter().filter(|command| command.to != number_of(0)) {
            let waited = world.written[&command.id] - command.at;
            // All that goes to the one user on credit, and to the others, at the rate.
            assert!(waited <= SECOND * 85 / 80 + SECOND / 4, "{} waited for {waited:?}", command.id);
        }
    }
}

#[test]
fn whoever_dies_each_command_is_sent_once_and_none_is_lost() {
    for seed in 1..=40 {
        let mut dice = Dice::new(seed);
        let mut plan = backlog(80, 100, 5 + dice.below(40) as usize);
        // Urgent ones go as fast as may be: an owner that knew nothing of the last second would show.
        let lane = Lane::ALL[dice.below(3) as usize];
        plan.commands.iter_mut().for_each(|command| command.lane = lane);
        for _ in 0..1 + dice.below(4) {
            let at = START + dice.micros(0, 2_000_000);
            let trouble = match dice.below(3) {
                0 => Trouble::Kill,
                1 => Trouble::Stop,
                _ => Trouble::Pause(dice.micros(100_000, 8_000_000)),
            };
            plan.troubles.push((at, trouble));
        }
        let world = lived(plan, seed);
        for (id, row) in &world.database.rows {
            let taken = world.provider.taken.get(id).map_or(0, Vec::len);
            let state = row.state.as_str();
            assert!(
                row.state == CommandState::Accepted && taken == 1,
                "seed {seed}: {id} is {state}, sent {taken} times"
            );
        }
    }
}
