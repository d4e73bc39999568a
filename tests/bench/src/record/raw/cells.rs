//! A column's values as PostgreSQL sends and takes them: they go back as they came, without being understood.

use anyhow::{Context, ensure};
use sqlx::{
    Encode, Postgres, Type, ValueRef,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgTypeInfo, PgValueFormat, PgValueRef, types::Oid},
};

/// How a column's values travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    /// Of one value.
    pub(super) element: Oid,
    /// Of an array of them.
    pub(super) array: Oid,
}

/// An array for a statement's parameter, in PostgreSQL's binary form.
#[derive(Debug)]
pub(super) struct Cells {
    wire: Wire,
    count: i32,
    nulls: bool,
    bytes: Vec<u8>,
}

impl Cells {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, count: 0, nulls: false, bytes: Vec::new() }
    }

    /// Fails for a value that did not come in binary form.
    pub(super) fn add(&mut self, value: PgValueRef<'_>) -> anyhow::Result<()> {
        self.count += 1;
        if value.is_null() {
            self.nulls = true;
            self.bytes.extend((-1_i32).to_be_bytes());
            return Ok(());
        }
        ensure!(value.format() == PgValueFormat::Binary, "PostgreSQL sent a value as text");
        let bytes = value.as_bytes().map_err(anyhow::Error::from_boxed).context("a value has no bytes")?;
        self.bytes.extend(i32::try_from(bytes.len())?.to_be_bytes());
        self.bytes.extend(bytes);
        Ok(())
    }
}

impl Type<Postgres> for Cells {
    /// Never asked for: each says its own.
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_text")
    }
}

impl Encode<'_, Postgres> for Cells {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let dimensions = i32::from(self.count > 0);
        buffer.extend(dimensions.to_be_bytes());
        buffer.extend(i32::from(self.nulls).to_be_bytes());
        buffer.extend(self.wire.element.0.to_be_bytes());
        if dimensions == 1 {
            buffer.extend(self.count.to_be_bytes());
            buffer.extend(1_i32.to_be_bytes());
        }
        buffer.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(self.wire.array))
    }
}
