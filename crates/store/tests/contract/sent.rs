//! A tenant's commands, as they are looked for.

use jiff::{SignedDuration, Timestamp};
use staffetta_domain::{CommandState, MessageState, TenantId};
use staffetta_store::{
    Cancelled, Claim, CommandRecord, NewCommand, SentCursor, SentFilter, SentPage, Settlement, Store,
};

use crate::schedule::scheduled;
use crate::support::{
    at, cancelled, claim, command, id, new_command, on_both, outcome, proof, taken, tenant, wamid,
};

on_both!(
    commands_are_listed_newest_first_page_by_page,
    each_filter_finds_its_own,
    a_message_is_found_by_its_name,
    another_tenants_commands_are_nowhere,
    a_page_looks_at_so_many_commands_and_goes_on,
    what_a_command_says_of_itself_is_read_back,
    what_is_asked_for_does_not_print,
);

async fn page(store: &Store, filter: &SentFilter, after: Option<SentCursor>, limit: u32) -> SentPage {
    store.sent(&tenant(), filter, after, limit).await.unwrap()
}

/// All commands that a filter finds, as pages of that size.
async fn all(store: &Store, filter: &SentFilter, limit: u32) -> Vec<CommandRecord> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let SentPage { records, next } = page(store, filter, after, limit).await;
        assert!(records.len() <= limit as usize);
        all.extend(records);
        after = next;
        if after.is_none() {
            return all;
        }
    }
}

async fn found(store: &Store, filter: SentFilter) -> Vec<String> {
    let found = all(store, &filter, 2).await;
    assert_eq!(all(store, &filter, 100).await, found);
    found.into_iter().map(|record| record.id.to_string()).collect()
}

async fn commands_are_listed_newest_first_page_by_page(store: Store) {
    assert_eq!(
        page(&store, &SentFilter::default(), None, 10).await,
        SentPage { records: vec![], next: None }
    );
    // Five of each second.
    let commands: Vec<_> =
        (0..60).map(|n| NewCommand { at: at(n / 5), ..new_command(&format!("c-{n:02}")) }).collect();
    store.enqueue(&commands).await.unwrap();
    let expected: Vec<_> = commands.iter().rev().map(|command| command.id.clone()).collect();
    for limit in [1, 4, 7, 60, 100] {
        let listed = all(&store, &SentFilter::default(), limit).await;
        let listed: Vec<_> = listed.into_iter().map(|record| record.id).collect();
        assert_eq!(listed, expected, "{limit}");
    }
    // What comes later stands before the first page, and moving a command on moves it nowhere.
    let first = page(&store, &SentFilter::default(), None, 10).await;
    store.enqueue(&[NewCommand { at: at(99), ..new_command("late") }]).await.unwrap();
    store.claim(&[claim("c-45", 1)]).await.unwrap();
    let second = page(&store, &SentFilter::default(), first.next, 10).await;
    let second: Vec<_> = second.records.into_iter().map(|record| record.id).collect();
    assert_eq!(second, expected[10..20]);
}

