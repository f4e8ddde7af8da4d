//! What is done now and then: counting anew, forgetting, emptying slots. By whoever comes first; no task
//! waits for it but where nobody receives.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::Operation;
use tokio_postgres::types::Type;

use crate::driver::Inner;

const EVERY: Duration = Duration::from_secs(1);
/// Rounds between two looks at the slots, and between two questions for the time.
const ROUNDS_TO_ROTATE: u64 = 5;
const ROUNDS_TO_ASK_TIME: u64 = 60;
/// Rounds between two looks at all timers, for a step of the server's clock.
const ROUNDS_TO_BEGIN: u64 = 30;
/// Sequences of a turn of one slot: about what is dead at most while vacuum is kept from it.
const TURN: i64 = 100_000;
/// Most tasks that are moved out of an old slot at once.
const PARK_MAX: i64 = 5_000;

pub(crate) async fn keep_up(inner: Arc<Inner>) {
    for round in 1_u64.. {
        tokio::time::sleep(EVERY.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        let Inner { server, .. } = &*inner;
        let is_whole = round % ROUNDS_TO_BEGIN == 1;
        let whole = [(&is_whole as _, Type::BOOL)];
        let done = server.call(Operation::Administer, &server.statements.upkeep, &whole).await;
        let mut done = done.map(drop);
        if round % ROUNDS_TO_ROTATE == 0 {
            done = done.and(rotate(&inner).await);
        }
        if round % ROUNDS_TO_ASK_TIME == 0 {
            done = done.and(server.ask_time(Operation::Administer).await);
        }
        if let Err(error) = done {
            tracing::debug!(%error, "the upkeep is done later");
        }
    }
}

async fn rotate(inner: &Inner) -> tidegate_core::Result<()> {
    let server = &inner.server;
    let park = [(&PARK_MAX as _, Type::INT8)];
    server.call(Operation::Administer, &server.statements.park, &park).await?;
    let turn = [(&TURN as _, Type::INT8)];
    server.call(Operation::Administer, &server.statements.rotate, &turn).await?;
    Ok(())
}
