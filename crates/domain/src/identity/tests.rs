use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A conversation, and since or until when.
type Dated = Option<(i64, Timestamp)>;

/// The database: what one directory writes, the next one is filled with.
#[derive(Clone, Debug, Default, PartialEq)]
struct Table {
    conversations: BTreeMap<i64, Profile>,
    aliases: BTreeMap<Alias, (Dated, Dated)>,
    merged: BTreeMap<i64, i64>,
    last: i64,
}

impl Table {
    /// Filled with the names in the batch and the conversations that they lead to; where there are changes, also with
    /// the ties of those conversations' names.
    fn directory(&self, batch: &[Sighting]) -> Directory {
        let mut directory = Directory::new();
        let mut names: BTreeSet<Alias> = batch
            .iter()
            .flat_map(|sighting| sighting.aliases.iter().chain(&sighting.former))
            .cloned()
            .collect();
        if batch.iter().any(|sighting| !sighting.former.is_empty()) {
            let led_to = self.led_to(&names);
            names.extend(
                led_to.iter().filter_map(|id| self.conversations[id].phone.clone()).map(Alias::Phone),
            );
            names.extend(
                led_to.iter().filter_map(|id| self.conversations[id].user_id.clone()).map(Alias::User),
            );
        }
        for id in self.led_to(&names) {
            directory.add_conversation(id, self.conversations[&id].clone());
        }
        for (name, (current, former)) in names.iter().filter_map(|name| self.aliases.get_key_value(name)) {
            directory.add_alias(name.clone(), *current, *former);
        }
        directory
    }

    fn led_to(&self, names: &BTreeSet<Alias>) -> BTreeSet<i64> {
        let ties = names.iter().filter_map(|name| self.aliases.get(name));
        ties.flat_map(|(current, former)| [current, former]).flatten().map(|(id, _)| *id).collect()
    }

    fn write(&mut self, changes: Changes) -> BTreeMap<Place, i64> {
        let mut ids = BTreeMap::new();
        for number in changes.created {
            self.last += 1;
            ids.insert(Place::New(number), self.last);
        }
        let id = |place: Place| match place {
            Place::Known(id) => id,
            new @ Place::New(_) => ids[&new],
        };
        for (place, profile) in changes.profiles {
            self.conversations.insert(id(place), profile);
        }
        for change in changes.aliases {
            let tie = |tie: Option<(Place, Timestamp)>| tie.map(|(place, at)| (id(place), at));
            self.aliases.insert(change.alias, (tie(change.current), tie(change.former)));
        }
        for (loser, winner) in changes.merges {
            let winner = id(winner);
            self.conversations.remove(&loser);
            self.merged.insert(loser, winner);
            for (current, former) in self.aliases.values_mut() {
                for owner in [current, former].into_iter().flatten().filter(|(owner, _)| *owner == loser) {
                    owner.0 = winner;
                }
            }
        }
        ids
    }

    fn settled(&self, mut id: i64) -> i64 {
        while let Some(winner) = self.merged.get(&id) {
            id = *winner;
        }
        id
    }

    /// Shows the sightings, so many in each directory. Says which conversation each of them is in at the end.
    fn show(&mut self, sightings: &[Sighting], in_each: usize) -> Vec<i64> {
        let mut placed = Vec::new();
        for batch in sightings.chunks(in_each) {
            let mut directory = self.directory(batch);
            let places: Vec<_> =
                batch.iter().map(|sighting| directory.place(sighting, None).unwrap()).collect();
            let places: Vec<_> = places.into_iter().map(|place| directory.settled(place)).collect();
            let ids = self.write(directory.changes());
            placed.extend(places.into_iter().map(|place| match place {
                Place::Known(id) => id,
                new @ Place::New(_) => ids[&new],
            }));
        }
        placed.into_iter().map(|id| self.settled(id)).collect()
    }
}

/// `p1` is a phone number, `u1` an id, `e1` a parent's id, `g1` a group.
fn names(keys: &str) -> Vec<Alias> {
    let split = |key: &str| Alias::from_key(&format!("{}:{}", &key[..1], &key[1..])).unwrap();
    keys.split_whitespace().map(split).collect()
}

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(day * 86_400).unwrap()
}

fn seen(keys: &str, day: i64) -> Sighting {
    changed("", keys, day)
}