async fn each_filter_finds_its_own(store: Store) {
    let to = |key: &str, user: &str, seconds| NewCommand {
        user: user.into(),
        at: at(seconds),
        ..new_command(key)
    };
    let elsewhere = NewCommand { channel: "acme-shop".parse().unwrap(), ..to("d", "39348", 4) };
    let commands =
        [to("a", "39348", 1), to("b", "393481", 2), to("c", "447700", 3), elsewhere, to("e", "IT.39348", 5)];
    store.enqueue(&commands).await.unwrap();
    store.claim(&[claim("a", 1)]).await.unwrap();
    store.settle(&[outcome("c", Settlement::Rejected("no".into()))]).await.unwrap();
    let any = SentFilter::default;
    let number = |digits: &str| Some(digits.to_owned());
    for (filter, expected) in [
        (any(), vec!["e", "d", "c", "b", "a"]),
        (SentFilter { number: number("39348"), ..any() }, vec!["d", "b", "a"]),
        (SentFilter { number: number("393481"), ..any() }, vec!["b"]),
        (SentFilter { number: number("9348"), ..any() }, vec![]),
        (SentFilter { number: number("\0"), ..any() }, vec![]),
        (SentFilter { channel: Some("acme-shop".parse().unwrap()), ..any() }, vec!["d"]),
        (SentFilter { channel: Some("beta-shop".parse().unwrap()), ..any() }, vec![]),
        (SentFilter { state: Some(CommandState::Sending), ..any() }, vec!["a"]),
        (SentFilter { state: Some(CommandState::Rejected), ..any() }, vec!["c"]),
        (SentFilter { state: Some(CommandState::Queued), number: number("39"), ..any() }, vec!["d", "b"]),
        (SentFilter { since: Some(at(3)), ..any() }, vec!["e", "d", "c"]),
        (SentFilter { until: Some(at(3)), ..any() }, vec!["b", "a"]),
        (SentFilter { since: Some(at(2)), until: Some(at(4)), ..any() }, vec!["c", "b"]),
        (SentFilter { since: Some(at(4)), until: Some(at(4)), ..any() }, vec![]),
        (SentFilter { since: Some(at(2)), number: number("39"), ..any() }, vec!["d", "b"]),
        (
            SentFilter { since: Some(Timestamp::MIN), until: Some(Timestamp::MAX), ..any() },
            vec!["e", "d", "c", "b", "a"],
        ),
        (SentFilter { until: Some(Timestamp::MIN), ..any() }, vec![]),
    ] {
        let case = format!("{filter:?} {:?}", filter.number);
        assert_eq!(found(&store, filter).await, expected, "{case}");
    }
}

async fn a_message_is_found_by_its_name(store: Store) {
    store.enqueue(&[new_command("a"), new_command("b"), new_command("c")]).await.unwrap();
    store.claim(&[claim("a", 1), claim("b", 1)]).await.unwrap();
    let elsewhere =
        staffetta_store::Outcome { channel: "acme-shop".parse().unwrap(), ..taken("d", "wamid.D") };
    store.settle(&[taken("a", "wamid.A"), taken("b", "wamid.B"), elsewhere]).await.unwrap();
    // Nobody settled this one: a status says so.
    store.record(&[proof("wamid.C", MessageState::Delivered, "c")]).await.unwrap();
    let of = |name: &str| SentFilter { wamid: Some(wamid(name)), ..SentFilter::default() };
    for (name, key) in [("wamid.A", "a"), ("wamid.B", "b"), ("wamid.C", "c"), ("wamid.D", "d")] {
        assert_eq!(found(&store, of(name)).await, [key], "{name}");
    }
    assert_eq!(found(&store, of("wamid.E")).await, Vec::<String>::new());
    assert_eq!(found(&store, of("wamid\0")).await, Vec::<String>::new());
    let accepted = SentFilter { state: Some(CommandState::Accepted), ..of("wamid.A") };
    assert_eq!(found(&store, accepted).await, ["a"]);
    for other in [
        SentFilter { state: Some(CommandState::Queued), ..of("wamid.A") },
        SentFilter { channel: Some("acme-shop".parse().unwrap()), ..of("wamid.A") },
        SentFilter { number: Some("44".into()), ..of("wamid.A") },
        SentFilter { since: Some(Timestamp::now() + SignedDuration::from_hours(1)), ..of("wamid.A") },
        SentFilter { until: Some(at(-1)), ..of("wamid.A") },
    ] {
        assert_eq!(found(&store, other.clone()).await, Vec::<String>::new(), "{other:?}");
    }
    let beta: TenantId = "beta".parse().unwrap();
    assert_eq!(store.sent(&beta, &of("wamid.A"), None, 10).await.unwrap().records, []);
}

