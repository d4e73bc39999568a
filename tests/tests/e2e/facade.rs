//! A program written for Meta's Cloud API, with its base URL and its token changed and nothing else.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use staffetta_simulator::{Behaviour, Detail, InboundMessage, SendSeen, Template, UserIds};
use staffetta_testkit::until;
use staffetta_tests::{CARE, Hook, HookPost, Installation, LIMIT, ORDERS, Setup, Streams, Told};

use crate::arrivals::shown_as;

const USER: &str = "393481213456";
const SECRET: &str = "what Meta would sign with";

/// What the one call of this name gave.
#[track_caller]
fn one<'a>(told: &'a Told, call: &str) -> &'a Value {
    let [answer] = told.get(call).map(Vec::as_slice).unwrap_or_default() else { panic!("{call}: {told:#?}") };
    answer
}

/// The message id that a send of this name gave.
#[track_caller]
fn id<'a>(told: &'a Told, call: &str) -> &'a str {
    let id = one(told, call)["id"].as_str().unwrap_or_else(|| panic!("{call}: {told:#?}"));
    assert!(id.starts_with("wamid."), "{call}: {id}");
    id
}

/// A user has written, and the tenant was told.
async fn written_to(staffetta: &Installation, streams: &Streams) -> String {
    let message = InboundMessage {
        phone_number_id: ORDERS.phone_number_id.into(),
        from: USER.into(),
        name: Some("Anna".into()),
        text: Some("Buongiorno".into()),
        message: None,
    };
    let wamid = staffetta.provider.inbound(message).unwrap();
    staffetta.told(streams, &[("message.received", wamid.clone())]).await.unwrap();
    wamid
}

/// Waits until the provider has accepted so many sends, and gives them back.
async fn accepted(staffetta: &Installation, count: usize) -> Vec<SendSeen> {
    let accepted = until("sends at the provider", LIMIT, async || {
        let sends = staffetta.sends(ORDERS);
        (sends.len() >= count).then_some(sends)
    });
    accepted.await.unwrap()
}

#[tokio::test]
async fn a_client_of_meta_s_works_with_another_base_url() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    for name in ["avviso", "sollecito"] {
        let template = Template { language: Some("it".into()), ..Template::default() };
        staffetta.provider.put_template(name, template).unwrap();
    }
    let received = written_to(&staffetta, &streams).await;
    let client = staffetta.graph_client(ORDERS);

    let told =
        client.run("everything", &[("to", &format!("+{USER}")), ("received", &received)]).await.unwrap();
    let file = one(&told, "upload")["id"].as_str().unwrap();
    let sends = accepted(&staffetta, 7).await;
    let kinds: Vec<&str> = sends.iter().map(|send| send.kind.as_str()).collect();
    let wanted = ["text", "template", "interactive", "interactive", "location", "image", "reaction"];
    assert_eq!(kinds, wanted, "in the order in which they were sent");
    assert!(sends.iter().all(|send| send.to == USER));
    let [text, template, .., image, _] = sends.as_slice() else { panic!("there are seven") };
    assert_eq!(text.text.as_deref(), Some("Fattura pronta"));
    assert_eq!(template.template.as_deref(), Some("avviso"));
    assert_eq!(image.media_id.as_deref(), Some(file));
    let mut ids: Vec<&str> = ["text", "template", "buttons", "link", "location", "image", "reaction"]
        .map(|call| id(&told, call))
        .to_vec();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 7, "each has its own");

    let download = one(&told, "download");
    assert_eq!((&download["whole"], &download["mime_type"]), (&true.into(), &"image/png".into()));
    assert_eq!(
        (&one(&told, "read")["success"], &one(&told, "typing")["success"]),
        (&true.into(), &true.into())
    );
    assert_eq!(one(&told, "templates")["names"], serde_json::json!(["avviso", "sollecito"]));
    assert_eq!(one(&told, "number")["display"], ORDERS.display);
    assert_eq!(
        one(&told, "numbers")["ids"],
        serde_json::json!([ORDERS.phone_number_id]),
        "the account has another tenant's number too"
    );
    let profile = one(&told, "profile");
    assert_eq!((&profile["success"], &profile["about"]), (&true.into(), &"Spedizioni".into()));
    let seen = &staffetta.provider.report(Detail::Figures).channels[ORDERS.phone_number_id];
    assert_eq!((seen.marked_read, seen.typing), (2, 1));
    assert_eq!((seen.media.uploaded, seen.media.downloaded), (1, 1));

    let told = client.run("delete", &[("to", USER), ("file", file)]).await.unwrap();
    assert_eq!(one(&told, "delete")["success"], true);
    assert_eq!(one(&told, "deleted")["code"], 100);
}

#[tokio::test]
async fn an_answer_to_a_message_sent_this_way_quotes_the_provider_s_own() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    written_to(&staffetta, &streams).await;
    let client = staffetta.graph_client(ORDERS);
    let told = client.run("text", &[("to", USER)]).await.unwrap();
    let first = accepted(&staffetta, 1).await.remove(0);
    assert_ne!(first.wamid, id(&told, "text"), "it was not known yet when the client got its answer");
    let told_of = until("the command's end", LIMIT, async || {
        let events = streams.events().await.ok()?;
        events.iter().any(|event| event.kind == "command.accepted").then_some(())
    });
    told_of.await.unwrap();
    client.run("reply", &[("to", USER), ("received", id(&told, "text"))]).await.unwrap();
    let answer = accepted(&staffetta, 2).await.remove(1);
    assert_eq!(answer.reply_to.as_deref(), Some(first.wamid.as_str()));
}

