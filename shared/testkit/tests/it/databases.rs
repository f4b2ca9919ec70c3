//! A database for each test, from one template.

use pix_testkit::{TestDatabase, database, empty_database};
use sqlx::Row as _;
use sqlx::migrate::Migrator;

static MIGRATIONS: Migrator = sqlx::migrate!("tests/it/migrations");

async fn count(database: &TestDatabase) -> i64 {
    sqlx::query("SELECT count(*) FROM note")
        .fetch_one(&mut database.connect().await)
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn every_test_has_its_own_copy_of_the_template() {
    let (one, two) = tokio::join!(database("kit", &MIGRATIONS), database("kit", &MIGRATIONS));
    assert_ne!(one.name, two.name);
    sqlx::query("INSERT INTO note VALUES (1, 'x')")
        .execute(&mut one.connect().await)
        .await
        .unwrap();
    assert_eq!((count(&one).await, count(&two).await), (1, 0));
}

#[tokio::test]
async fn the_role_of_the_service_may_do_what_it_was_granted() {
    let database = database("kit", &MIGRATIONS).await;
    let mut app = pix_runtime::pg::connect(&database.url_as("kit_app"))
        .await
        .unwrap();
    sqlx::query("SELECT * FROM note")
        .fetch_all(&mut app)
        .await
        .unwrap();
    let refused = sqlx::query("DELETE FROM note")
        .execute(&mut app)
        .await
        .unwrap_err();
    assert_eq!(
        refused.as_database_error().unwrap().code().as_deref(),
        Some("42501")
    );
}

#[tokio::test]
async fn the_database_of_a_real_process_is_empty_and_durable() {
    let database = empty_database("kit").await;
    let mut connection = database.connect().await;
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(tables, [""; 0]);
    pix_runtime::pg::refuse_unsafe(&mut connection).await.unwrap();
    sqlx::query("SET synchronous_commit = off")
        .execute(&mut connection)
        .await
        .unwrap();
    let refused = pix_runtime::pg::refuse_unsafe(&mut connection)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("synchronous_commit is off"), "{refused}");
}
