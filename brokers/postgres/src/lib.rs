//! Tidegate on PostgreSQL: the queue in the database that a team already runs.
//!
//! [`connect`] opens a broker for a `postgres://` URL. A program that wants to enqueue in a transaction
//! of its own, or to complete a task together with its effect, opens a [`Postgres`] and uses
//! [`Postgres::enqueue_in`] and [`Postgres::complete_in`].
//!
//! What happens to tasks is written in SQL: the functions of `migrations/` lock, decide and change, each
//! in one call. The code here turns calls of the contract into calls of these functions, and waits.

mod admin;
mod batch;
mod clock;
mod completions;
mod config;
mod direct;
mod driver;
mod errors;
mod events;
mod gather;
mod listener;
mod migrate;
mod queues;
mod receives;
mod rows;
mod sends;
mod server;
mod session;
mod statements;
mod tls;
mod token;
mod transaction;
mod upkeep;
mod views;

use tidegate_core::{Broker, Result};

pub use config::{Config, SslMode};
pub use driver::{Postgres, capabilities};
pub use migrate::{Migration, migrations};
/// The client whose transactions [`Postgres::enqueue_in`] takes.
pub use tokio_postgres;

/// Opens the broker that a `postgres://` URL names; [`Config::from_url`] says what it may hold.
///
/// The schema is made, or brought up to date, unless the URL says `migrate=off`.
///
/// # Errors
/// `Invalid` for a URL that cannot be read; `Unavailable` if the server cannot be reached; `Format` if the
/// schema is newer than this program, or is missing or older and may not be changed; `Denied` if the
/// server refuses the user.
pub async fn connect(url: &str) -> Result<Broker> {
    Ok(Postgres::open(Config::from_url(url)?).await?.broker())
}
