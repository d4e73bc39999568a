//! Files: uploaded, looked up, downloaded, sent and received.

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};
use staffetta_simulator::{Behaviour, Detail, InboundMessage, MediaLife};

use crate::code;
use crate::harness::{NUMBER, TOKEN, USER, World, channel};

const OTHER: &str = "106540352242923";

/// A form as clients write it; parts are `name`, the headers' rest, value.
fn form(parts: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, rest, value) in parts {
        let head = format!("--line\r\nContent-Disposition: form-data; name=\"{name}\"{rest}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--line--\r\n");
    body
}

const PRODUCT: (&str, &str, &[u8]) = ("messaging_product", "", b"whatsapp");
const TYPE: (&str, &str, &[u8]) = ("type", "", b"image/png");
const FILE: (&str, &str, &[u8]) =
    ("file", "; filename=\"a.png\"\r\nContent-Type: image/png", b"bytes of a picture");

impl World {
    async fn upload(&self, number: &str, parts: &[(&str, &str, &[u8])]) -> (u16, Value) {
        let request = self
            .client
            .post(self.url(&format!("/v23.0/{number}/media")))
            .bearer_auth(TOKEN)
            .header("content-type", "multipart/form-data; boundary=line")
            .body(form(parts));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn uploaded(&self) -> String {
        let (status, answer) = self.upload(NUMBER, &[PRODUCT, TYPE, FILE]).await;
        assert_eq!(status, 200, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        self.ask(Method::GET, path, token).await
    }

    async fn ask(&self, method: Method, path: &str, token: &str) -> (u16, Value) {
        let response = self.client.request(method, self.url(path)).bearer_auth(token).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn download(&self, url: &Value, token: &str) -> (u16, Vec<u8>) {
        let response = self.client.get(url.as_str().unwrap()).bearer_auth(token).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    /// Another number with a token of its own.
    fn with_other(self) -> Self {
        let mut other = channel(80);
        other.phone_number_id = OTHER.to_owned();
        other.access_token = "token-b".to_owned();
        self.simulator.put_channel(other).unwrap();
        self
    }
}

fn image(to: &str, id: &str) -> Value {
    json!({"messaging_product": "whatsapp", "to": to, "type": "image", "image": {"id": id}})
}

#[tokio::test]
async fn an_uploaded_file_can_be_looked_up_downloaded_sent_and_deleted() {
    let world = World::start().await;
    let id = world.uploaded().await;
    assert!(id.bytes().all(|byte| byte.is_ascii_digit()), "like Meta's: {id}");

    let (status, seen) = world.get(&format!("/v23.0/{id}?phone_number_id={NUMBER}"), TOKEN).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&seen["id"], &seen["mime_type"], &seen["file_size"], &seen["messaging_product"]),
        (&json!(id), &json!("image/png"), &json!(18), &json!("whatsapp"))
    );
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, FILE.2);
    assert_eq!(seen["sha256"], hex::encode(digest));
    assert_eq!(world.download(&seen["url"], TOKEN).await, (200, FILE.2.to_vec()));

    assert_eq!(world.send(&image(USER, &id)).await.0, 200);
    assert_eq!(
        world.ask(Method::DELETE, &format!("/v23.0/{id}"), TOKEN).await,
        (200, json!({"success": true}))
    );
    let (status, answer) = world.get(&format!("/v23.0/{id}"), TOKEN).await;
    assert_eq!((status, code(&answer), &answer["error"]["error_subcode"]), (400, 100, &json!(33)));
    assert_eq!(world.download(&seen["url"], TOKEN).await.0, 404);
    let (status, answer) = world.send(&image(USER, &id)).await;
    assert_eq!((status, code(&answer)), (400, 100));

    let report = world.simulator.report(Detail::Sends);
    let channel = &report.channels[NUMBER];
    let media = channel.media;
    assert_eq!((media.uploaded, media.looked_up, media.downloaded, media.deleted), (1, 1, 1, 1));
    assert_eq!(channel.sends.as_ref().unwrap()[0].media_id.as_deref(), Some(id.as_str()));
}

#[tokio::test]
async fn an_upload_must_be_whole() {
    let world = World::start().await;
    for parts in [
        &[TYPE, FILE][..],
        &[PRODUCT, FILE],
        &[PRODUCT, TYPE],
        &[("messaging_product", "", b"sms"), TYPE, FILE],
        &[PRODUCT, ("type", "", b"image/gif"), FILE],
        &[PRODUCT, TYPE, ("file", "\r\nContent-Type: image/png", b"no name")],
        &[PRODUCT, TYPE, ("file", "; filename=\"a.png\"", b"no type")],
        &[PRODUCT, TYPE, FILE, ("ttl_minutes", "", b"59")],
        &[PRODUCT, TYPE, FILE, ("tll_minutes", "", b"60")],
    ] {
        let (status, answer) = world.upload(NUMBER, parts).await;
        assert_eq!((status, code(&answer)), (400, 100), "{answer}");
    }
    let large = vec![0; 5 * 1024 * 1024 + 1];
    let (status, answer) = world.upload(NUMBER, &[PRODUCT, TYPE, (FILE.0, FILE.1, &large)]).await;
    assert_eq!((status, code(&answer)), (400, 100));
    assert_eq!(world.upload(NUMBER, &[PRODUCT, TYPE, (FILE.0, FILE.1, &large[1..])]).await.0, 200);
    assert_eq!(code(&world.upload(OTHER, &[PRODUCT, TYPE, FILE]).await.1), 100);
    let form = world.client.post(world.url(&format!("/v23.0/{NUMBER}/media"))).bearer_auth("wrong");
    assert_eq!(form.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_file_is_its_number_s_alone() {
    let world = World::start().await.with_other();
    let id = world.uploaded().await;
    let (status, answer) = world.get(&format!("/v23.0/{id}?phone_number_id={OTHER}"), TOKEN).await;
    assert_eq!((status, code(&answer), answer["error"].get("error_subcode")), (400, 100, None));
    let (status, answer) = world.get(&format!("/v23.0/{id}"), "token-b").await;
    assert_eq!((status, code(&answer), &answer["error"]["error_subcode"]), (400, 100, &json!(33)));
    assert_eq!(world.get(&format!("/v23.0/{id}"), "wrong").await.0, 401);
    assert_eq!(world.ask(Method::DELETE, &format!("/v23.0/{id}"), "token-b").await.0, 400);
    let url = world.get(&format!("/v23.0/{id}"), TOKEN).await.1["url"].clone();
    assert_eq!(world.download(&url, "token-b").await.0, 404);
    assert_eq!(world.client.get(url.as_str().unwrap()).send().await.unwrap().status(), 404);
    let forged = json!(url.as_str().unwrap().replace("ext=1", "ext=2"));
    assert_eq!(world.download(&forged, TOKEN).await.0, 404);

    let sent = world.client.post(world.url(&format!("/v23.0/{OTHER}/messages"))).bearer_auth("token-b");
    let answer: Value = sent.json(&image(USER, &id)).send().await.unwrap().json().await.unwrap();
    assert_eq!(code(&answer), 100);
    assert!(answer["error"]["error_data"]["details"].as_str().unwrap().contains("media attachment ID"));
}

#[tokio::test]
async fn a_link_and_a_file_have_their_time() {
    let life = |url_ms, uploaded_ms| Behaviour {
        media: MediaLife { url_ms, uploaded_ms, ..MediaLife::default() },
        ..Behaviour::default()
    };
    let world = World::with(life(0, 60_000), 80).await;
    let id = world.uploaded().await;
    let url = world.get(&format!("/v23.0/{id}"), TOKEN).await.1["url"].clone();
    assert_eq!(world.download(&url, TOKEN).await.0, 404, "the link's time is over");
    world.simulator.set_behaviour(life(60_000, 0)).unwrap();
    let url = world.get(&format!("/v23.0/{id}"), TOKEN).await.1["url"].clone();
    assert_eq!(world.download(&url, TOKEN).await.0, 200);
    let id = world.uploaded().await;
    assert_eq!(world.get(&format!("/v23.0/{id}"), TOKEN).await.0, 400, "the file's time is over");
}

#[tokio::test]
async fn a_file_of_the_wrong_kind_fails_later() {
    let world = World::start().await;
    let id = world.uploaded().await;
    let audio = json!({"messaging_product": "whatsapp", "to": USER, "type": "audio", "audio": {"id": id}});
    assert_eq!(world.send(&audio).await.0, 200);
    let statuses = world.receiver.statuses(1).await;
    assert_eq!(
        (&statuses[0]["status"], &statuses[0]["errors"][0]["code"]),
        (&json!("failed"), &json!(131_053))
    );

    let document = json!({"messaging_product": "whatsapp", "to": USER, "type": "template", "template": {
        "name": "avviso", "language": {"code": "it"}, "components": [
            {"type": "header", "parameters": [{"type": "document", "document": {"id": "1"}}]}]}});
    assert_eq!(code(&world.send(&document).await.1), 100, "files are looked for in templates too");
}

async fn receive(world: &World, message: Value) -> Value {
    let before = world.receiver.until(|_| true).await.len();
    let message = message.as_object().cloned();
    let inbound = InboundMessage {
        phone_number_id: NUMBER.to_owned(),
        from: USER.to_owned(),
        name: None,
        text: None,
        message,
    };
    world.simulator.inbound(inbound).unwrap();
    world.receiver.until(|posts| posts.len() > before).await[before].all("messages")[0].clone()
}

#[tokio::test]
async fn what_a_user_sends_can_be_fetched() {
    let world = World::start().await;
    let path = format!("/_sim/media/{NUMBER}");
    let put = world.client.post(world.url(&path)).header("content-type", "image/jpeg").body("a photo");
    let id = put.send().await.unwrap().json::<Value>().await.unwrap()["id"].clone();
    let image =
        receive(&world, json!({"type": "image", "image": {"id": id, "caption": "ecco"}})).await["image"]
            .clone();
    assert_eq!((&image["mime_type"], &image["caption"]), (&json!("image/jpeg"), &json!("ecco")));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"a photo");
    assert_eq!(image["sha256"], base64::engine::general_purpose::STANDARD.encode(digest));
    let (_, seen) = world.get(&format!("/v23.0/{}", id.as_str().unwrap()), TOKEN).await;
    assert_eq!(world.download(&seen["url"], TOKEN).await, (200, b"a photo".to_vec()));

    let voice = receive(&world, json!({"type": "audio", "audio": {"voice": true}})).await["audio"].clone();
    assert_eq!(voice["mime_type"], "audio/ogg; codecs=opus");
    let (status, seen) = world.get(&format!("/v23.0/{}", voice["id"].as_str().unwrap()), TOKEN).await;
    assert_eq!((status, &seen["file_size"]), (200, &json!(1024)), "one was made up");
    assert_eq!(world.download(&seen["url"], TOKEN).await.0, 200);

    let unknown = receive(&world, json!({"type": "image", "image": {"id": "1"}})).await;
    assert_eq!(unknown["image"], json!({"id": "1"}), "a file that nobody put stays unknown");
    let (status, _) = world.control(Method::POST, "/_sim/media/9", json!({})).await;
    assert_eq!(status, 404);
}
