//! How much a key may ask.

use futures_util::future::join_all;
use reqwest::Response;
use staffetta_testkit::until;
use staffetta_tests::{ANSWER, Installation, LIMIT, Setup};

use crate::apply_lines;

/// Requests a second of each of acme's keys.
const LIMITED: u32 = 7;

fn number(answer: &Response, header: &str, name: &str) -> Option<u32> {
    let value = answer.headers().get(header)?.to_str().ok()?;
    value.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

#[tokio::test]
async fn each_key_may_ask_so_much_and_is_told_how_it_stands() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().timeout(ANSWER).build().unwrap();
    let ask = async |key: &str| {
        http.get(format!("{}/v1/channels", staffetta.api_url())).bearer_auth(key).send().await.unwrap()
    };
    let free = ask("the-key-of-acme").await;
    assert_eq!(number(&free, "ratelimit-policy", "q"), Some(1_000));
    apply_lines(
        &staffetta,
        &format!(
            "[[tenant]]\nid = \"acme\"\nname = \"acme\"\nencoding = \"json\"\n\
             api_keys = [\"the-key-of-acme\", \"another-of-acme\"]\napi_requests_per_second = {LIMITED}\n"
        ),
    )
    .await;
    let followed = until("the limit to be followed", LIMIT, async || {
        (number(&ask("the-key-of-acme").await, "ratelimit-policy", "q")? == LIMITED).then_some(())
    });
    followed.await.unwrap();

    let mut answers = Vec::new();
    // A machine that needs seconds for them refuses none.
    until("more to be asked than the key may", LIMIT, async || {
        answers.extend(join_all((0..60).map(|_| ask("another-of-acme"))).await);
        answers.iter().any(|answer| answer.status() == 429).then_some(())
    })
    .await
    .unwrap();
    let (served, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status() == 200);
    assert!(served.len() >= LIMITED as usize, "{} served", served.len());
    for answer in served.iter().chain(&refused) {
        assert_eq!(number(answer, "ratelimit-policy", "q"), Some(LIMITED));
        assert_eq!(number(answer, "ratelimit-policy", "w"), Some(1));
        assert!(number(answer, "ratelimit", "r").unwrap() < LIMITED);
        assert!(number(answer, "ratelimit", "t").is_some());
    }
    for answer in refused {
        assert_eq!(answer.status(), 429);
        assert_eq!(number(&answer, "ratelimit", "r"), Some(0));
        assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let text = answer.text().await.unwrap();
        assert!(text.contains("\"/problems/rate-limited\""), "{text}");
    }
    // Others pay nothing for it; and it passes.
    assert_eq!(ask("the-key-of-globex").await.status(), 200);
    until("it to pass", LIMIT, async || (ask("another-of-acme").await.status() == 200).then_some(()))
        .await
        .unwrap();
}
