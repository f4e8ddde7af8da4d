//! PostgreSQL keeps the whole contract through PgBouncer, which gives each transaction another connection.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod stage;

use std::process::ExitCode;

use stage::Way;

fn main() -> ExitCode {
    stage::main(Way::PgBouncer)
}
