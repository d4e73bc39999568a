//! Where a page ended, as an opaque text.
//!
//! It says a moment and a number, nothing of anybody, and is bound to the list that it was made for: a text that was
//! changed, or belongs to another tenant's or another conversation's list, is none here. What it leads to is looked up
//! as the caller's, whatever it says.

use aws_lc_rs::digest;
use jiff::Timestamp;

use crate::query::InvalidParameter;

/// How many bytes tell that a cursor belongs to its list.
const CHECK: usize = 8;

/// The beginning of the year 1. Some databases know no moment long before.
const EARLIEST: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// Writes the place. `list` names the list, the tenant included.
pub(crate) fn write(list: &[&str], at: Timestamp, number: i64) -> String {
    sealed(list, at, &number.to_be_bytes())
}

/// Reads what [`write()`] wrote for the same list.
pub(crate) fn read(list: &[&str], text: &str) -> Result<(Timestamp, i64), InvalidParameter> {
    let (at, number) = opened(list, text).ok_or_else(wrong)?;
    let number = number.try_into().map_err(|_| wrong())?;
    Ok((at, i64::from_be_bytes(number)))
}

/// Writes a place that a name tells from others of the same moment.
pub(crate) fn write_named(list: &[&str], at: Timestamp, name: &str) -> String {
    sealed(list, at, name.as_bytes())
}

/// Reads what [`write_named()`] wrote for the same list.
pub(crate) fn read_named(list: &[&str], text: &str) -> Result<(Timestamp, String), InvalidParameter> {
    let (at, name) = opened(list, text).ok_or_else(wrong)?;
    Ok((at, String::from_utf8(name).map_err(|_| wrong())?))
}

/// What whoever shows anything else is told.
pub(crate) fn wrong() -> InvalidParameter {
    InvalidParameter::new("cursor", "must be the `next` of an earlier page of this list, as it was")
}

fn sealed(list: &[&str], at: Timestamp, place: &[u8]) -> String {
    let mut bytes = at.as_microsecond().to_be_bytes().to_vec();
    bytes.extend(place);
    let check = check(list, &bytes);
    bytes.extend(check);
    hex::encode(bytes)
}

fn opened(list: &[&str], text: &str) -> Option<(Timestamp, Vec<u8>)> {
    let bytes = hex::decode(text).ok()?;
    let (told, told_check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK)?)?;
    if told_check != check(list, told) {
        return None;
    }
    let (at, place) = told.split_at_checked(8)?;
    let at = Timestamp::from_microsecond(i64::from_be_bytes(at.try_into().ok()?)).ok()?;
    (at >= EARLIEST).then(|| (at, place.to_vec()))
}

/// No secret: it keeps mistakes out, not the tenant, who may read the whole list anyway.
fn check(list: &[&str], place: &[u8]) -> [u8; CHECK] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in list {
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    context.update(place);
    let mut check = [0; CHECK];
    check.copy_from_slice(&context.finish().as_ref()[..CHECK]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_by_its_own_list_alone() {
        let at = Timestamp::from_microsecond(1_790_000_000_123_456).unwrap();
        let cursor = write(&["acme", "conversations"], at, 42);
        assert_eq!(read(&["acme", "conversations"], &cursor), Ok((at, 42)));
        assert!(read(&["other", "conversations"], &cursor).is_err());
        assert!(read(&["acme", "messages"], &cursor).is_err());
    }

    #[test]
    fn a_name_is_a_place_too() {
        let at = Timestamp::from_microsecond(1_790_000_000_123_456).unwrap();
        let cursor = write_named(&["acme", "sent"], at, "inv/1");
        assert_eq!(read_named(&["acme", "sent"], &cursor), Ok((at, "inv/1".to_owned())));
        assert!(read_named(&["other", "sent"], &cursor).is_err());
        assert!(read(&["acme", "sent"], &cursor).is_err());
    }

    #[test]
    fn what_was_changed_is_no_cursor() {
        let list = ["acme", "conversations"];
        let cursor = write(&list, Timestamp::UNIX_EPOCH, 42);
        for at in 0..cursor.len() {
            let mut changed = cursor.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert!(read(&list, &String::from_utf8(changed).unwrap()).is_err(), "{at}");
        }
        assert!(read(&list, &write(&list, Timestamp::MIN, 42)).is_err());
        for wrong in ["", "0", "00", "zz", "è", &cursor[2..], &format!("{cursor}00"), &cursor.repeat(1000)] {
            assert_eq!(read(&list, wrong).unwrap_err().name, "cursor");
        }
    }
}