async fn another_tenants_commands_are_nowhere(store: Store) {
    let beta: TenantId = "beta".parse().unwrap();
    let of_beta = |key: &str| NewCommand { tenant: beta.clone(), ..new_command(key) };
    store.enqueue(&[new_command("a"), of_beta("a"), of_beta("b")]).await.unwrap();
    assert_eq!(found(&store, SentFilter::default()).await, ["a"]);
    let number = SentFilter { number: Some("39".into()), ..SentFilter::default() };
    assert_eq!(found(&store, number.clone()).await, ["a"]);
    assert_eq!(store.sent(&beta, &number, None, 10).await.unwrap().records.len(), 2);
    // Somebody else's place leads nowhere but into one's own.
    let cursor = Some(SentCursor { created: at(0), id: id("z") });
    assert_eq!(page(&store, &SentFilter::default(), cursor, 10).await.records.len(), 1);
}

async fn a_page_looks_at_so_many_commands_and_goes_on(store: Store) {
    let commands: Vec<_> = (0..12_000)
        .map(|n| {
            // Two to somebody else: the oldest one, and one on the second page.
            let user = if [0, 4_000].contains(&n) { "44770" } else { "39348" };
            NewCommand { user: user.into(), at: at(n / 100), ..new_command(&format!("c-{n:05}")) }
        })
        .collect();
    for batch in commands.chunks(4_000) {
        store.enqueue(batch).await.unwrap();
    }
    let filter = SentFilter { number: Some("44".into()), ..SentFilter::default() };
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let SentPage { records, next } = page(&store, &filter, after, 10).await;
        let ids: Vec<_> = records.iter().map(|record| record.id.to_string()).collect();
        pages.push((ids, next.as_ref().map(|next| next.id.to_string())));
        after = next;
        if after.is_none() {
            break;
        }
    }
    let some = |text: &str| Some(text.to_owned());
    let expected = [
        (vec![], some("c-07000")),
        (vec!["c-04000".to_owned()], some("c-02000")),
        (vec!["c-00000".to_owned()], None),
    ];
    assert_eq!(pages, expected);
    // Enough of a page is enough: nobody looks further.
    let busy = SentFilter { number: Some("39".into()), ..SentFilter::default() };
    let first = page(&store, &busy, None, 10).await;
    assert_eq!((first.records.len(), first.next.unwrap().id), (10, id("c-11990")));
    let most = page(&store, &SentFilter::default(), None, u32::MAX).await;
    assert_eq!((most.records.len(), most.next.unwrap().id), (5_000, id("c-07000")));
}

async fn what_a_command_says_of_itself_is_read_back(store: Store) {
    store.schedule(&[scheduled("later", at(500))]).await.unwrap();
    store.claim(&[Claim { callback_data: Some("order 7".into()), ..claim("now", 1) }]).await.unwrap();
    store.claim(&[Claim { user: String::new(), ..claim("nobody", 1) }]).await.unwrap();
    let later = command(&store, "later").await;
    assert_eq!((later.send_at, later.user.is_some()), (Some(at(500)), true));
    let now = command(&store, "now").await;
    assert_eq!((now.send_at, now.user.as_deref()), (None, Some("393481213456")));
    assert_eq!(now.callback_data.as_deref(), Some("order 7"));
    assert_eq!(command(&store, "nobody").await.user, None);
    let listed = all(&store, &SentFilter::default(), 10).await;
    assert!(listed.contains(&later) && listed.contains(&now));
    let Cancelled::Done(_) = store.cancel(&tenant(), &id("later"), cancelled("later")).await.unwrap() else {
        panic!("not done");
    };
    assert_eq!(command(&store, "later").await.send_at, None);
}

async fn what_is_asked_for_does_not_print(store: Store) {
    let filter =
        SentFilter { number: Some("39348".into()), wamid: Some(wamid("wamid.A")), ..Default::default() };
    store.claim(&[claim("a", 1)]).await.unwrap();
    let printed = format!("{filter:?} {:?}", page(&store, &SentFilter::default(), None, 10).await);
    for secret in ["39348", "wamid.A", "order of"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
