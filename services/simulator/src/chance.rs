//! Randomness that a seed repeats, and the ids made from it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

/// What a generator is for: each purpose has a sequence of its own, so that one does not disturb another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Send = 1,
    Inbound = 2,
    Trace = 3,
    Stream = 4,
    Template = 5,
    Notice = 6,
    Media = 7,
    Content = 8,
    UserId = 9,
}

/// The generator for the `counter`th thing of one number. It depends on nothing else, so concurrent numbers
/// do not change each other's choices.
pub(crate) fn generator(seed: u64, number: &str, purpose: Purpose, counter: u64) -> SmallRng {
    // FNV-1a: stable across builds, which the standard library's hasher does not promise.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let bytes = seed.to_le_bytes().into_iter().chain(number.bytes()).chain([purpose as u8]);
    for byte in bytes.chain(counter.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    SmallRng::seed_from_u64(hash)
}

/// Whether something of this probability happens. Draws even when it is certain either way, so that a change
/// of one probability leaves later draws alone.
pub(crate) fn happens(rng: &mut SmallRng, probability: f64) -> bool {
    rng.random::<f64>() < probability
}

/// Who sent the message that a wamid names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    Inbound = 0x12,
    Outbound = 0x11,
}

/// A message id shaped like Meta's, with the user's number inside in clear.
pub(crate) fn wamid(rng: &mut SmallRng, peer: &str, direction: Direction) -> String {
    let mut id = [0_u8; 10];
    rng.fill_bytes(&mut id);
    let id = hex::encode_upper(id);
    let peer = &peer.as_bytes()[..peer.len().min(usize::from(u8::MAX))];
    let mut bytes = Vec::with_capacity(32 + peer.len());
    bytes.extend([0x1c, 0x18, u8::try_from(peer.len()).unwrap_or(u8::MAX)]);
    bytes.extend(peer);
    bytes.extend([0x15, 0x02, 0x00, direction as u8, 0x18, 20]);
    bytes.extend(id.as_bytes());
    bytes.push(0);
    format!("wamid.{}", STANDARD.encode(bytes))
}

/// A trace id shaped like those in Graph errors.
pub(crate) fn trace_id(rng: &mut SmallRng) -> String {
    let mut bytes = [0_u8; 16];
    rng.fill_bytes(&mut bytes);
    format!("A{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wamid_holds_the_peer_and_an_id() {
        let mut rng = generator(7, "100", Purpose::Send, 1);
        let id = wamid(&mut rng, "393481213456", Direction::Outbound);
        let bytes = STANDARD.decode(id.strip_prefix("wamid.").unwrap()).unwrap();
        assert_eq!(bytes[..3], [0x1c, 0x18, 12]);
        assert_eq!(&bytes[3..15], b"393481213456");
        assert_eq!(bytes[15..21], [0x15, 0x02, 0x00, 0x11, 0x18, 20]);
        assert!(bytes[21..41].iter().all(u8::is_ascii_hexdigit));
        assert_eq!(bytes[41..], [0]);
        assert!((58..=78).contains(&id.len()), "seen at Meta: 58 to 78 characters, here {}", id.len());
    }

    #[test]
    fn the_same_seed_repeats_and_anything_else_does_not() {
        let draw = |seed, number, counter| {
            wamid(&mut generator(seed, number, Purpose::Send, counter), "1", Direction::Outbound)
        };
        assert_eq!(draw(7, "100", 1), draw(7, "100", 1));
        assert_ne!(draw(7, "100", 1), draw(8, "100", 1));
        assert_ne!(draw(7, "100", 1), draw(7, "101", 1));
        assert_ne!(draw(7, "100", 1), draw(7, "100", 2));
    }
}
