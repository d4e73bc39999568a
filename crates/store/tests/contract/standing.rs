//! How a channel and a user stand with each other, as whoever is about to send is told.

use jiff::Timestamp;
use serde_json::json;
use staffetta_domain::{EventType, Leaf, MessageState, Reach, Sighting, Touch};
use staffetta_store::{Claim, Claimed, Outcome, Refused, Settlement, Standing, Store};

use crate::support::{at, claim, event, on_both, outcome, proof, sighting, status, taken, text};

const PHONE: &str = "393481213456";
const USER: &str = "IT.13491208655302741918";

on_both!(
    of_somebody_unknown_nothing_is_known,
    whoever_wrote_is_known_by_each_name,
    a_user_of_another_channel_is_somebody_else,
    a_refusal_holds_or_mutes,
    an_older_refusal_changes_nothing,
    a_leaf_that_is_known_changes_nothing,
    whoever_agrees_is_muted_no_more,
    a_refused_commands_template_is_looked_up,
    an_outcome_tells_too,
    an_outcome_tells_of_somebody_who_was_never_reached,
    a_batch_keeps_the_newest,
    conversations_that_become_one_keep_the_newest,
);

async fn standing(store: &Store, user: &str, key: &str) -> Standing {
    let claim = Claim { user: user.into(), ..claim(key, 1) };
    match store.claim(&[claim]).await.unwrap().0.pop() {
        Some(Claimed::Granted { user, .. }) => user,
        other => panic!("{other:?}"),
    }
}

fn refused(code: i64, at: Timestamp, template: Option<&str>) -> Option<Refused> {
    Some(Refused { code, at, template: template.map(str::to_owned) })
}

/// A failed status of that second.
fn failure(name: &str, code: i64, seconds: i64, template: Option<&str>) -> Leaf {
    let mut leaf = status(name, MessageState::Failed);
    if let Some(Touch::Moved { at: moment, .. }) = &mut leaf.touch {
        *moment = at(seconds);
    }
    Leaf { reach: Reach::refused(code, template), ..leaf }
}

/// The user takes marketing again, as of that moment.
fn agreement(seconds: i64) -> Leaf {
    let mut event = event(EventType::WebhookOther, &["agreed", &seconds.to_string()], "user_preferences");
    event.time = at(seconds);
    let sighting = Some(sighting(&[PHONE], at(seconds)));
    Leaf { sighting, reach: Some(Reach::Agreed), ..Leaf::of_event(event) }
}

async fn of_somebody_unknown_nothing_is_known(store: Store) {
    assert_eq!(standing(&store, PHONE, "c-1").await, Standing::default());
    store.settle(&[taken("c-1", "wamid.1")]).await.unwrap();
    assert_eq!(standing(&store, PHONE, "c-2").await, Standing::default(), "written to, but never wrote");
    assert_eq!(standing(&store, "", "c-3").await, Standing::default());
}

