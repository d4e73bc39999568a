//! Whom an ERP knows by number: what it calls them, and whether they are to be written to on WhatsApp.

use std::fmt;

use jiff::Timestamp;
use sqlx::FromRow;
use staffetta_domain::TenantId;

use crate::moment::Moment;
use crate::types::StoreError;
use crate::{Backend, Store, ask, within};

/// A contact of an ERP. Two tenants may know the same number, each in its own way.
#[derive(Clone, PartialEq, Eq)]
pub struct Contact {
    /// The phone number with its country code, digits alone.
    pub number: String,
    /// The name that the ERP uses.
    pub name: String,
    /// The company.
    pub company: Option<String>,
    /// Whether commands to the number are sent at all.
    pub whatsapp: bool,
    /// When the ERP last said so.
    pub updated: Timestamp,
}

impl Store {
    /// Keeps a contact, in place of the one that the tenant had of this number. Says whether it had none.
    ///
    /// # Errors
    /// As every method's.
    pub async fn put_contact(&self, tenant: &TenantId, contact: &Contact) -> Result<bool, StoreError> {
        ask!(self, put_contact(tenant, contact))
    }

    /// The tenant's contact of this number.
    ///
    /// # Errors
    /// As every method's.
    pub async fn contact(&self, tenant: &TenantId, number: &str) -> Result<Option<Contact>, StoreError> {
        ask!(self, contact(tenant, number))
    }

    /// Forgets the tenant's contact of this number. Says whether there was one.
    ///
    /// # Errors
    /// As every method's.
    pub async fn delete_contact(&self, tenant: &TenantId, number: &str) -> Result<bool, StoreError> {
        ask!(self, delete_contact(tenant, number))
    }

    /// At most `limit` of the tenant's contacts, by number, those after the number `after`; with `name`, those whose
    /// name or company contains it, in whatever case.
    ///
    /// # Errors
    /// As every method's.
    pub async fn contacts(
        &self,
        tenant: &TenantId,
        name: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Contact>, StoreError> {
        ask!(self, contacts(tenant, name, after.unwrap_or_default(), limit))
    }
}

/// A contact.
#[derive(FromRow)]
pub(crate) struct ContactRow {
    number: String,
    name: String,
    company: Option<String>,
    whatsapp: bool,
    updated_at: Moment,
}

impl From<ContactRow> for Contact {
    fn from(row: ContactRow) -> Self {
        let ContactRow { number, name, company, whatsapp, updated_at } = row;
        Self { number, name, company, whatsapp, updated: updated_at.into() }
    }
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contact")
            .field("whatsapp", &self.whatsapp)
            .field("updated", &self.updated)
            .finish_non_exhaustive()
    }
}
