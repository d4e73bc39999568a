//! Files: what a business uploaded to send, and what users sent.

mod shelf;
mod types;

pub(crate) use shelf::Shelf;
pub(crate) use types::LARGEST_FILE;

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rand::{Rng as _, RngCore as _};
use serde_json::{Map, Value, json};

use self::shelf::File;
use self::types::{KB, check};
use crate::chance::{Purpose, generator};
use crate::control::ControlError;
use crate::graph_error::GraphError;
use crate::options::MediaLife;
use crate::world::{Channel, State, World, unix_ms};

/// Where files are downloaded from.
pub(crate) const DOWNLOADS: &str = "/whatsapp_business/attachments/";

/// What a form asks to keep.
#[derive(Debug)]
pub(crate) struct Upload {
    /// What the form's `type` says.
    pub(crate) kind: String,
    /// What the file's own part says.
    pub(crate) mime: String,
    pub(crate) bytes: Bytes,
}

/// What a lookup tells.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) link: String,
    pub(crate) mime: String,
    pub(crate) sha256: Vec<u8>,
    pub(crate) size: usize,
}

/// The parts of a link that a lookup told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Download<'a> {
    pub(crate) id: &'a str,
    pub(crate) until: &'a str,
    pub(crate) hash: &'a str,
}

impl World {
    /// Keeps what a business uploads, and gives back its id. The number must be known to be the caller's.
    pub(crate) fn upload(&self, number: &str, upload: Upload) -> Result<String, GraphError> {
        check(&upload)?;
        let sha256 = digest(&SHA256, &upload.bytes).as_ref().to_vec();
        let (now, mut state) = (self.now(), self.state());
        let State { channels, behaviour, shelf, .. } = &mut *state;
        let channel = channels.get_mut(number).ok_or_else(|| GraphError::unknown_object(number))?;
        channel.ledger.media.uploaded += 1;
        let life = channel.behaviour.as_ref().unwrap_or(behaviour).media.uploaded_ms;
        let file = (upload.mime, sha256, upload.bytes);
        Ok(keep(self.seed, channel, shelf, file, (now, life)))
    }

    /// Keeps what a user will send, and gives back its id. Fails on an unknown number.
    pub(crate) fn put_media(&self, number: &str, mime: String, bytes: Bytes) -> Result<String, ControlError> {
        let sha256 = digest(&SHA256, &bytes).as_ref().to_vec();
        let (now, mut state) = (self.now(), self.state());
        let State { channels, behaviour, shelf, .. } = &mut *state;
        let channel = channels.get_mut(number).ok_or(ControlError::UnknownNumber)?;
        let life = channel.behaviour.as_ref().unwrap_or(behaviour).media.received_ms;
        Ok(keep(self.seed, channel, shelf, (mime, sha256, bytes), (now, life)))
    }

    /// What is known of a file, if the token reaches it, and a link that lives for a while.
    pub(crate) fn look_up(
        &self,
        id: &str,
        token: Option<&str>,
        number: Option<&str>,
    ) -> Result<Seen, GraphError> {
        let (now, mut state) = (self.now(), self.state());
        let State { channels, behaviour, shelf, .. } = &mut *state;
        let (file, channel) = reach(channels, shelf, (id, now), (token, number))?;
        channel.ledger.media.looked_up += 1;
        let MediaLife { url_ms, .. } = channel.behaviour.as_ref().unwrap_or(behaviour).media;
        let until = unix_ms().saturating_add(url_ms).to_string();
        let hash = hex::encode(hmac::sign(&self.link_key(), format!("{id} {until}").as_bytes()));
        Ok(Seen {
            link: format!("{DOWNLOADS}?mid={id}&source=getMedia&ext={until}&hash={hash}"),
            mime: file.mime.clone(),
            sha256: file.sha256.clone(),
            size: file.bytes.len(),
        })
    }

    pub(crate) fn delete_file(
        &self,
        id: &str,
        token: Option<&str>,
        number: Option<&str>,
    ) -> Result<(), GraphError> {
        let (now, mut state) = (self.now(), self.state());
        let State { channels, shelf, .. } = &mut *state;
        let (_, channel) = reach(channels, shelf, (id, now), (token, number))?;
        channel.ledger.media.deleted += 1;
        shelf.remove(id);
        Ok(())
    }

