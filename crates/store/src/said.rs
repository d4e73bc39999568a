//! Where a message was said.

use staffetta_domain::{ChannelId, ConversationId, TenantId, Wamid};

use crate::types::StoreError;
use crate::{Backend, Store, ask, within};

impl Store {
    /// The conversation in which the channel's message of that id was said; `None` if the tenant has no such message, or
    /// it was said in no conversation.
    ///
    /// # Errors
    /// As every method's.
    pub async fn conversation_of(
        &self,
        tenant: &TenantId,
        channel: &ChannelId,
        wamid: &Wamid,
    ) -> Result<Option<ConversationId>, StoreError> {
        let found = ask!(self, conversation_of(tenant, channel, wamid))?;
        Ok(found.map(ConversationId::of_number))
    }
}