async fn whoever_wrote_is_known_by_each_name(store: Store) {
    let wrote = |seconds| Sighting { wrote: true, ..sighting(&[PHONE, USER], at(seconds)) };
    let leaves = [30, 20]
        .map(|seconds: i64| Leaf { sighting: Some(wrote(seconds)), ..text(&format!("wamid.{seconds}")) });
    store.record(&leaves).await.unwrap();
    let names = [PHONE, "+39 348 121 3456", USER, "44770"];
    let claims: Vec<_> = names
        .iter()
        .map(|name| Claim {
            user: (*name).into(),
            ..claim(&format!("c-{name}").replace([' ', '+', '.'], "-"), 1)
        })
        .collect();
    let wrote: Vec<_> = store.claim(&claims).await.unwrap().0;
    let wrote: Vec<_> = wrote
        .into_iter()
        .map(|claimed| match claimed {
            Claimed::Granted { user, .. } => user.wrote,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(wrote, [Some(at(30)), Some(at(30)), Some(at(30)), None]);
}

async fn a_user_of_another_channel_is_somebody_else(store: Store) {
    store.record(&[text("wamid.A")]).await.unwrap();
    let mut claim = claim("c-1", 1);
    claim.channel = "acme-shop".parse().unwrap();
    let (claimed, _) = store.claim(&[claim]).await.unwrap();
    assert_eq!(claimed, [crate::support::granted(1)]);
}

async fn a_refusal_holds_or_mutes(store: Store) {
    store.record(&[failure("wamid.A", 131_026, 10, None)]).await.unwrap();
    store.record(&[failure("wamid.B", 131_049, 11, Some("sale\0"))]).await.unwrap();
    let expected = Standing {
        wrote: None,
        held: refused(131_026, at(10), None),
        muted: refused(131_049, at(11), Some("sale\u{fffd}")),
        switched_off: false,
    };
    assert_eq!(standing(&store, PHONE, "c-1").await, expected);
    // Whether the refusal still counts after the user wrote is for the reader to say.
    store
        .record(&[Leaf {
            sighting: Some(Sighting { wrote: true, ..sighting(&[PHONE], at(50)) }),
            ..text("wamid.C")
        }])
        .await
        .unwrap();
    assert_eq!(standing(&store, PHONE, "c-2").await, Standing { wrote: Some(at(50)), ..expected });
}

async fn an_older_refusal_changes_nothing(store: Store) {
    store.record(&[failure("wamid.A", 131_026, 10, Some("a"))]).await.unwrap();
    store.record(&[failure("wamid.B", 131_047, 9, Some("b"))]).await.unwrap();
    store.record(&[failure("wamid.C", 131_047, 10, Some("c"))]).await.unwrap();
    assert_eq!(standing(&store, PHONE, "c-1").await.held, refused(131_026, at(10), Some("a")));
    store.record(&[failure("wamid.D", 130_403, 11, None)]).await.unwrap();
    assert_eq!(standing(&store, PHONE, "c-2").await.held, refused(130_403, at(11), None));
}

async fn a_leaf_that_is_known_changes_nothing(store: Store) {
    let leaf = failure("wamid.A", 131_026, 10, None);
    store.record(std::slice::from_ref(&leaf)).await.unwrap();
    let other = Leaf { reach: Reach::refused(131_047, None), ..failure("wamid.A", 131_047, 20, None) };
    assert!(store.record(&[other]).await.unwrap().is_empty());
    assert_eq!(standing(&store, PHONE, "c-1").await.held, refused(131_026, at(10), None));
}

async fn whoever_agrees_is_muted_no_more(store: Store) {
    store
        .record(&[failure("wamid.A", 131_050, 10, None), failure("wamid.B", 131_026, 10, None)])
        .await
        .unwrap();
    store.record(&[agreement(5)]).await.unwrap();
    assert_eq!(standing(&store, PHONE, "c-1").await.muted, refused(131_050, at(10), None));
    store.record(&[agreement(20)]).await.unwrap();
    store.record(&[failure("wamid.C", 131_050, 15, None)]).await.unwrap();
    let now = standing(&store, PHONE, "c-2").await;
    assert_eq!((now.muted, now.held), (None, refused(131_026, at(10), None)));
    store.record(&[failure("wamid.D", 131_049, 30, None)]).await.unwrap();
    assert_eq!(standing(&store, PHONE, "c-3").await.muted, refused(131_049, at(30), None));
}

async fn a_refused_commands_template_is_looked_up(store: Store) {
    let template = |name: &str| json!({"name": name, "language": {"code": "it"}}).to_string();
    let claims = [
        Claim { kind: "template".into(), content: template("spring_sale"), ..claim("c-1", 1) },
        Claim { kind: "template".into(), content: "[]".into(), user: "44771".into(), ..claim("c-2", 1) },
        Claim { kind: "text".into(), content: template("no"), user: "44772".into(), ..claim("c-3", 1) },
    ];
    store.claim(&claims).await.unwrap();
    let leaves: Vec<_> = claims
        .iter()
        .map(|claim| {
            let mut leaf = proof(&format!("wamid.{}", claim.id), MessageState::Failed, claim.id.as_str());
            leaf.sighting = Some(sighting(&[&claim.user], at(0)));
            Leaf { reach: Reach::refused(131_049, None), ..leaf }
        })
        .collect();
    store.record(&leaves).await.unwrap();
    let failed_at = at(i64::from(MessageState::Failed.rank()));
    assert_eq!(standing(&store, PHONE, "d-1").await.muted, refused(131_049, failed_at, Some("spring_sale")));
    assert_eq!(standing(&store, "44771", "d-2").await.muted, refused(131_049, failed_at, None));
    assert_eq!(standing(&store, "44772", "d-3").await.muted, refused(131_049, failed_at, None));
}

async fn an_outcome_tells_too(store: Store) {
    store.record(&[text("wamid.A")]).await.unwrap();
    let failed = |reach| Outcome { reach, ..outcome("c-0", Settlement::Failed("no".into())) };
    store.settle(&[failed(Reach::refused(131_050, Some("sale")))]).await.unwrap();
    let muted = standing(&store, PHONE, "c-1").await.muted.unwrap();
    assert_eq!((muted.code, muted.template.as_deref()), (131_050, Some("sale")));
    // An outcome that does not count any more says nothing.
    store.settle(&[failed(Reach::refused(131_026, None))]).await.unwrap();
    assert_eq!(standing(&store, PHONE, "c-2").await.held, None);
}

async fn an_outcome_tells_of_somebody_who_was_never_reached(store: Store) {
    let failed = |key: &str, user: &str, reach| Outcome {
        user: Some(user.into()),
        reach,
        ..outcome(key, Settlement::Failed("no".into()))
    };
    let claims = [(PHONE, "a"), (USER, "b"), ("44770", "c")]
        .map(|(user, key)| Claim { user: user.into(), ..claim(key, 1) });
    store.claim(&claims).await.unwrap();
    let ends = [
        failed("a", "+39 348 121 3456", Reach::refused(131_026, None)),
        failed("b", USER, Reach::refused(131_050, Some("sale"))),
        failed("c", "44770", None),
    ];
    let told = store.settle(&ends).await.unwrap();
    assert_eq!(told.iter().map(|told| told.conversation.is_some()).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(told[0].event.data["sequence"], 1);
    // As of the event's time: ours.
    let moment = told[0].event.time;
    assert_eq!(standing(&store, PHONE, "c-1").await.held, refused(131_026, moment, None));
    assert_eq!(standing(&store, USER, "c-2").await.muted, refused(131_050, moment, Some("sale")));
    assert_eq!(standing(&store, "44770", "c-3").await, Standing::default());
    assert!(store.settle(&ends).await.unwrap().is_empty());
    // Whoever writes then goes on in the same conversation.
    let wrote = store.record(&[text("wamid.A")]).await.unwrap();
    assert_eq!((wrote[0].conversation, &wrote[0].event.data["sequence"]), (told[0].conversation, &json!(2)));
}

async fn a_batch_keeps_the_newest(store: Store) {
    let leaves = [
        failure("wamid.A", 131_026, 10, None),
        failure("wamid.B", 131_047, 30, None),
        failure("wamid.C", 130_403, 20, None),
        failure("wamid.D", 131_050, 10, None),
        agreement(40),
        failure("wamid.E", 131_049, 20, None),
    ];
    store.record(&leaves).await.unwrap();
    let now = standing(&store, PHONE, "c-1").await;
    assert_eq!((now.held, now.muted), (refused(131_047, at(30), None), None));
}

async fn conversations_that_become_one_keep_the_newest(store: Store) {
    let of_user = |leaf: Leaf, seconds| Leaf { sighting: Some(sighting(&[USER], at(seconds))), ..leaf };
    store
        .record(&[failure("wamid.A", 131_026, 10, None), failure("wamid.B", 131_050, 40, None)])
        .await
        .unwrap();
    let of_id = [failure("wamid.C", 131_047, 20, Some("x")), failure("wamid.D", 131_049, 30, None)];
    store.record(&of_id.map(|leaf| of_user(leaf, 20))).await.unwrap();
    let both = Sighting { wrote: true, ..sighting(&[USER, PHONE], at(50)) };
    store.record(&[Leaf { sighting: Some(both), ..text("wamid.E") }]).await.unwrap();
    let expected = Standing {
        wrote: Some(at(50)),
        held: refused(131_047, at(20), Some("x")),
        muted: refused(131_050, at(40), None),
        switched_off: false,
    };
    for (key, name) in [("c-1", PHONE), ("c-2", USER)] {
        assert_eq!(standing(&store, name, key).await, expected);
    }
}
