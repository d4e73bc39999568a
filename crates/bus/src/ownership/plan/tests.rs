//! Several members on one bucket, in a simulated time: whatever comes late or not at all, no part has two owners.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::lease::TERM;
use crate::ownership::Group;
use crate::ownership::record::{PartRecord, member_key, part_key};
use crate::ownership::view::Vacancy;

const GROUP: Group = Group::Deliver;
const BEAT: Duration = Duration::from_millis(500);

/// The bucket: what stands there, and everything that was ever written, for the watches.
#[derive(Default)]
struct World {
    entries: BTreeMap<String, (u64, Option<Bytes>)>,
    log: Vec<(String, u64, Option<Bytes>)>,
}

impl World {
    fn write(&mut self, key: &str, value: Option<Bytes>, revision: u64) -> Option<u64> {
        let standing = self.entries.get(key).map_or(0, |entry| entry.0);
        if standing != revision {
            return None;
        }
        let revision = u64::try_from(self.log.len()).unwrap() + 1;
        self.entries.insert(key.into(), (revision, value.clone()));
        self.log.push((key.into(), revision, value));
        Some(revision)
    }
}

/// A process: what it sees, what it owns, and what is on its way to it.
struct Node {
    id: String,
    view: View,
    phases: BTreeMap<u16, Phase>,
    /// What the bucket wrote and this process has not seen yet.
    unseen: usize,
    heartbeat: u64,
    valid_until: Duration,
    beat_at: Duration,
    cut: bool,
    /// Writes that were asked for and are not answered yet.
    pending: VecDeque<(u16, u64, PartRecord)>,
}

impl Node {
    fn join(id: String, world: &mut World, now: Duration) -> Self {
        let heartbeat = world.write(&member_key(GROUP, &id), Some(Life::Live.to_json()), 0).unwrap();
        let vacancy = if heartbeat == 1 { Vacancy::New } else { Vacancy::Doubtful };
        let mut view = View::new(GROUP, vacancy, now);
        for (key, (revision, value)) in &world.entries {
            view.apply(key, *revision, value.as_ref(), now);
        }
        Self {
            id,
            view,
            phases: BTreeMap::new(),
            unseen: world.log.len(),
            heartbeat,
            valid_until: now + TERM,
            beat_at: now + BEAT,
            cut: false,
            pending: VecDeque::new(),
        }
    }

    fn owns(&self, part: u16, now: Duration) -> bool {
        matches!(self.phases.get(&part), Some(Phase::Held { .. })) && now < self.valid_until
    }

