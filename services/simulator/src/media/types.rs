//! What may be uploaded, by type and size, and what it is sent as.

use super::Upload;
use crate::graph_error::GraphError;

/// No file may be larger.
pub(crate) const LARGEST_FILE: usize = 100 * MB;
pub(super) const MB: usize = 1024 * KB;
pub(super) const KB: usize = 1024;

/// What a file of this type is sent as, and the most that it may hold.
pub(super) fn kinds(mime: &str) -> Option<(&'static str, usize)> {
    const OOXML: &str = "application/vnd.openxmlformats-officedocument.";
    Some(match mime {
        "image/jpeg" | "image/png" => ("image", 5 * MB),
        "image/webp" => ("sticker", 500 * KB),
        "video/mp4" | "video/3gpp" => ("video", 16 * MB),
        "audio/aac" | "audio/amr" | "audio/mpeg" | "audio/mp4" | "audio/ogg" => ("audio", 16 * MB),
        "text/plain"
        | "application/pdf"
        | "application/msword"
        | "application/vnd.ms-excel"
        | "application/vnd.ms-powerpoint" => ("document", LARGEST_FILE),
        other => match other.strip_prefix(OOXML)? {
            "wordprocessingml.document" | "spreadsheetml.sheet" | "presentationml.presentation" => {
                ("document", LARGEST_FILE)
            }
            _ => return None,
        },
    })
}

/// A MIME type without its parameters.
pub(super) fn essence(mime: &str) -> &str {
    mime.split(';').next().unwrap_or_default().trim()
}

/// Whether a WebP file says that it moves.
fn is_animated(bytes: &[u8]) -> bool {
    bytes.get(12..16) == Some(b"VP8X") && bytes.get(20).is_some_and(|flags| flags & 0x02 != 0)
}

/// Fails on a type that is not taken and on a file that is too large for its type.
pub(super) fn check(upload: &Upload) -> Result<(), GraphError> {
    let Upload { kind, mime, bytes } = upload;
    let taken = |mime: &str| kinds(essence(mime)).is_some();
    // Meta's page wants a MIME type in the form too, but clients in wide use name the kind alone.
    let named = ["image", "sticker", "video", "audio", "document"].contains(&kind.as_str());
    if !taken(mime) || !(named || taken(kind)) {
        let refused = if taken(mime) { kind } else { mime };
        return Err(GraphError::parameter(format!(
            "Param file must be a file with one of the following types: audio/aac, audio/mp4, audio/mpeg, audio/amr, \
             audio/ogg, application/vnd.ms-powerpoint, application/msword, \
             application/vnd.openxmlformats-officedocument.*, application/pdf, text/plain, application/vnd.ms-excel, \
             image/jpeg, image/png, image/webp, video/mp4, video/3gpp. Received file of type '{refused}'."
        )));
    }
    let most = match kinds(essence(mime)) {
        Some(("sticker", _)) if !is_animated(bytes) => 100 * KB,
        known => known.map_or(0, |(_, most)| most),
    };
    match bytes.len() {
        0 => Err(GraphError::parameter("Param file must not be empty.")),
        size if size > most => {
            Err(GraphError::parameter(format!("Param file must be at most {most} bytes large.")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(mime: &str, size: usize) -> Upload {
        Upload { kind: mime.to_owned(), mime: mime.to_owned(), bytes: vec![0; size].into() }
    }

    #[test]
    fn each_type_has_its_limit() {
        for (mime, most) in [
            ("image/png", 5 * MB),
            ("image/webp", 100 * KB),
            ("video/mp4", 16 * MB),
            ("audio/ogg; codecs=opus", 16 * MB),
        ] {
            assert!(check(&upload(mime, most)).is_ok(), "{mime}");
            assert_eq!(check(&upload(mime, most + 1)).unwrap_err().code, 100, "{mime}");
        }
        for mime in
            ["image/gif", "application/octet-stream", "", "application/vnd.openxmlformats-officedocument."]
        {
            assert_eq!(check(&upload(mime, 1)).unwrap_err().code, 100, "{mime}");
        }
        let named = |kind: &str, mime| Upload { kind: kind.to_owned(), ..upload(mime, 1) };
        assert!(check(&named("image", "image/png")).is_ok());
        assert_eq!(check(&named("image", "image")).unwrap_err().code, 100, "the file's own type is one");
        assert_eq!(check(&named("picture", "image/png")).unwrap_err().code, 100);
        assert_eq!(check(&upload("image/png", 0)).unwrap_err().code, 100);
        let mut sticker = b"RIFF____WEBPVP8X____\x02".to_vec();
        sticker.resize(500 * KB, 0);
        assert!(check(&Upload { bytes: sticker.into(), ..upload("image/webp", 0) }).is_ok(), "it moves");
    }
}