/// A system message: the former names were the user's until then, the others are now.
fn changed(former: &str, keys: &str, day: i64) -> Sighting {
    Sighting {
        aliases: names(keys),
        former: names(former),
        name: None,
        username: None,
        at: at(day),
        wrote: true,
    }
}

fn placed(sightings: &[Sighting]) -> Vec<i64> {
    Table::default().show(sightings, sightings.len().max(1))
}

fn profile(table: &Table, id: i64) -> (Option<&str>, Option<&str>) {
    let profile = &table.conversations[&id];
    (profile.phone.as_deref(), profile.user_id.as_deref())
}

#[test]
fn a_number_and_an_id_become_one_when_a_payload_ties_them() {
    let mut table = Table::default();
    assert_eq!(table.show(&[seen("p1", 1), seen("u1", 2)], 1), [1, 2]);
    assert_eq!(table.show(&[seen("p1 u1", 3)], 1), [1]);
    assert_eq!((table.merged.get(&2), profile(&table, 1)), (Some(&1), (Some("1"), Some("1"))));
    assert_eq!(table.show(&[seen("u1", 4), seen("p1", 4)], 1), [1, 1]);
}

#[test]
fn a_status_of_a_third_conversation_makes_no_two_others_one() {
    let filled = || {
        let mut directory = Directory::new();
        for id in [7, 8, 9] {
            directory.add_conversation(id, Profile::default());
        }
        directory.add_alias(names("p1").remove(0), Some((8, at(1))), None);
        directory.add_alias(names("u1").remove(0), Some((9, at(1))), None);
        directory
    };
    let mut third = filled();
    assert_eq!(third.place(&seen("p1 u1", 2), Some(Place::Known(7))), Some(Place::Known(7)));
    let changes = third.changes();
    assert_eq!((changes.merges, changes.aliases), (Vec::new(), Vec::new()));
    for anchor in [Some(Place::Known(8)), Some(Place::Known(9)), None] {
        let mut directory = filled();
        assert_eq!(directory.place(&seen("p1 u1", 2), anchor), Some(Place::Known(8)), "{anchor:?}");
        assert_eq!(directory.changes().merges, [(9, Place::Known(8))], "{anchor:?}");
    }
}

#[test]
fn what_nobody_has_opens_a_conversation_and_no_names_open_none() {
    let mut directory = Directory::new();
    assert_eq!(directory.place(&seen("", 1), None), None);
    assert_eq!(directory.place(&seen("", 1), Some(Place::Known(4))), Some(Place::Known(4)));
    assert_eq!(directory.changes(), Changes::default());
    assert_eq!(directory.place(&seen("g1", 1), None), Some(Place::New(0)));
    let changes = directory.changes();
    assert_eq!(changes.created, [0]);
    assert_eq!(changes.profiles[0].1, Profile { group: Some("1".into()), ..Profile::default() });
}

#[test]
fn a_number_that_another_person_writes_from_is_theirs_from_then_on() {
    let mut table = Table::default();
    assert_eq!(table.show(&[seen("p1 u1", 1), seen("p1 u2", 5)], 1), [1, 2]);
    assert_eq!(profile(&table, 1), (None, Some("1")));
    assert_eq!(profile(&table, 2), (Some("1"), Some("2")));
    assert_eq!(table.show(&[seen("p1", 4), seen("p1", 6)], 1), [1, 2]);
}

#[test]
fn a_late_message_of_an_earlier_owner_takes_nothing_back() {
    let mut table = Table::default();
    let sightings = [seen("p1 u1", 1), seen("p1 u2", 5), seen("p1 u2", 8), seen("p1 u1", 7), seen("p1", 9)];
    assert_eq!(table.show(&sightings, 1), [1, 2, 2, 1, 2]);
    assert_eq!(profile(&table, 2), (Some("1"), Some("2")));
}

#[test]
fn two_ids_on_one_number_stay_two_even_where_a_third_comes_late() {
    assert_eq!(placed(&[seen("p1 u1", 5), seen("p1 u2", 10), seen("p1 u3", 3)]), [1, 2, 3]);
}

