//! One user gets one message in six seconds, and 45 at once on credit.

use serde_json::Value;
use staffetta_simulator::{Behaviour, Detail, SendSeen};
use staffetta_testkit::{Company, until};
use staffetta_tests::{CARE, Installation, LIMIT, Number, ORDERS, Setup, Streams, text};

use crate::{all, assert_each_sent_once_in_order, commands};

/// Who gets more than the provider lets through.
const USER: &str = "393489999999";
const AT_ONCE: usize = 45;
const INTERVAL_US: u64 = 6_000_000;

#[tokio::test]
async fn who_gets_too_much_waits_and_nobody_else_does() {
    // What is late here shall not be late because of others.
    let _alone = Company::nobody().await;
    let setup = Setup { behaviour: Behaviour::default(), ..Setup::default() };
    let (staffetta, _up) = Installation::up(setup).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    tokio::join!(in_turn(&staffetta, &streams), behind_a_backlog(&staffetta, &streams));
    for number in [ORDERS, CARE] {
        let report = &staffetta.provider.report(Detail::Figures).channels[number.phone_number_id];
        assert_eq!(report.refused.len(), 0, "{:?}", report.refused);
    }
}

/// Sixty to the user and sixty to others, in turn.
async fn in_turn(staffetta: &Installation, streams: &Streams) {
    let others = commands("other", 60, 30);
    let theirs = to_user("user", 60);
    let acme = staffetta.tenant(ORDERS, streams);
    let in_turn: Vec<Value> =
        theirs.iter().zip(&others).flat_map(|(one, other)| [one.clone(), other.clone()]).collect();
    acme.send_at_once(&in_turn).await.unwrap();
    staffetta.told(streams, &all("command.accepted", &others)).await.unwrap();
    until_sent(staffetta, ORDERS, AT_ONCE + 3).await;

    let sends = staffetta.sends(ORDERS);
    let (to_them, rest): (Vec<_>, Vec<_>) = sends.into_iter().partition(|send| send.to == USER);
    assert_each_sent_once_in_order(&to_them, &theirs[..to_them.len()]);
    assert_each_sent_once_in_order(&rest, &others);
    let last = rest.iter().map(|send| send.at_us).max().unwrap();
    let before = to_them.iter().filter(|send| send.at_us < last).count();
    assert!(before <= due(&to_them, last), "{before} went to the user before the last of the others");
    assert!(before < theirs.len() - 5, "the others waited for {before}");
    let waited = to_them[AT_ONCE].at_us - to_them[0].at_us;
    assert!(waited >= INTERVAL_US * 9 / 10, "the one beyond the credit went after {waited} µs");
}

/// Three thousand to the user, and behind them in the same lane some to others.
async fn behind_a_backlog(staffetta: &Installation, streams: &Streams) {
    let globex = staffetta.tenant(CARE, streams);
    globex.send_at_once(&to_user("backlog", 3_000)).await.unwrap();
    let others = commands("behind", 50, 25);
    globex.send_at_once(&others).await.unwrap();
    staffetta.told(streams, &all("command.accepted", &others)).await.unwrap();

    let sends = staffetta.sends(CARE);
    let (to_them, rest): (Vec<_>, Vec<_>) = sends.into_iter().partition(|send| send.to == USER);
    assert_each_sent_once_in_order(&rest, &others);
    let last = rest.iter().map(|send| send.at_us).max().unwrap();
    let before = to_them.iter().filter(|send| send.at_us < last).count();
    // No more of them than their own pace lets go meanwhile: the others did not wait for the backlog.
    assert!((1..=due(&to_them, last)).contains(&before), "{before} of the backlog went before the others");
}

/// How many may have gone to the user by this moment: the credit, and one for each interval since the first.
fn due(to_them: &[SendSeen], by: u64) -> usize {
    AT_ONCE + usize::try_from(by.saturating_sub(to_them[0].at_us) / INTERVAL_US).unwrap() + 1
}

fn to_user(prefix: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| text(&format!("{prefix}-{n}"), USER)).collect()
}

/// Waits until the user has got so many.
async fn until_sent(staffetta: &Installation, number: Number, count: usize) {
    let sent = until("the user's messages", LIMIT, async || {
        let sends = staffetta.sends(number);
        (sends.iter().filter(|send| send.to == USER).count() >= count).then_some(())
    });
    sent.await.unwrap();
}
