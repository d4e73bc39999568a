//! What a lane does, told one case at a time.

use super::*;
use staffetta_domain::{CommandFields, Lane};

const ANNA: &str = "393480000001";
const BRUNO: &str = "393480000002";
const CARLA: &str = "393480000003";

/// A command of so many bytes.
pub(super) fn queued(sequence: u64, to: &str, bytes: usize) -> Queued {
    let json =
        serde_json::json!({"id": sequence.to_string(), "to": to, "type": "text", "text": {"body": "x"}});
    let fields: CommandFields = serde_json::from_value(json).unwrap();
    let (tenant, channel) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
    let command = fields.check(&tenant, &channel, Lane::Normal, || "x".parse().unwrap()).unwrap();
    let message = QueuedMessage {
        sequence,
        stored: "2026-11-21T09:30:00Z".parse().unwrap(),
        headers: async_nats::HeaderMap::new(),
        payload: vec![b'x'; bytes].into(),
    };
    Queued { message, command }
}

fn add(lane: &mut LaneState, sequence: u64, to: &str) {
    lane.read(sequence);
    lane.push(queued(sequence, to, 1));
}

fn lane(entries: &[(u64, &str)]) -> LaneState {
    let mut lane = LaneState::new();
    for (sequence, to) in entries {
        add(&mut lane, *sequence, to);
    }
    lane
}

/// The head that may go goes, and is through.
fn send(lane: &mut LaneState) -> Option<u64> {
    let head = lane.take()?;
    lane.done(&head);
    lane.settled(head.sequence());
    Some(head.sequence())
}

#[test]
fn one_recipient_waits_for_its_own_and_nobody_else() {
    let mut lane = lane(&[(1, ANNA), (2, ANNA), (3, BRUNO)]);
    let first = lane.take().unwrap();
    assert_eq!(first.sequence(), 1);
    assert_eq!(lane.take().unwrap().sequence(), 3);
    assert!(lane.take().is_none());
    lane.done(&first);
    assert_eq!(lane.take().unwrap().sequence(), 2);
    lane.done(&first);
    assert!(lane.take().is_none(), "the second is on its way");
}

#[test]
fn a_parked_head_keeps_its_place() {
    let mut lane = lane(&[(1, ANNA), (2, ANNA)]);
    let first = lane.take().unwrap();
    let until = Duration::from_secs(5);
    lane.park(&first, until);
    assert_eq!(lane.wake(Duration::from_secs(4)), Some(until));
    assert!(lane.take().is_none());
    assert_eq!(lane.wake(until), None);
    assert_eq!(lane.take().unwrap().sequence(), 1);
}

#[test]
fn a_wake_up_while_the_queue_is_asked_is_not_forgotten() {
    let mut lane = LaneState::new();
    assert!(lane.has_more());
    lane.asked();
    lane.holds_more();
    lane.read(1);
    assert!(lane.has_more());
    lane.asked();
    assert!(!lane.has_more());
}

#[test]
fn the_floor_stands_at_the_oldest_open_command() {
    let mut lane = lane(&[(4, ANNA), (7, BRUNO), (9, BRUNO)]);
    assert_eq!(lane.floor(), Some(4));
    lane.settled(7);
    assert_eq!(lane.floor(), Some(4));
    lane.settled(4);
    assert_eq!(lane.floor(), Some(9));
    lane.purged(9);
    assert_eq!(lane.floor(), None);
    lane.settled(9);
    assert_eq!(lane.floor(), Some(10));
}

#[test]
fn ten_thousand_for_one_who_waits_hide_nobody() {
    let mut lane = LaneState::new();
    add(&mut lane, 1, ANNA);
    let first = lane.take().unwrap();
    lane.park(&first, Duration::from_secs(6));
    for sequence in 2..=10_000 {
        assert!(lane.room() > 900);
        add(&mut lane, sequence, ANNA);
    }
    add(&mut lane, 10_001, BRUNO);
    assert_eq!(lane.take().unwrap().sequence(), 10_001);
    assert!(lane.wanted(100).is_empty(), "enough of hers is in memory");
    assert_eq!(lane.floor(), None, "hers are all open");
}