#[test]
fn names_that_lead_to_two_users_merge_nothing() {
    assert_eq!(placed(&[seen("p1 u1", 1), seen("p2 u2", 1), seen("p1 p2", 2)]), [1, 2, 1]);
    assert_eq!(placed(&[seen("p1 u1", 1), seen("p2", 1), seen("p1 p2", 2)]), [1, 1, 1]);
    assert_eq!(placed(&[seen("p1", 1), seen("e1", 1), seen("e1 p1", 2), seen("e1 u1", 3)]), [1, 1, 1, 1]);
}

#[test]
fn a_changed_number_is_followed_and_the_old_one_is_free() {
    let mut table = Table::default();
    let sightings =
        [seen("p1 u1", 1), changed("p1", "p2 u2", 5), seen("p1", 4), seen("p1", 9), seen("p2", 9)];
    assert_eq!(table.show(&sightings, 1), [1, 1, 1, 2, 1]);
    assert_eq!(profile(&table, 1), (Some("2"), Some("2")));
}

#[test]
fn a_changed_id_is_followed() {
    let mut table = Table::default();
    let sightings = [seen("p1 u1", 1), changed("u1", "u2", 5), seen("p1 u2", 6), seen("u1", 4)];
    assert_eq!(table.show(&sightings, 1), [1, 1, 1, 1]);
    assert_eq!(profile(&table, 1), (Some("1"), Some("2")));
}

#[test]
fn a_number_taken_over_from_a_stranger_does_not_bring_the_stranger_along() {
    let mut table = Table::default();
    let sightings = [seen("p1 u1", 1), seen("p2 u9", 1), changed("p1", "p2 u2", 5), seen("u9", 6)];
    assert_eq!(table.show(&sightings, 1), [1, 2, 1, 2]);
    assert_eq!(profile(&table, 2), (None, Some("9")));
    assert_eq!(profile(&table, 1), (Some("2"), Some("2")));
}

#[test]
fn one_who_changes_back_keeps_the_number_though_the_changes_come_in_disorder() {
    let sightings = [changed("p2", "p1 u3", 9), changed("p1", "p2 u2", 5), seen("p1", 10), seen("p2", 7)];
    assert_eq!(placed(&sightings), [1, 1, 1, 1]);
}

#[test]
fn a_late_change_takes_no_newer_name_out_of_the_profile() {
    let mut table = Table::default();
    table.show(&[seen("p1 u1", 1), changed("p2", "p3 u3", 9), changed("p1", "p2 u2", 5)], 1);
    assert_eq!(table.conversations.len(), 1);
    assert_eq!(profile(&table, 1), (Some("3"), Some("3")));
}

#[test]
fn a_late_change_says_whose_the_number_was_before_its_next_owner() {
    let sightings = [seen("p1 u3", 9), changed("p1", "p2 u2", 5), seen("p1", 4), seen("p1", 9)];
    assert_eq!(placed(&sightings), [1, 2, 2, 1]);
}

#[test]
fn an_echo_of_the_old_names_does_not_hide_whose_they_were() {
    let mut late = seen("p1 u1", 5);
    late.at += SignedDuration::from_secs(30);
    let mut table = Table::default();
    assert_eq!(table.show(&[seen("p1 u1", 1), late, changed("p1", "p2 u2", 5)], 1), [1, 1, 1]);
    assert_eq!(profile(&table, 1), (Some("2"), Some("2")));
    assert_eq!(table.show(&[seen("p1 u8", 9)], 1), [2]);
}

#[test]
fn a_status_belongs_to_its_message_and_names_that_nobody_has_become_its_users() {
    let mut directory = Directory::new();
    directory.add_conversation(7, Profile { phone: Some("1".into()), ..Profile::default() });
    directory.add_alias(names("p1").remove(0), Some((7, at(1))), None);
    assert_eq!(directory.place(&seen("p1 u1", 2), Some(Place::Known(7))), Some(Place::Known(7)));
    assert_eq!(directory.place(&seen("u2", 3), Some(Place::Known(7))), Some(Place::Known(7)));
    assert_eq!(directory.find(&seen("u1", 3)), Some(Place::Known(7)));
    assert_eq!(directory.find(&seen("u2", 3)), None, "its user goes by another id");
    assert!(directory.changes().created.is_empty());
}

