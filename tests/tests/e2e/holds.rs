//! What the provider refuses for a reason that lasts is not asked again, until the reason has gone.

use std::time::SystemTime;

use serde_json::{Value, json};
use staffetta_simulator::{Detail, InboundMessage, Template, TemplateStatus, UserState};
use staffetta_testkit::until;
use staffetta_tests::{
    Installation, LIMIT, ORDERS, RegistryText, SeenEvent, Service, Setup, Streams, Tenant, text,
};

use crate::{all, assert_each_sent_once_in_order, commands, only, unix_seconds};

/// Whom the provider never refuses.
const OTHER: &str = "393480000009";

#[tokio::test]
async fn users_and_templates_that_the_provider_refuses_are_left_alone_until_that_is_over() {
    let (staffetta, up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let one = One { staffetta: &staffetta, up: &up, streams: &streams, acme: &acme };
    // What each of them asks of the provider is counted: one after the other.
    one.user("blocked", "393480000001", UserState::Blocked, 130_403).await;
    one.user("away", "393480000002", UserState::Unreachable, 131_026).await;
    one.template().await;
    staffetta.settled(&streams).await.unwrap();
}

/// One installation, and who sends.
struct One<'a> {
    staffetta: &'a Installation,
    up: &'a Service,
    streams: &'a Streams,
    acme: &'a Tenant,
}

impl One<'_> {
    /// A user who was written to before, and of whom the provider says `code`, at once or afterwards, until they write.
    async fn user(&self, name: &str, phone: &str, state: UserState, code: i64) {
        let command = |n: usize| text(&format!("{name}-{n}"), phone);
        let before = text(&format!("{name}-before"), phone);
        self.acme.send(&before).await.unwrap();
        self.end(&before, "command.accepted").await;
        self.staffetta.provider.put_user(phone, state, None).unwrap();
        let first = command(0);
        self.acme.send(&first).await.unwrap();
        if state == UserState::Blocked {
            let failed = self.end(&first, "command.failed").await;
            assert_eq!(
                (&failed.data["code"], &failed.data["error"]["code"]),
                (&"refused".into(), &code.into())
            );
        } else {
            let wamid = self.end(&first, "command.accepted").await.data["wamid"].as_str().unwrap().to_owned();
            self.status_failed(&wamid, code).await;
        }

        let asked = self.asked();
        let (next, other) = (command(1), text(&format!("{name}-other"), OTHER));
        self.acme.send(&next).await.unwrap();
        self.acme.send(&other).await.unwrap();
        let rejected = self.end(&next, "command.rejected").await;
        assert_eq!(rejected.data["code"], "recipient_held", "{rejected:#?}");
        self.end(&other, "command.accepted").await;
        assert_eq!(self.asked(), asked + 1, "nobody is asked about {name}");

        // The provider tells the time of a message in seconds: one of the same second may be the older one.
        let refused_at = unix_seconds(SystemTime::now());
        let later = async || (unix_seconds(SystemTime::now()) > refused_at).then_some(());
        until("the next second", LIMIT, later).await.unwrap();
        self.staffetta.provider.put_user(phone, UserState::Fine, None).unwrap();
        let written = self.staffetta.provider.inbound(InboundMessage {
            phone_number_id: ORDERS.phone_number_id.into(),
            from: phone.into(),
            name: None,
            text: Some("Eccomi".into()),
            message: None,
        });
        let written = [("message.received", written.unwrap())];
        self.staffetta.told(self.streams, &written).await.unwrap();
        let last = command(2);
        self.acme.send(&last).await.unwrap();
        self.end(&last, "command.accepted").await;
    }

    /// A template that is paused, until it is approved again.
    async fn template(&self) {
        let command = |n: usize| {
            json!({ "id": format!("promo-{n}"), "to": OTHER, "type": "template",
                    "template": { "name": "promo", "language": { "code": "it" } } })
        };
        self.set_template(TemplateStatus::Paused, 1).await;
        self.acme.send(&command(0)).await.unwrap();
        let failed = self.end(&command(0), "command.failed").await;
        assert_eq!(failed.data["error"]["code"], 132_015, "{failed:#?}");

        let asked = self.asked();
        let other = json!({ "id": "another", "to": OTHER, "type": "template",
                            "template": { "name": "another", "language": { "code": "it" } } });
        self.acme.send(&command(1)).await.unwrap();
        self.acme.send(&other).await.unwrap();
        self.end(&other, "command.accepted").await;
        // Who has just become the owner asks once more.
        if self.up.kept_its_parts() {
            let rejected = self.end(&command(1), "command.rejected").await;
            assert_eq!(rejected.data["code"], "template_held", "{rejected:#?}");
            assert_eq!(self.asked(), asked + 1);
        }

        self.set_template(TemplateStatus::Approved, 2).await;
        self.acme.send(&command(2)).await.unwrap();
        self.end(&command(2), "command.accepted").await;
    }

    /// Waits until the change is told to the channel, as the so many-th.
    async fn set_template(&self, status: TemplateStatus, count: usize) {
        let template = Template { status, ..Template::default() };
        self.staffetta.provider.put_template("promo", template).unwrap();
        let told = until("the template's change", LIMIT, async || {
            let events = self.streams.events().await.ok()?;
            let own = |event: &&SeenEvent| {
                event.kind == "template.changed" && event.source.ends_with(ORDERS.channel)
            };
            (events.iter().filter(own).count() >= count).then_some(())
        });
        told.await.unwrap();
    }

    async fn end(&self, command: &Value, kind: &str) -> SeenEvent {
        let wanted = all(kind, std::slice::from_ref(command));
        let events = self.staffetta.told(self.streams, &wanted).await.unwrap();
        only(&events, kind, &wanted[0].1).clone()
    }

    async fn status_failed(&self, wamid: &str, code: i64) {
        let told = until("a failed status", LIMIT, async || {
            let events = self.streams.events().await.ok()?;
            let mut statuses = events.iter().filter(|event| event.is("message.status", wamid));
            statuses.find(|event| event.data["status"] == "failed").map(|event| event.data.clone())
        });
        let data = told.await.unwrap();
        assert!(data.to_string().contains(&code.to_string()), "{data}");
    }

    /// How many sends the provider has got.
    fn asked(&self) -> u64 {
        self.staffetta.provider.report(Detail::Figures).channels[ORDERS.phone_number_id].received
    }
}

