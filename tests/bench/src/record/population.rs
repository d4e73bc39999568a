//! Who speaks: tenants, their channels, the users of each channel.

/// The app that the webhooks come through.
pub(super) const APP: &str = "bench";
/// What signs them.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// How many there are of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Population {
    pub(super) tenants: usize,
    pub(super) channels: usize,
    /// Each writes to one channel.
    pub(super) users: usize,
}

impl Population {
    /// A user of a channel, the `n`th, round and round. The user's number tells the channel: it is the remainder.
    pub(super) fn user_of(self, channel: usize, n: usize) -> usize {
        let of_channel = (self.users + self.channels - 1 - channel) / self.channels;
        channel + self.channels * (n % of_channel)
    }

    /// What `staffetta apply` reads.
    pub(super) fn registry(self) -> String {
        let mut registry = format!(
            "[[app]]\nid = \"{APP}\"\napp_secret = \"{SECRET}\"\nverify_token = \"a token for benchmarks\"\n"
        );
        for tenant in 0..self.tenants {
            // As tenants are: some read JSON, the others what they get unasked.
            let encoding = if tenant % 2 == 0 { "json" } else { "protobuf" };
            registry += &format!("[[tenant]]\nid = \"t{tenant}\"\nencoding = \"{encoding}\"\n");
        }
        for channel in 0..self.channels {
            registry += &format!(
                "[[channel]]\nid = \"c{channel}\"\ntenant = \"t{}\"\nprovider = \"cloud_api\"\napp = \"{APP}\"\n\
                 waba_id = \"{}\"\nphone_number_id = \"{}\"\ndisplay_phone_number = \"{}\"\n\
                 access_token = \"a token for benchmarks\"\n",
                channel % self.tenants,
                waba(channel),
                number_id(channel),
                number(channel)
            );
        }
        registry
    }
}

/// The WhatsApp Business Account of a channel: one for each.
pub(super) fn waba(channel: usize) -> String {
    format!("1022901293{channel:05}")
}

/// A channel's `phone_number_id`.
pub(super) fn number_id(channel: usize) -> String {
    format!("1065403522{channel:05}")
}

/// A channel's own phone number.
pub(super) fn number(channel: usize) -> String {
    format!("39060{channel:07}")
}

/// A user's phone number.
pub(super) fn phone(user: usize) -> String {
    format!("39340{user:07}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_has_one_channel_and_is_drawn_there() {
        let population = Population { tenants: 2, channels: 3, users: 8 };
        let mut drawn: Vec<_> =
            (0..3).flat_map(|channel| (0..8).map(move |n| population.user_of(channel, n))).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, (0..8).collect::<Vec<_>>());
        for channel in 0..3 {
            assert!((0..8).all(|n| population.user_of(channel, n) % 3 == channel));
        }
    }
}
