//! Who should own which part.

use std::collections::{BTreeMap, BTreeSet};

use super::PARTS;

/// Says for each part which of the live `members` should own it: shares differ by one at most, and no part moves that
/// need not. `holders` are the live members that own parts now. Empty if there is no member.
///
/// Whoever sees the same gets the same. That also holds halfway: when a member has taken or given back some of what
/// this says, the rest of it stays as it was.
pub(super) fn share<'a>(
    members: &BTreeSet<&'a str>,
    holders: &BTreeMap<u16, &'a str>,
) -> BTreeMap<u16, &'a str> {
    let Ok(count @ 1..) = u16::try_from(members.len()) else { return BTreeMap::new() };
    let (least, over) = (PARTS / count, PARTS % count);
    let mut held: BTreeMap<&str, u16> = members.iter().map(|member| (*member, 0)).collect();
    for holder in holders.values() {
        if let Some(parts) = held.get_mut(holder) {
            *parts += 1;
        }
    }
    // Who already has one more than the least may keep it.
    let mut by_right: Vec<&str> = members.iter().copied().collect();
    by_right.sort_by_key(|member| held[member] <= least);
    let mut room: BTreeMap<&str, u16> = by_right
        .into_iter()
        .zip(0..)
        .map(|(member, place)| (member, least + u16::from(place < over)))
        .collect();

    let mut shares = BTreeMap::new();
    for (part, holder) in holders {
        if let Some(room) = room.get_mut(holder).filter(|room| **room > 0) {
            *room -= 1;
            shares.insert(*part, *holder);
        }
    }
    let mut takers =
        room.into_iter().flat_map(|(member, room)| std::iter::repeat_n(member, usize::from(room)));
    for part in 0..PARTS {
        if !shares.contains_key(&part)
            && let Some(taker) = takers.next()
        {
            shares.insert(part, taker);
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

    fn counts(shares: &BTreeMap<u16, &str>) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for owner in shares.values() {
            *counts.entry((*owner).to_owned()).or_default() += 1;
        }
        counts
    }

    /// The shares are exact: as many parts as there are, and nobody has two more than another.
    fn assert_even(members: &BTreeSet<&str>, shares: &BTreeMap<u16, &str>) {
        assert_eq!(shares.len(), if members.is_empty() { 0 } else { usize::from(PARTS) });
        let counts = counts(shares);
        let of = |member: &&str| counts.get(*member).copied().unwrap_or(0);
        let most = members.iter().map(of).max().unwrap_or(0);
        let least = members.iter().map(of).min().unwrap_or(0);
        assert!(most - least <= 1, "{counts:?}");
    }

    fn moved(before: &BTreeMap<u16, &str>, after: &BTreeMap<u16, &str>) -> usize {
        after.iter().filter(|(part, owner)| before.get(part) != Some(owner)).count()
    }

    #[test]
    fn a_fourth_takes_eight_and_leaves_them_again() {
        let three = BTreeSet::from(["a", "b", "c"]);
        let before = share(&three, &BTreeMap::new());
        assert_eq!(counts(&before).into_values().collect::<Vec<_>>(), [11, 11, 10]);
        let with_four = share(&BTreeSet::from(["a", "b", "c", "d"]), &before);
        assert_eq!(counts(&with_four).into_values().collect::<Vec<_>>(), [8, 8, 8, 8]);
        assert_eq!(moved(&before, &with_four), 8);
        let staying =
            with_four.iter().filter(|(_, owner)| **owner != "d").map(|(part, owner)| (*part, *owner));
        let after = share(&three, &staying.collect());
        assert_even(&three, &after);
        assert_eq!(moved(&with_four, &after), 8);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn shares_are_even_and_nothing_moves_without_need(
            live in prop::collection::btree_set(prop::sample::select(&NAMES), 0..=7),
            held in prop::collection::btree_map(0..PARTS, prop::sample::select(&NAMES), 0..=32),
        ) {
            let holders: BTreeMap<u16, &str> =
                held.into_iter().filter(|(_, holder)| live.contains(holder)).collect();
            let shares = share(&live, &holders);
            assert_even(&live, &shares);
            // Somebody gives a part back only down to the even share.
            for member in &live {
                let had = holders.values().filter(|holder| *holder == member).count();
                let kept = holders.iter().filter(|(part, holder)| *holder == member && shares[*part] == *member);
                let most = usize::from(PARTS).div_ceil(live.len());
                let least = usize::from(PARTS) / live.len();
                let kept = kept.count();
                prop_assert!(kept == had || (kept >= least && kept <= most), "{member}: had {had}, keeps {kept}");
            }
            prop_assert_eq!(&share(&live, &shares), &shares, "what is even stays");
        }

        #[test]
        fn halfway_the_rest_stays_and_the_end_is_even(
            live in prop::collection::btree_set(prop::sample::select(&NAMES), 1..=7),
            held in prop::collection::btree_map(0..PARTS, prop::sample::select(&NAMES), 0..=32),
            order in prop::collection::vec(0..PARTS, 150),
        ) {
            let mut holders: BTreeMap<u16, &str> =
                held.into_iter().filter(|(_, holder)| live.contains(holder)).collect();
            let mut moves = 0;
            for part in order.into_iter().chain(0..PARTS).chain(0..PARTS).chain(0..PARTS).chain(0..PARTS) {
                let target = share(&live, &holders)[&part];
                match holders.get(&part) {
                    Some(holder) if *holder == target => {}
                    // Given back first, taken later.
                    Some(_) => { holders.remove(&part); }
                    None => { holders.insert(part, target); moves += 1; }
                }
            }
            assert_even(&live, &holders);
            prop_assert!(moves <= 40, "{moves} parts were taken");
        }
    }
}
