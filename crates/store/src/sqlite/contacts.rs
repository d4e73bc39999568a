//! Tenants' contacts.

use staffetta_domain::TenantId;

use super::Sqlite;
use crate::contacts::{Contact, ContactRow};
use crate::moment::Moment;
use crate::reading::glob;
use crate::rows::storable;
use crate::types::StoreError;

impl Sqlite {
    pub(crate) async fn put_contact(&self, tenant: &TenantId, contact: &Contact) -> Result<bool, StoreError> {
        let is_new = sqlx::query_scalar(
            "INSERT INTO contacts (tenant, number, name, company, whatsapp, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (tenant, number) DO UPDATE SET
                 name = excluded.name, company = excluded.company, whatsapp = excluded.whatsapp,
                 updated_at = excluded.updated_at, fresh = 0
             RETURNING fresh",
        )
        .bind(tenant.as_str())
        .bind(storable(&contact.number))
        .bind(storable(&contact.name))
        .bind(contact.company.as_deref().map(storable))
        .bind(contact.whatsapp)
        .bind(Moment::from(contact.updated))
        .fetch_one(&self.writer)
        .await?;
        Ok(is_new)
    }

    pub(crate) async fn contact(
        &self,
        tenant: &TenantId,
        number: &str,
    ) -> Result<Option<Contact>, StoreError> {
        let row: Option<ContactRow> = sqlx::query_as(
            "SELECT number, name, company, whatsapp, updated_at
             FROM contacts
             WHERE tenant = ?1 AND number = ?2",
        )
        .bind(tenant.as_str())
        .bind(storable(number))
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(Into::into))
    }

    pub(crate) async fn delete_contact(&self, tenant: &TenantId, number: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM contacts WHERE tenant = ?1 AND number = ?2")
            .bind(tenant.as_str())
            .bind(storable(number))
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    pub(crate) async fn contacts(
        &self,
        tenant: &TenantId,
        name: Option<&str>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Contact>, StoreError> {
        let rows: Vec<ContactRow> = sqlx::query_as(
            "SELECT number, name, company, whatsapp, updated_at
             FROM contacts
             WHERE tenant = ?1 AND number > ?2 AND (?3 IS NULL OR name GLOB ?3 OR company GLOB ?3)
             ORDER BY number
             LIMIT ?4",
        )
        .bind(tenant.as_str())
        .bind(storable(after))
        .bind(name.map(|name| glob(&storable(name))))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }
}
