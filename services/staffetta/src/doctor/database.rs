//! The database: reached, with the right schema, with room and with free connections; and what waits in its outbox.

use jiff::{SignedDuration, Timestamp};
use staffetta_store::{SchemaState, Store};

use super::finding::{Area, Finding, Level, Notes};
use super::patient::{Patient, within};
use super::print::{size, span};

/// How long events may, and must not, wait before they are told: as the alert `StaffettaOutboxWait`.
const SHOULD: SignedDuration = SignedDuration::from_secs(60);
const MUST: SignedDuration = SignedDuration::from_secs(600);
/// The part of the server's connections from which on few, or none, are left.
const FEW_LEFT: u64 = 80;
const NONE_LEFT: u64 = 95;

pub(super) async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Database);
    let store = match &patient.store {
        Ok(store) => store,
        Err(why) => {
            notes.error(
                "database.connection",
                None,
                format!("no connection: {why}"),
                "Look whether the database of database.url runs, can be reached from here and lets this user in. Until \
                 then webhooks are stored and not recorded, and nothing is sent.",
            );
            return notes.end();
        }
    };
    server(store, &mut notes).await;
    match within(store.schema_state()).await {
        Ok(schema) => judge(&schema, &mut notes),
        Err(why) => notes.error(
            "database.schema",
            None,
            format!("can't be read: {why}"),
            "Look whether the user of database.url may read all tables of the database.",
        ),
    }
    outbox(store, &mut notes).await;
    notes.end()
}

async fn server(store: &Store, notes: &mut Notes) {
    let state = match within(store.database_state()).await {
        Ok(state) => state,
        Err(why) => {
            let todo = "It was reached a moment ago: look at the database's own log.";
            notes.error("database.connection", None, format!("no answer: {why}"), todo);
            return;
        }
    };
    if state.read_only {
        notes.error(
            "database.connection",
            None,
            "connected, but nothing can be written: it is a standby",
            "Let database.url lead to the primary (target_session_attrs=read-write picks it from several hosts).",
        );
    } else {
        notes.ok("database.connection", None, "connected");
    }
    notes.ok("database.version", None, format!("{} {}", state.kind, state.version));
    notes.ok("database.size", None, size(state.bytes));
    if let Some((used, most)) = state.connections {
        let percent = used.saturating_mul(100) / most.max(1);
        let level = match percent {
            0..FEW_LEFT => Level::Ok,
            FEW_LEFT..NONE_LEFT => Level::Warning,
            _ => Level::Error,
        };
        let todo = "Each process of recorder, dispatcher, delivery and api takes up to database.max_connections (8): raise \
                    the server's max_connections, or put fewer on it. A process that gets none waits, then gives up.";
        notes.at(level, "database.connections", None, format!("{used} of {most} ({percent} %)"), todo);
    }
}

fn judge(schema: &SchemaState, notes: &mut Notes) {
    let applied = schema.applied.map_or_else(|| "none".to_owned(), |step| step.to_string());
    let list = |steps: &[i64]| steps.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    if !schema.broken.is_empty() {
        notes.error(
            "database.schema",
            None,
            format!("step {} began and did not end, or is not this version's", list(&schema.broken)),
            "Nothing starts on it. Restore the backup from before the upgrade, or mend the step by hand and note it in \
             _sqlx_migrations.",
        );
    }
    if !schema.pending.is_empty() {
        notes.error(
            "database.schema",
            None,
            format!(
                "the last step is {applied}, and this version needs {}: {} missing",
                schema.known,
                list(&schema.pending)
            ),
            "Run `staffetta migrate` with this version. It works while services of the version before run.",
        );
    }
    if !schema.newer.is_empty() {
        notes.warning(
            "database.schema",
            None,
            format!("steps {} are newer than this version", list(&schema.newer)),
            "A newer version has been here. This one works on it if it is the version right before; finish the upgrade, or \
             see docs/upgrade.md for the way back.",
        );
    }
    if schema.broken.is_empty() && schema.pending.is_empty() && schema.newer.is_empty() {
        notes.ok("database.schema", None, format!("up to date: step {applied}"));
    }
}

async fn outbox(store: &Store, notes: &mut Notes) {
    let state = match within(store.outbox_state()).await {
        Ok(state) => state,
        Err(why) => {
            let todo = "See what is said of the schema.";
            notes.error("database.outbox", None, format!("can't be read: {why}"), todo);
            return;
        }
    };
    let Some(oldest) = state.oldest else {
        notes.ok("database.outbox", None, "no event waits to be told");
        return;
    };
    let age = Timestamp::now().duration_since(oldest).max(SignedDuration::ZERO);
    let level = match age {
        age if age > MUST => Level::Error,
        age if age > SHOULD => Level::Warning,
        _ => Level::Ok,
    };
    let seen = format!("{} events wait to be told, the oldest for {}", state.events, span(age));
    let todo = "Events are recorded and do not get onto EVENTS: look at the area nats, then at the recorder's log. They \
                leave by themselves once EVENTS takes them; nothing is lost meanwhile.";
    notes.at(level, "database.outbox", None, seen, todo);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(schema: &SchemaState) -> Level {
        let mut notes = Notes::of(Area::Database);
        judge(schema, &mut notes);
        notes.end().into_iter().map(|finding| finding.level).max().unwrap()
    }

    #[test]
    fn a_schema_that_is_behind_is_an_error_and_one_that_is_ahead_a_warning() {
        let current = SchemaState { applied: Some(4), known: 4, ..SchemaState::default() };
        assert_eq!(level(&current), Level::Ok);
        assert_eq!(level(&SchemaState { pending: vec![4], ..current.clone() }), Level::Error);
        assert_eq!(level(&SchemaState { newer: vec![5], ..current.clone() }), Level::Warning);
        assert_eq!(level(&SchemaState { broken: vec![4], ..current }), Level::Error);
    }
}