#[tokio::test]
async fn an_operator_sees_a_stopped_channel_and_lets_it_go_on() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let none = hold(&staffetta, &["list"], 0).await;
    assert!(!none.contains(ORDERS.channel), "{none}");

    staffetta.provider.set_token(ORDERS.phone_number_id, "another token").unwrap();
    let commands = commands("held", 60, 6);
    acme.send_all(&commands).await.unwrap();
    let shown = until_hold(&acme, Value::is_object).await;
    assert_eq!((&shown["class"], &shown["code"]), (&"token".into(), &190.into()), "{shown}");
    let listed = hold(&staffetta, &["list"], 0).await;
    assert!(listed.contains("acme-orders") && listed.contains("190"), "{listed}");
    assert!(!listed.contains("another token") && !listed.contains("first-token"), "{listed}");

    // Lifted too early it is tried once, and stops again.
    let refused =
        || staffetta.provider.report(Detail::Figures).channels[ORDERS.phone_number_id].refused[&190];
    let before = refused();
    hold(&staffetta, &["lift", "acme-orders"], 0).await;
    let tried = async || (refused() > before).then_some(());
    until("it to be tried", LIMIT, tried).await.unwrap();
    until_hold(&acme, Value::is_object).await;
    assert_eq!(streams.waiting("SEND").await.unwrap(), 60);

    let right = RegistryText::default().token_of(ORDERS);
    staffetta.provider.set_token(ORDERS.phone_number_id, &right).unwrap();
    let lifted = hold(&staffetta, &["lift", "acme-orders"], 0).await;
    assert!(lifted.contains("acme-orders"), "{lifted}");
    let events = staffetta.told(&streams, &all("command.accepted", &commands)).await.unwrap();
    for (kind, id) in all("command.accepted", &commands) {
        assert_eq!(only(&events, kind, &id).data["attempt"], 1, "{id}: a stop spends no try");
    }
    staffetta.settled(&streams).await.unwrap();
    until_hold(&acme, Value::is_null).await;
    hold(&staffetta, &["lift", "acme-orders"], 1).await;
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), &commands);
    assert_eq!(streams.dead().await.unwrap(), []);
}

/// `staffetta hold`, which must end as it says; gives back what it printed.
async fn hold(staffetta: &Installation, arguments: &[&str], code: i32) -> String {
    let answer = staffetta.run(&[&["hold"], arguments].concat()).await.unwrap();
    assert_eq!(answer.code, Some(code), "{arguments:?}: {answer:?}");
    answer.stdout
}

/// Waits until the channel's `hold` in the API is such.
async fn until_hold(acme: &Tenant, such: fn(&Value) -> bool) -> Value {
    let shown = until("the channel's hold", LIMIT, async || {
        let (_, channels) = acme.read("/v1/channels").await.ok()?;
        let own = channels["items"].as_array()?.iter().find(|item| item["id"] == ORDERS.channel)?;
        such(&own["hold"]).then(|| own["hold"].clone())
    });
    shown.await.unwrap()
}