#[test]
fn a_status_does_not_make_two_users_one() {
    let mut directory = Directory::new();
    for (id, phone, user) in [(7, "1", None), (8, "2", Some("2"))] {
        let user_id = user.map(Into::into);
        directory.add_conversation(id, Profile { phone: Some(phone.into()), user_id, group: None });
    }
    directory.add_alias(names("p1").remove(0), Some((7, at(1))), None);
    directory.add_alias(names("p2").remove(0), Some((8, at(1))), None);
    directory.add_alias(names("u2").remove(0), Some((8, at(1))), None);
    assert_eq!(directory.place(&seen("p2 u2", 2), Some(Place::Known(7))), Some(Place::Known(7)));
    assert!(directory.changes().merges.is_empty());
    assert_eq!(directory.place(&seen("p1 u2", 3), Some(Place::Known(8))), Some(Place::Known(7)));
    assert_eq!(directory.changes().merges, [(8, Place::Known(7))], "here the payload ties them");
}

#[test]
fn a_status_of_an_old_message_gives_no_number_back() {
    let mut table = Table::default();
    table.show(&[seen("p1 u1", 1), changed("p1", "p2 u2", 5)], 1);
    let status = seen("p1", 6);
    let mut directory = table.directory(std::slice::from_ref(&status));
    assert_eq!(directory.place(&status, Some(Place::Known(1))), Some(Place::Known(1)));
    assert_eq!(directory.changes(), Changes::default());
    assert_eq!(table.show(&[seen("p1 u1", 6), seen("p1", 7)], 1), [1, 2]);
}

#[test]
fn new_places_that_went_into_others_appear_nowhere() {
    let mut table = Table::default();
    table.show(&[seen("p1", 1)], 1);
    let batch = [seen("u1", 2), seen("u2", 2), seen("u1 p1", 3)];
    let mut directory = table.directory(&batch);
    let places: Vec<_> = batch.iter().map(|sighting| directory.place(sighting, None).unwrap()).collect();
    assert_eq!(places, [Place::New(0), Place::New(1), Place::Known(1)]);
    assert_eq!(directory.settled(places[0]), Place::Known(1));
    let changes = directory.changes();
    assert_eq!((changes.created, changes.merges), (vec![1], vec![]));
    assert!(changes.aliases.iter().all(|change| change.current.unwrap().0 != Place::New(0)));
}

#[test]
fn looking_is_not_learning() {
    let mut directory = Directory::new();
    let place = directory.place(&seen("p1 u1", 1), None);
    let before = directory.changes();
    assert_eq!(directory.find(&seen("p1", 2)), place);
    assert_eq!(directory.find(&seen("u2 p1", 2)), None);
    assert_eq!(directory.find(&changed("p1", "p2", 2)), place);
    assert_eq!(directory.changes(), before);
}

/// Every order of so many.
fn orders(of: usize) -> Vec<Vec<usize>> {
    if of == 0 {
        return vec![vec![]];
    }
    let shorter = orders(of - 1);
    shorter
        .iter()
        .flat_map(|order| (0..of).map(|place| [&order[..place], &[of - 1], &order[place..]].concat()))
        .collect()
}

#[test]
fn one_who_changes_number_is_one_in_every_order_of_arrival() {
    for (former, now) in [
        ("p1", "p2 u2"),
        ("u1", "p2 u2"),
        ("p1 u1", "p2 u2"),
        ("p1", "p2"),
        ("p1", "u2"),
        ("u1", "u2"),
        ("p1 u1", "p2"),
    ] {
        let story = [seen("p1 u1", 10), changed(former, now, 20), seen("p2 u2", 30)];
        for (order, in_each) in orders(3).iter().flat_map(|order| [(order, 1), (order, 4)]) {
            let mut arrivals: Vec<_> = order.iter().map(|place| story[*place].clone()).collect();
            arrivals.push(seen("p1 u3", 40));
            let mut table = Table::default();
            let placed = table.show(&arrivals, in_each);
            assert!(
                placed[..3].iter().all(|id| *id == placed[0]),
                "{former} to {now}, {order:?}: {placed:?}"
            );
            assert_ne!(placed[3], placed[0], "{former} to {now}, {order:?}");
            assert_eq!(profile(&table, placed[0]), (Some("2"), Some("2")), "{former} to {now}, {order:?}");
        }
    }
}