#[test]
fn what_is_set_aside_is_wanted_back_in_time_and_goes_in_order() {
    let mut lane = lane(&[]);
    (1..=40).for_each(|sequence| add(&mut lane, sequence, ANNA));
    for sequence in 1..=30 {
        assert_eq!(lane.wanted(10), [0; 0]);
        assert_eq!(send(&mut lane), Some(sequence));
    }
    assert_eq!(send(&mut lane), Some(31));
    assert_eq!(lane.wanted(10), [33, 34, 35]);
    assert_eq!(lane.wanted(10), [0; 0], "each is asked for once");
    add(&mut lane, 41, ANNA);
    lane.returned(queued(35, ANNA, 1));
    lane.unread(&[33]);
    lane.missing(34);
    assert_eq!(send(&mut lane), Some(32));
    assert_eq!(lane.take().map(|queued| queued.sequence()), None, "33 comes before 35");
    assert_eq!(lane.floor(), Some(33));
    assert_eq!(lane.wanted(10), [33, 36, 37]);
    lane.rejected(36);
    lane.returned(queued(37, ANNA, 1));
    lane.returned(queued(33, ANNA, 1));
    assert_eq!([send(&mut lane), send(&mut lane), send(&mut lane)], [33, 35, 37].map(Some));
    assert_eq!(lane.floor(), Some(36), "nobody has said yet that it was rejected");
    lane.settled(36);
    assert_eq!(lane.wanted(10), [38, 39, 40, 41]);
    lane.returned(queued(50, ANNA, 1));
    assert!(lane.take().is_none(), "nobody asked for that one");
    (38..=41).for_each(|sequence| lane.returned(queued(sequence, ANNA, 1)));
    (38..=41).for_each(|sequence| assert_eq!(send(&mut lane), Some(sequence)));
    assert_eq!((lane.floor(), lane.room()), (Some(42), 1_000));
}

#[test]
fn a_thousand_doubts_hide_nobody() {
    let mut lane = LaneState::new();
    let users: Vec<String> = (0..2_000).map(|n| format!("39333{n:07}")).collect();
    let mut doubts = Vec::new();
    for (sequence, user) in (1..).zip(&users) {
        assert!(lane.room() >= 500);
        add(&mut lane, sequence, user);
        let head = lane.take().unwrap();
        lane.park(&head, Duration::MAX);
        doubts.push(head);
    }
    assert_eq!(lane.wake(Duration::from_secs(1_000_000)), None);
    add(&mut lane, 2_001, CARLA);
    assert_eq!(send(&mut lane), Some(2_001));
    // The first is settled, the last one is to be sent again.
    let (first, last) = (&doubts[0], &doubts[1_999]);
    lane.done(first);
    lane.settled(1);
    assert_eq!(lane.floor(), Some(2));
    lane.again(last);
    assert!(!lane.has_ready());
    assert_eq!(lane.wanted(10), [2_000]);
    lane.returned(last.clone());
    assert_eq!(lane.take().unwrap().sequence(), 2_000);
}

#[test]
fn those_who_wait_longest_leave_the_memory_first() {
    let mut lane = LaneState::within(Bounds { commands: 8, bytes: 1_000, of_one: 4, numbers: 100 });
    for (sequence, user, until) in [(1, ANNA, 5), (2, BRUNO, 9), (3, CARLA, 7)] {
        add(&mut lane, sequence, user);
        let head = lane.take().unwrap();
        lane.park(&head, Duration::from_secs(until));
    }
    assert_eq!(lane.room(), 6);
    lane.wake(Duration::from_secs(9));
    assert_eq!(lane.wanted(9), [2]);
    assert_eq!([send(&mut lane), send(&mut lane), send(&mut lane)], [Some(1), Some(3), None]);
}

#[test]
fn islands_are_what_no_purge_takes_away() {
    let mut lane = lane(&[(4, ANNA), (7, BRUNO), (9, BRUNO), (12, CARLA)]);
    lane.settled(7);
    lane.settled(12);
    lane.settled(9);
    assert_eq!((lane.island_count(), lane.islands(2)), (3, vec![7, 9]));
    lane.deleted(&[7, 12]);
    assert_eq!(lane.islands(9), [9]);
    lane.settled(4);
    assert_eq!((lane.floor(), lane.island_count()), (Some(13), 0));
}

#[test]
fn nothing_more_is_read_while_too_much_is_set_aside() {
    let mut lane = LaneState::within(Bounds { commands: 100, bytes: 1_000, of_one: 4, numbers: 50 });
    let mut sequence = 0;
    while lane.room() > 0 {
        sequence += 1;
        add(&mut lane, sequence, ANNA);
    }
    assert_eq!(sequence, 54);
    assert_eq!((send(&mut lane), lane.room()), (Some(1), 0));
    assert_eq!([send(&mut lane), send(&mut lane)], [2, 3].map(Some));
    let wanted = lane.wanted(100);
    assert_eq!(wanted, [5, 6, 7]);
    wanted.iter().for_each(|sequence| lane.returned(queued(*sequence, ANNA, 1)));
    assert_eq!(lane.room(), 3);
}