    /// The file behind a link and its type; nothing when the link is over or made up, or the token can't reach
    /// the file.
    pub(crate) fn download(&self, link: Download<'_>, token: Option<&str>) -> Option<(String, Bytes)> {
        let Download { id, until, hash } = link;
        hmac::verify(&self.link_key(), format!("{id} {until}").as_bytes(), &hex::decode(hash).ok()?).ok()?;
        if until.parse().ok().is_none_or(|until: u64| until <= unix_ms()) {
            return None;
        }
        let (now, mut state) = (self.now(), self.state());
        let State { channels, shelf, .. } = &mut *state;
        let (file, channel) = reach(channels, shelf, (id, now), (token, None)).ok()?;
        channel.ledger.media.downloaded += 1;
        Some((file.mime.clone(), file.bytes.clone()))
    }

    fn link_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.seed.to_le_bytes())
    }
}

/// The file and its number, if the token is that number's and `number` names no other. A token that is nobody's
/// is refused as such; any other failure tells nothing of what there is.
fn reach<'a>(
    channels: &'a mut HashMap<Arc<str>, Channel>,
    shelf: &'a Shelf,
    (id, now): (&str, u64),
    (token, number): (Option<&str>, Option<&str>),
) -> Result<(&'a File, &'a mut Channel), GraphError> {
    let token = token.ok_or_else(|| GraphError::of(190))?;
    if !channels.values().any(|channel| channel.config.access_token == token) {
        return Err(GraphError::of(190));
    }
    let file = shelf.get(id, now).ok_or_else(|| GraphError::unknown_object(id))?;
    let channel = channels.get_mut(&file.number).filter(|channel| channel.config.access_token == token);
    let channel = channel.ok_or_else(|| GraphError::unknown_object(id))?;
    if number.is_some_and(|number| *number != *file.number) {
        return Err(GraphError::parameter(
            "Param phone_number_id is not the number that the media belongs to.",
        ));
    }
    Ok((file, channel))
}

/// Puts a file on the shelf for `life` milliseconds, and gives back its id.
fn keep(
    seed: u64,
    channel: &mut Channel,
    shelf: &mut Shelf,
    (mime, sha256, bytes): (String, Vec<u8>, Bytes),
    (now, life): (u64, u64),
) -> String {
    channel.files += 1;
    let number = channel.config.phone_number_id.as_str();
    let mut rng = generator(seed, number, Purpose::Media, channel.files);
    let id = rng.random_range(100_000_000_000_000_u64..1 << 50).to_string();
    let until = now.saturating_add(life.saturating_mul(1000));
    shelf.put(&id, File { number: number.into(), mime, sha256, bytes, until });
    id
}

/// Completes the media object of a user's message: without an id a small file is made up for it; with the id of
/// a file that was put before, its type and digest are told.
pub(crate) fn complete(
    seed: u64,
    channel: &mut Channel,
    shelf: &mut Shelf,
    message: &mut Map<String, Value>,
    (now, life): (u64, u64),
) {
    let Some(kind) = message.get("type").and_then(Value::as_str).map(str::to_owned) else { return };
    let usual = match kind.as_str() {
        "image" => "image/jpeg",
        "video" => "video/mp4",
        "audio" => "audio/ogg; codecs=opus",
        "document" => "application/pdf",
        "sticker" => "image/webp",
        _ => return,
    };
    let Value::Object(media) = message.entry(kind).or_insert_with(|| json!({})) else { return };
    if !media.contains_key("id") {
        let mime = media.get("mime_type").and_then(Value::as_str).unwrap_or(usual).to_owned();
        let mut bytes = vec![0; KB];
        let number = &channel.config.phone_number_id;
        generator(seed, number, Purpose::Content, channel.files).fill_bytes(&mut bytes);
        let sha256 = digest(&SHA256, &bytes).as_ref().to_vec();
        let id = keep(seed, channel, shelf, (mime, sha256, bytes.into()), (now, life));
        media.insert("id".to_owned(), json!(id));
    }
    let id = media.get("id").and_then(Value::as_str).unwrap_or_default();
    let Some(file) = shelf.get(id, now).filter(|file| *file.number == *channel.config.phone_number_id) else {
        return;
    };
    media.entry("mime_type").or_insert_with(|| json!(file.mime));
    media.entry("sha256").or_insert_with(|| json!(STANDARD.encode(&file.sha256)));
}