    /// Sees at most `most` of what was written, then writes its heartbeat and takes its steps.
    fn turn(&mut self, world: &mut World, most: usize, answers: usize, now: Duration) {
        if self.cut || now >= self.valid_until {
            return;
        }
        for (key, revision, value) in world.log[self.unseen..].iter().take(most) {
            self.view.apply(key, *revision, value.as_ref(), now);
        }
        self.unseen = (self.unseen + most).min(world.log.len());
        if now >= self.beat_at {
            match world.write(&member_key(GROUP, &self.id), Some(Life::Live.to_json()), self.heartbeat) {
                Some(revision) => (self.heartbeat, self.valid_until) = (revision, now + TERM),
                None => self.valid_until = Duration::ZERO,
            }
            self.beat_at = now + BEAT;
        }
        for (part, revision, record) in self.pending.drain(..answers.min(self.pending.len())) {
            match world.write(&part_key(GROUP, part), Some(record.to_json()), revision) {
                Some(written) => {
                    self.view.apply(&part_key(GROUP, part), written, Some(&record.to_json()), now);
                    if record.released {
                        self.phases.remove(&part);
                    } else {
                        self.phases.insert(part, Phase::Held { revision: written, asked: Asked::Not });
                    }
                }
                None => drop(self.phases.remove(&part)),
            }
        }
        let resting = BTreeMap::new();
        let own =
            Own { id: &self.id, former: None, life: Life::Live, phases: &self.phases, resting: &resting };
        for step in plan(&self.view, &own, now).steps {
            match step {
                Step::Take { part, revision } => {
                    let record =
                        PartRecord::taken(&self.id, self.view.parts.get(&part).map(|seen| &seen.value));
                    self.phases.insert(part, Phase::Busy);
                    self.pending.push_back((part, revision, record));
                }
                Step::GiveBack { part } | Step::PassOn { part, .. } => {
                    let revision = self.view.parts[&part].revision;
                    let handover = Bytes::from_static(b"what was sent");
                    self.phases.insert(part, Phase::Busy);
                    self.pending.push_back((part, revision, PartRecord::released(&self.id, Some(&handover))));
                }
                Step::Lose { part } => drop(self.phases.remove(&part)),
                Step::Declare { member, revision } => {
                    world.write(&member_key(GROUP, &member), Some(Life::Dead.to_json()), revision);
                }
                Step::Bury { member, revision } => {
                    world.write(&member_key(GROUP, &member), None, revision);
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// So many milliseconds pass.
    Pass(u64),
    /// The process sees so much of what it has not seen, and gets so many answers.
    Turn(usize, usize, usize),
    Join,
    Die(usize),
    Cut(usize),
    Heal(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1..300_u64).prop_map(Event::Pass),
        20 => (0..5_usize, 0..40_usize, 0..20_usize).prop_map(|(who, seen, answers)| Event::Turn(who, seen, answers)),
        1 => Just(Event::Join),
        1 => (0..5_usize).prop_map(Event::Die),
        1 => (0..5_usize).prop_map(Event::Cut),
        2 => (0..5_usize).prop_map(Event::Heal),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_comes_late_or_never_a_part_has_one_owner_and_ends_with_one(
        events in prop::collection::vec(event(), 1..200),
    ) {
        let (mut world, mut now) = (World::default(), Duration::from_secs(100));
        let mut nodes = vec![Node::join("0".into(), &mut world, now)];
        // When the last right to each part ended, and whether something was handed over since.
        let mut owned: BTreeMap<u16, (String, Duration)> = BTreeMap::new();
        let mut joined = 1;
        let mut check = |nodes: &[Node], now: Duration| {
            for part in 0..PARTS {
                let owners: Vec<&Node> = nodes.iter().filter(|node| node.owns(part, now)).collect();
                prop_assert!(owners.len() <= 1, "part {} has {} owners", part, owners.len());
                let Some(owner) = owners.first() else { continue };
                if let Some((before, last)) = owned.get(&part)
                    && *before != owner.id
                {
                    let handed = owner.view.parts[&part].value.handover().is_some();
                    prop_assert!(handed || now >= *last + WINDOW, "part {} too early", part);
                }
                owned.insert(part, (owner.id.clone(), now));
            }
            Ok(())
        };
        for event in events {
            match event {
                Event::Pass(millis) => now += Duration::from_millis(millis),
                Event::Turn(who, seen, answers) => {
                    if let Some(node) = nodes.get_mut(who) {
                        node.turn(&mut world, seen, answers, now);
                    }
                }
                Event::Join if nodes.len() < 5 => {
                    nodes.push(Node::join(joined.to_string(), &mut world, now));
                    joined += 1;
                }
                Event::Die(who) if who < nodes.len() => drop(nodes.remove(who)),
                Event::Cut(who) if who < nodes.len() => nodes[who].cut = true,
                Event::Heal(who) if who < nodes.len() => nodes[who].cut = false,
                _ => {}
            }
            check(&nodes, now)?;
        }
        // With everything well again, whoever is left shares evenly; somebody who lost its right joins anew.
        for _ in 0..80 {
            now += Duration::from_millis(100);
            for node in &mut nodes {
                node.cut = false;
                if now >= node.valid_until {
                    *node = Node::join(joined.to_string(), &mut world, now);
                    joined += 1;
                }
                node.turn(&mut world, usize::MAX / 2, usize::MAX, now);
                check(std::slice::from_ref(node), now)?;
            }
            check(&nodes, now)?;
        }
        if !nodes.is_empty() {
            let counts = nodes.iter().map(|node| (0..PARTS).filter(|part| node.owns(*part, now)).count());
            let counts: Vec<usize> = counts.collect();
            prop_assert_eq!(counts.iter().sum::<usize>(), usize::from(PARTS), "{:?}", counts);
            let (most, least) = (counts.iter().max().copied(), counts.iter().min().copied());
            prop_assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1, "{counts:?}");
        }
    }
}
