//! A database for each test, copied from a template that a run migrates once.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use pix_parts::Postgres;
use pix_runtime::pg;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::{parts, unique_prefix};

/// One test's database. It goes with the run.
#[derive(Clone, Debug)]
pub struct TestDatabase {
    /// Its name.
    pub name: String,
    postgres: Postgres,
}

impl TestDatabase {
    /// Its owner's URL, which may do everything.
    #[must_use]
    pub fn url(&self) -> String {
        self.postgres.url(&self.name)
    }

    /// The URL of a role: `spi_app` may do what the SPI's migrations grant it.
    #[must_use]
    pub fn url_as(&self, role: &str) -> String {
        self.postgres.url_as(role, &self.name)
    }

    /// A connection of its owner.
    ///
    /// # Panics
    /// When Postgres is away.
    pub async fn connect(&self) -> PgConnection {
        pg::connect(&self.url())
            .await
            .expect("the test's database answers")
    }
}

/// A new database with the migrations of a service. The role `<service>_app` exists before they run.
///
/// # Panics
/// When Postgres cannot be started, or a migration fails.
pub async fn database(service: &str, migrations: &Migrator) -> TestDatabase {
    let postgres = &parts().await.postgres;
    let template = template(postgres, service, migrations)
        .await
        .unwrap_or_else(|e| panic!("{service}: {e}"));
    create(postgres, service, Some(&template)).await
}

/// A new database without tables, for a real process that runs its migrations itself. The role
/// `<service>_app` exists.
///
/// # Panics
/// When Postgres cannot be started.
pub async fn empty_database(service: &str) -> TestDatabase {
    let postgres = &parts().await.postgres;
    let mut admin = admin(postgres).await;
    exclusively(&mut admin).await.expect("Postgres answers");
    ensure_role(&mut admin, postgres, service)
        .await
        .expect("a role can be made");
    drop(admin);
    create(postgres, service, None).await
}

async fn create(postgres: &Postgres, service: &str, template: Option<&str>) -> TestDatabase {
    let name = format!("{service}_{}", unique_prefix());
    let from = template
        .map(|template| format!(" TEMPLATE \"{template}\""))
        .unwrap_or_default();
    let mut admin = admin(postgres).await;
    run(&mut admin, format!("CREATE DATABASE \"{name}\"{from}"))
        .await
        .expect("a database can be made");
    TestDatabase {
        name,
        postgres: postgres.clone(),
    }
}

/// The name of the template for these very migrations, made if this is the first test that wants it.
async fn template(postgres: &Postgres, service: &str, migrations: &Migrator) -> anyhow::Result<String> {
    let mut hasher = DefaultHasher::new();
    migrations
        .iter()
        .for_each(|migration| migration.checksum.hash(&mut hasher));
    let name = format!("template_{service}_{:016x}", hasher.finish());

    let mut admin = admin(postgres).await;
    exclusively(&mut admin).await?;
    let known: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(&name)
        .fetch_optional(&mut admin)
        .await?;
    if known.is_none() {
        ensure_role(&mut admin, postgres, service).await?;
        // Under another name until it is complete: whoever made it may have been killed half-way.
        let unfinished = format!("{name}_new");
        run(&mut admin, format!("DROP DATABASE IF EXISTS \"{unfinished}\"")).await?;
        run(&mut admin, format!("CREATE DATABASE \"{unfinished}\"")).await?;
        let mut inside = pg::connect(&postgres.url(&unfinished)).await?;
        migrations.run(&mut inside).await?;
        inside.close().await?;
        run(
            &mut admin,
            format!("ALTER DATABASE \"{unfinished}\" RENAME TO \"{name}\""),
        )
        .await?;
    }
    Ok(name)
}

async fn admin(postgres: &Postgres) -> PgConnection {
    pg::connect(&postgres.url("postgres"))
        .await
        .expect("the run's Postgres answers")
}

/// One test process at a time makes roles and templates; until `connection` closes.
async fn exclusively(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_lock(20201116)")
        .execute(connection)
        .await
        .map(drop)
}

async fn ensure_role(admin: &mut PgConnection, postgres: &Postgres, service: &str) -> sqlx::Result<()> {
    let role = format!("{service}_app");
    let known: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_roles WHERE rolname = $1")
        .bind(&role)
        .fetch_optional(&mut *admin)
        .await?;
    if known.is_none() {
        run(
            admin,
            format!("CREATE ROLE \"{role}\" LOGIN PASSWORD '{}'", postgres.password()),
        )
        .await?;
    }
    Ok(())
}

async fn run(connection: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .map(drop)
}