#[tokio::test]
async fn the_library_says_what_it_would_say_of_meta() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let client = staffetta.graph_client(ORDERS);
    let told = client.clone().with_key("no-key-of-anybody").run("text", &[("to", USER)]).await.unwrap();
    let refused = one(&told, "text");
    assert_eq!(
        (&refused["error"], &refused["code"]),
        (&"ExpiredAccessToken".into(), &190.into()),
        "{refused}"
    );

    let of_another = staffetta.graph_client(CARE).with_key("the-key-of-acme");
    let told = of_another.run("text", &[("to", USER)]).await.unwrap();
    assert_eq!(one(&told, "text")["code"], 100, "{told:?}");

    let told = client.run("text", &[("to", "12")]).await.unwrap();
    assert_eq!(one(&told, "text")["code"], 131_009, "{told:?}");
    assert_eq!(staffetta.sends(ORDERS), []);
    assert_eq!(staffetta.sends(CARE), []);
}

/// How many statuses these POSTs bring, each counted once, and the webhooks as the library takes them.
fn statuses(posts: &[HookPost]) -> (usize, Vec<(String, String)>) {
    let of = |post: &HookPost| {
        let value = &mut post.json()["entry"][0]["changes"][0]["value"];
        let statuses = value["statuses"].as_array().cloned().unwrap_or_default();
        statuses.into_iter().map(|status| (status["id"].to_string(), status["status"].to_string()))
    };
    let webhook = |post: &HookPost| {
        let signature = post.headers["x-hub-signature-256"].to_str().unwrap();
        (signature.to_owned(), post.body.clone())
    };
    (posts.iter().flat_map(of).collect::<BTreeSet<_>>().len(), posts.iter().map(webhook).collect())
}

#[tokio::test]
async fn its_webhook_code_gets_the_ids_that_it_was_given() {
    // The library wants webhooks as they are since 2026.
    let behaviour = Behaviour { pair: None, user_ids: UserIds::Shown, ..Behaviour::default() };
    let (staffetta, up) = Installation::up(Setup { behaviour, ..Setup::default() }).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let hook = Hook::start().await.unwrap();
    let endpoint = format!(
        "[[endpoint]]\nid = \"acme-hook\"\ntenant = \"acme\"\nkind = \"webhook\"\nformat = \"cloud_api\"\n\
         url = {:?}\nsecret = {SECRET:?}\n",
        hook.url()
    );
    staffetta.add(&endpoint).await.unwrap();
    // It begins with what happens from then on.
    shown_as(&up, "acme-hook", "well").await;
    let received = written_to(&staffetta, &streams).await;
    let client = staffetta.graph_client(ORDERS);
    let told = client.run("everything", &[("to", USER), ("received", &received)]).await.unwrap();
    let sends = accepted(&staffetta, 7).await;

    // A reaction is never delivered or read.
    let posts = hook.until(|posts| statuses(posts).0 > 6 * 3).await.unwrap();
    let (_, webhooks) = statuses(&posts);
    let seen = client.take_webhooks(SECRET, &webhooks).await.unwrap();
    assert!(!seen.contains_key("refused"), "each is signed as Meta signs");
    // What was delivered, but not yet noted, when whoever delivers stood still for too long comes once more.
    let once = up.kept_its_parts();
    let mut by_id = HashMap::<&str, Vec<&str>>::new();
    for status in &seen["status"] {
        let (id, status) = (status["id"].as_str().unwrap(), status["status"].as_str().unwrap());
        let of_id = by_id.entry(id).or_default();
        if once || !of_id.contains(&status) {
            of_id.push(status);
        }
    }
    for call in ["text", "template", "buttons", "link", "location", "image"] {
        let names = by_id.get_mut(id(&told, call)).unwrap_or_else(|| panic!("nothing of the {call}"));
        names.sort_unstable();
        assert_eq!(*names, ["delivered", "read", "sent"], "{call}");
    }
    assert_eq!(by_id[id(&told, "reaction")], ["sent"]);
    assert!(sends.iter().all(|send| !by_id.contains_key(send.wamid.as_str())), "nobody was given these ids");
    for status in &seen["status"] {
        let own = if status["id"] == id(&told, "text") { "order-7".into() } else { Value::Null };
        assert_eq!(status["tracker"], own, "{status}");
    }
    let message = &seen["message"][0];
    assert!(seen["message"].len() == 1 || !once, "{seen:#?}");
    assert_eq!(
        (&message["id"], &message["text"], &message["from"]),
        (&received.into(), &"Buongiorno".into(), &USER.into())
    );

    let refused = client.take_webhooks("another secret", &webhooks[..1]).await.unwrap();
    assert_eq!(one(&refused, "refused")["http"], 403);
}
