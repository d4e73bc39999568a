//! What a webhook brought is told in its trace, and what becomes of a command in the command's; and what is counted.

use serde_json::{Value, json};
use staffetta_bus::trace_of;
use staffetta_domain::{Callback, TraceParent};
use staffetta_proto::json::to_timestamp;
use staffetta_proto::v1::{Provider, RawWebhook, WebhookEnvelope};
use staffetta_runtime::config::TelemetryConfig;
use staffetta_runtime::telemetry::Telemetry;
use staffetta_store::Claim;
use staffetta_testkit::until;

use crate::harness::{Kind, LIMIT, World, body, claim, status, text};
use crate::on_both;

on_both!(what_a_webhook_brings_is_told_in_its_trace, what_becomes_of_a_command_is_told_in_the_commands_trace,);

fn trace(number: u8) -> TraceParent {
    TraceParent::new([number; 16], [number; 8], 1).unwrap()
}

fn webhook(body: &Value, traceparent: &str) -> RawWebhook {
    RawWebhook {
        id: "w".into(),
        provider: Provider::Meta.into(),
        source: "meta-main".into(),
        received_at: Some(to_timestamp(jiff::Timestamp::now())),
        body: body.to_string().into(),
        traceparent: traceparent.into(),
        ..RawWebhook::default()
    }
}

/// A status of the message that this command became.
fn answered(wamid: &str, name: &str, command: &str) -> Value {
    let mut status = status(wamid, name);
    let callback = Callback::new(&"acme".parse().unwrap(), command.parse().unwrap(), 1);
    status["biz_opaque_callback_data"] = json!(callback.encode());
    status
}

/// The kind of each event on EVENTS and its trace, in order.
async fn told(world: &World) -> Vec<(String, Option<TraceParent>)> {
    let kind = |subject: &str| subject.rsplit('.').next().unwrap().to_owned();
    let messages = world.messages("EVENTS").await;
    messages.iter().map(|told| (kind(&told.subject), trace_of(told.headers.as_ref()))).collect()
}

async fn what_a_webhook_brings_is_told_in_its_trace(kind: Kind) {
    let mut world = World::new(kind).await;
    world.start_recorder().await;
    let message = |wamid: &str| body("100", &json!({"messages": [text("39", wamid)]}));
    let webhooks = vec![
        webhook(&message("wamid.A"), &trace(1).to_string()),
        webhook(&message("wamid.B"), ""),
        webhook(&message("wamid.C"), "00-no-trace"),
        webhook(&message("wamid.D"), &trace(2).to_string()),
    ];
    world.publish_envelope(&WebhookEnvelope { webhooks }).await;
    world.settled().await;
    let expected = [Some(trace(1)), None, None, Some(trace(2))];
    assert_eq!(told(&world).await, expected.map(|trace| ("message-received".to_owned(), trace)));
    world.stop().await;
}

async fn what_becomes_of_a_command_is_told_in_the_commands_trace(kind: Kind) {
    let mut world = World::new(kind).await;
    world.start_recorder().await;
    let traced = Claim { trace: Some(trace(7)), ..claim("order-1") };
    world.store.claim(&[traced, claim("order-2")]).await.unwrap();
    let lists = json!({
        "messages": [text("39", "wamid.A")],
        "statuses": [answered("wamid.B", "sent", "order-1"), answered("wamid.C", "sent", "order-2")],
    });
    let read = json!({"statuses": [answered("wamid.B", "read", "order-1")]});
    let webhooks = vec![
        webhook(&body("100", &lists), &trace(1).to_string()),
        webhook(&body("100", &read), &trace(2).to_string()),
    ];
    world.publish_envelope(&WebhookEnvelope { webhooks }).await;
    world.settled().await;
    let mut told = told(&world).await;
    told.sort_by_key(|(kind, trace)| (kind.clone(), trace.map(|trace| trace.trace_id())));
    let expected = [
        ("command-accepted", trace(1)),
        ("command-accepted", trace(7)),
        ("message-received", trace(1)),
        ("message-status", trace(1)),
        ("message-status", trace(7)),
        ("message-status", trace(7)),
    ];
    assert_eq!(told, expected.map(|(kind, trace)| (kind.to_owned(), Some(trace))));
    world.stop().await;
}

#[tokio::test]
async fn what_is_new_is_counted_once_and_nothing_of_a_message_is_in_the_figures() {
    let telemetry = Telemetry::start(&TelemetryConfig::default(), "test").unwrap();
    let mut world = World::new(Kind::Sqlite).await;
    world.apply(
        "tenant = [{ id = \"counted\" }]
         channel = [{ id = \"counted-shop\", tenant = \"counted\", provider = \"cloud_api\", phone_number_id = \"300\" }]",
    )
    .await;
    world.start_recorder().await;
    let lists = json!({
        "messages": [text("39", "wamid.A"), text("39", "wamid.B")],
        "statuses": [status("wamid.S", "sent"), status("wamid.S", "warmed_up"), status("wamid.S", "read")],
    });
    for _ in 0..3 {
        world.publish(&[body("300", &lists)]).await;
        world.settled().await;
    }
    let shop = r#"channel="counted-shop""#;
    let wanted = [
        format!("staffetta_channel_received_total{{{shop},tenant=\"counted\"}} 2"),
        format!("staffetta_channel_statuses_total{{{shop},status=\"sent\",tenant=\"counted\"}} 1"),
        format!("staffetta_channel_statuses_total{{{shop},status=\"read\",tenant=\"counted\"}} 1"),
        format!("staffetta_channel_statuses_total{{{shop},status=\"other\",tenant=\"counted\"}} 1"),
        "staffetta_events_announced_total{kind=\"message-received\"}".to_owned(),
        "staffetta_events_announced_total{kind=\"message-status\"}".to_owned(),
        "staffetta_outbox_events ".to_owned(),
        "staffetta_outbox_oldest_seconds ".to_owned(),
        "db_client_operation_duration_seconds_count{db_operation_name=\"record\",db_system_name=\"sqlite\"}"
            .to_owned(),
        "db_client_connection_count{db_client_connection_state=\"idle\"}".to_owned(),
        "db_client_connection_count{db_client_connection_state=\"used\"}".to_owned(),
        "db_client_connection_max ".to_owned(),
        "messaging_client_operation_duration_seconds_count{messaging_destination_name=\"EVENTS\",\
         messaging_operation_name=\"publish\",messaging_system=\"nats\"}"
            .to_owned(),
    ];
    let figures = until("the figures", LIMIT, async || {
        let figures = telemetry.render().unwrap();
        let missing = wanted.iter().find(|wanted| !figures.contains(wanted.as_str()));
        missing.is_none().then_some(figures)
    });
    let figures = match figures.await {
        Ok(figures) => figures,
        Err(_) => panic!("{wanted:#?} not all in\n{}", telemetry.render().unwrap()),
    };
    assert!(!figures.contains("wamid") && !figures.contains("393481213456"), "{figures}");
    world.stop().await;
}
