//! NATS away, slow or full: 503, so that the provider comes again, and never a 200 for what is not stored.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use staffetta_testkit::NatsSync;

use crate::harness::{Harness, SECRET, Setup, signature};

#[tokio::test]
async fn without_nats_webhooks_are_refused_until_it_is_back() {
    let mut ingress = Harness::start().await;
    ingress.nats.kill().await.unwrap();
    ingress.until("ingress to notice", async |ingress| !ingress.bus.is_connected()).await;

    ingress.post("{}").await.assert_problem(503, "queue-unavailable");

    ingress.nats.restart().await.unwrap();
    ingress
        .until("ingress to be back", async |ingress| ingress.post("{}").await.status == StatusCode::OK)
        .await;
    assert_eq!(ingress.webhooks().await.len(), 1);
}

#[tokio::test]
async fn webhooks_are_refused_when_nats_does_not_answer_by_the_deadline() {
    let deadline = Duration::from_secs(2);
    let ingress = Harness::start_with(Setup { deadline, ..Setup::default() }).await;
    ingress.network.stall().await.unwrap();

    ingress.post("{\"n\":1}").await.assert_problem(503, "queue-slow");

    ingress.network.heal().await.unwrap();
    ingress
        .until("ingress to be back", async |ingress| ingress.post("{\"n\":2}").await.status == StatusCode::OK)
        .await;
    ingress.until("ingress to be ready", async |ingress| ingress.is_ready()).await;
    // A publish that was given up may be stored all the same, but not twice.
    let ids: Vec<_> = ingress.webhooks().await.into_iter().map(|webhook| webhook.id).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
}

#[tokio::test]
async fn while_nats_stalls_newcomers_do_not_wait_in_vain() {
    let deadline = Duration::from_secs(20);
    let ingress = Harness::start_with(Setup { deadline, ..Setup::default() }).await;
    ingress.network.stall().await.unwrap();
    let first = tokio::spawn({
        let signature = signature(SECRET, b"{\"n\":1}");
        let request = ingress.client.post(ingress.url("main")).header("X-Hub-Signature-256", signature);
        request.body("{\"n\":1}").send()
    });
    ingress.until("the stall to be noticed", async |ingress| !ingress.is_ready()).await;

    ingress.post("{\"n\":2}").await.assert_problem(503, "queue-slow");

    // The first one's deadline is not over; and without an acknowledgement there is no 200.
    assert!(!first.is_finished());
    ingress.network.heal().await.unwrap();
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(ingress.webhooks().await.len(), 1);
}

#[tokio::test]
async fn a_full_stream_refuses_and_keeps_what_it_has() {
    let ingress = Harness::start_with(Setup { webhooks_max_bytes: 64 << 10, ..Setup::default() }).await;
    let mut stored = 0;
    let refused = loop {
        let answer = ingress.post(vec![b'x'; 10_000]).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        stored += 1;
        assert!(stored < 10, "64 KiB never got full");
    };
    refused.assert_problem(503, "queue-full");
    assert!(stored > 0);
    assert_eq!(ingress.webhooks().await.len(), stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_kills_of_nats_every_200_is_on_the_stream() {
    const SENDERS: usize = 16;
    let mut setup = Setup { deadline: Duration::from_secs(1), ..Setup::default() };
    setup.nats.sync = NatsSync::Always;
    let mut ingress = Harness::start_with(setup).await;
    let accepted = Mutex::new(HashSet::new());
    let refused: [AtomicU32; SENDERS] = Default::default();
    let over = AtomicBool::new(false);
    let (client, url) = (ingress.client.clone(), ingress.url("main"));
    let sender = async |sender: usize| {
        let mut n = 0;
        while !over.load(Ordering::Relaxed) {
            n += 1;
            let body = format!("{{\"sender\":{sender},\"n\":{n}}}");
            let signature = signature(SECRET, body.as_bytes());
            let request = client.post(&url).header("X-Hub-Signature-256", signature).body(body.clone());
            match request.send().await.unwrap().status() {
                StatusCode::OK => assert!(accepted.lock().unwrap().insert(body)),
                StatusCode::SERVICE_UNAVAILABLE => drop(refused[sender].fetch_add(1, Ordering::Relaxed)),
                other => panic!("{other}"),
            }
        }
    };
    let kills = async {
        for outage in 0..4 {
            let before = accepted.lock().unwrap().len();
            ingress.until("webhooks to flow", async |_| accepted.lock().unwrap().len() > before + 200).await;
            ingress.nats.kill().await.unwrap();
            ingress.until("ingress to notice", async |ingress| !ingress.bus.is_connected()).await;
            // Every second outage outlasts the deadline of what was in flight.
            if outage % 2 == 0 {
                let count = || refused.each_ref().map(|refused| refused.load(Ordering::Relaxed));
                let before = count();
                ingress
                    .until("every sender to be refused", async |_| {
                        count().iter().zip(before).all(|(now, before)| *now > before + 1)
                    })
                    .await;
            }
            ingress.nats.restart().await.unwrap();
        }
        let before = accepted.lock().unwrap().len();
        ingress
            .until("webhooks to flow again", async |_| accepted.lock().unwrap().len() > before + 200)
            .await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(kills, join_all((0..SENDERS).map(&sender)));

    let webhooks = ingress.webhooks().await;
    let stored: HashSet<String> =
        webhooks.iter().map(|webhook| String::from_utf8(webhook.body.to_vec()).unwrap()).collect();
    let accepted = accepted.into_inner().unwrap();
    let lost: Vec<_> = accepted.difference(&stored).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), accepted.len());
    // A repeated publish is stored once.
    let ids: HashSet<_> = webhooks.iter().map(|webhook| &webhook.id).collect();
    assert_eq!(ids.len(), webhooks.len());
}
