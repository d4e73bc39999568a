//! The PostgreSQL harness.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use sqlx::{Connection, PgConnection, Row};
use staffetta_testkit::{Database, Postgres};

async fn connect(database: &Database) -> PgConnection {
    PgConnection::connect(database.url()).await.unwrap()
}

async fn tables(database: &Database) -> i64 {
    let mut connection = connect(database).await;
    let row = sqlx::query("select count(*) from pg_tables where schemaname = 'public'");
    row.fetch_one(&mut connection).await.unwrap().get(0)
}

#[tokio::test]
async fn each_database_is_a_world_of_its_own() {
    let postgres = Postgres::shared().await.unwrap();
    let (one, other) = (postgres.database().await.unwrap(), postgres.database().await.unwrap());
    assert_ne!(one.url(), other.url());

    let mut connection = connect(&one).await;
    sqlx::query("create table kept (id int)").execute(&mut connection).await.unwrap();

    assert_eq!((tables(&one).await, tables(&other).await), (1, 0));
}

#[tokio::test]
async fn a_copy_starts_as_its_template_and_goes_its_own_way() {
    let postgres = Postgres::shared().await.unwrap();
    let template = postgres.database().await.unwrap();
    let mut connection = connect(&template).await;
    sqlx::query("create table migrated (id int)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let (one, other) = tokio::join!(postgres.database_from(&template), postgres.database_from(&template));
    let (one, other) = (one.unwrap(), other.unwrap());

    let mut connection = connect(&one).await;
    sqlx::query("create table own (id int)").execute(&mut connection).await.unwrap();
    assert_eq!((tables(&one).await, tables(&other).await), (2, 1));
}

#[tokio::test]
async fn a_cluster_of_its_own_has_the_settings_that_were_asked_for() {
    let settings = [("fsync", "on"), ("shared_buffers", "16MB"), ("log_line_prefix", "it's")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let postgres = Postgres::start_with(&settings).await.unwrap();
    let mut connection = connect(&postgres.database().await.unwrap()).await;
    for (name, value) in settings {
        let sql = "select current_setting($1)";
        let found: String = sqlx::query_scalar(sql).bind(&name).fetch_one(&mut connection).await.unwrap();
        assert_eq!(found, value, "{name}");
    }
}