#[test]
fn the_next_person_on_a_number_is_another_one_in_every_order_of_arrival() {
    for former in ["p1", "u1", "p1 u1"] {
        let story = [seen("p1 u1", 10), changed(former, "p2 u2", 20), seen("p2 u2", 30), seen("p1 u3", 40)];
        for order in orders(4) {
            let arrivals: Vec<_> = order.iter().map(|place| story[*place].clone()).collect();
            let placed = placed(&arrivals);
            let of = |event: usize| placed[order.iter().position(|place| *place == event).unwrap()];
            assert!((0..3).all(|event| of(event) != of(3)), "{former}, {order:?}: {placed:?}");
            assert_eq!(of(1), of(2), "{former}, {order:?}: {placed:?}");
        }
    }
}

/// What three users may be seen by: each has a number and an id of their own.
fn sighting_of_one() -> impl Strategy<Value = (usize, Sighting)> {
    (0..3usize, 0..3usize, 1..20i64).prop_map(|(user, sort, day)| {
        let keys = [format!("p{user}"), format!("u{user}"), format!("p{user} u{user}")];
        (user, seen(&keys[sort], day))
    })
}

/// Numbers change hands, ids don't.
fn sighting_on_shared_numbers() -> impl Strategy<Value = Sighting> {
    (0..3, 0..3, 0..3usize, 1..20i64).prop_map(|(user, phone, sort, day)| {
        let keys = [format!("p{phone}"), format!("u{user}"), format!("p{phone} u{user}")];
        seen(&keys[sort], day)
    })
}

fn any_sighting() -> impl Strategy<Value = Sighting> {
    let change = (0..3, 0..3, 3..5, 1..20i64).prop_map(|(phone, user, new, day)| {
        changed(&format!("p{phone} u{user}"), &format!("p{new} u{new}"), day)
    });
    let change_of_number = (0..3, 3..5, 1..20i64)
        .prop_map(|(phone, new, day)| changed(&format!("p{phone}"), &format!("p{new}"), day));
    prop_oneof![4 => sighting_on_shared_numbers(), 1 => change, 1 => change_of_number]
}

/// Which sightings are together.
fn partition(ids: &[i64]) -> Vec<usize> {
    ids.iter().map(|id| ids.iter().position(|first| first == id).unwrap()).collect()
}

proptest! {
    #[test]
    fn a_user_is_one_conversation_whatever_comes_first(
        mut seen_of in prop::collection::vec(sighting_of_one(), 0..12),
        ties in prop::collection::vec((0..13usize, 1..20i64), 3),
    ) {
        for (user, (place, day)) in ties.into_iter().enumerate() {
            seen_of.insert(place.min(seen_of.len()), (user, seen(&format!("p{user} u{user}"), day)));
        }
        let (users, sightings): (Vec<_>, Vec<_>) = seen_of.into_iter().unzip();
        let placed = placed(&sightings);
        for (one, other) in (0..users.len()).flat_map(|one| (0..one).map(move |other| (one, other))) {
            prop_assert_eq!(users[one] == users[other], placed[one] == placed[other]);
        }
    }

    #[test]
    fn two_ids_never_meet_unless_a_payload_ties_them(
        sightings in prop::collection::vec(sighting_on_shared_numbers(), 1..16),
    ) {
        let placed = placed(&sightings);
        for (one, other) in (0..placed.len()).flat_map(|one| (0..one).map(move |other| (one, other))) {
            if let (Some(a), Some(b)) = (user_of(&sightings[one].aliases), user_of(&sightings[other].aliases)) {
                prop_assert_eq!(a == b, placed[one] == placed[other]);
            }
        }
    }

    #[test]
    fn how_sightings_are_cut_into_batches_changes_nothing(
        sightings in prop::collection::vec(any_sighting(), 1..16),
        in_each in 1..8usize,
    ) {
        let whole = placed(&sightings);
        let cut = Table::default().show(&sightings, in_each);
        prop_assert_eq!(partition(&whole), partition(&cut));
    }

    #[test]
    fn what_is_seen_twice_at_once_teaches_nothing_new(
        sightings in prop::collection::vec(any_sighting(), 1..16),
    ) {
        let mut directory = Directory::new();
        for sighting in &sightings {
            let place = directory.place(sighting, None);
            let changes = directory.changes();
            prop_assert_eq!(directory.place(sighting, None), place);
            prop_assert_eq!(directory.changes(), changes);
        }
    }
}
