//! Renews every lease the worker holds, from a thread of its own: handlers that block all of the
//! runtime's threads do not lose their leases. Where a lease cannot be kept, its handler is
//! cancelled before another worker can get the task.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{Error, ErrorKind, LeaseToken, Operation, Result, Settled, Timestamp};
use tokio::sync::oneshot;

use super::Shared;
use super::place::Place;
use super::shutdown::Stage;
use super::slots::Renewal;

/// Starts the heartbeat. The receiver ends when its thread does, at the end of the worker.
pub(super) fn start(shared: Arc<Shared>) -> Result<oneshot::Receiver<()>> {
    let (ended, ends) = oneshot::channel();
    // WHY: a runtime of its own and not just a thread, so that drivers may use timers and sockets.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(cannot_start)?;
    let beat = move || {
        runtime.block_on(beat(&shared));
        drop(ended);
    };
    std::thread::Builder::new()
        .name("tidegate-heartbeat".into())
        .spawn(beat)
        .map_err(cannot_start)?;
    Ok(ends)
}

fn cannot_start(error: std::io::Error) -> Error {
    let why = format!("the heartbeat's thread cannot be started: {error}");
    Error::new(ErrorKind::Unavailable, Operation::Open, why).about("a worker").caused_by(error)
}

async fn beat(shared: &Arc<Shared>) {
    let clock = shared.broker.clock();
    while !shared.shutdown.is_at(Stage::Over) {
        // INVARIANT: listened to before looking, so that no lease that comes now goes unseen.
        let told = shared.pulse.listen();
        let now = clock.now();
        let (due, next) = shared.slots.due(now);
        for (index, place) in shared.places.iter().enumerate() {
            let here: Vec<Renewal> = due.iter().filter(|due| due.place == index).cloned().collect();
            if !here.is_empty() {
                tokio::spawn(renew(shared.clone(), place.clone(), here));
            }
        }
        tokio::select! {
            () = told => {}
            () = clock.sleep_until(next) => {}
            () = shared.shutdown.reached(Stage::Over) => {}
        }
    }
}

/// Renews leases of one queue, and says what came of it.
async fn renew(shared: Arc<Shared>, place: Arc<Place>, due: Vec<Renewal>) {
    let clock = shared.broker.clock();
    let asked = clock.now();
    let leases: Vec<(LeaseToken, Duration)> =
        due.iter().map(|due| (due.context.token().clone(), due.context.lease())).collect();
    match place.receiver().extend(&leases).await {
        Ok(answers) => {
            for ((due, answer), (_, length)) in due.iter().zip(answers).zip(leases) {
                note_renewed(&shared, due, answer, asked.plus(length));
                shared.slots.renewed(due.slot, &due.context, Timestamp::default());
            }
        }
        Err(error) => {
            tracing::warn!(%error, leases = due.len(), "leases could not be renewed");
            let again = |due: &Renewal| clock.now().plus(due.context.lease() / 20);
            due.iter().for_each(|due| shared.slots.renewed(due.slot, &due.context, again(due)));
        }
    }
    shared.pulse.notify(usize::MAX);
}

fn note_renewed(shared: &Shared, due: &Renewal, answer: Settled, until: Timestamp) {
    match answer {
        Settled::Done { .. } => due.context.hold_until(until),
        // The outcome overtook the renewal.
        Settled::AlreadyDone => {}
        // WHY: a task that was settled since is not there any more; that is not a loss.
        Settled::Lost(_) if !shared.slots.holds(due.slot, &due.context) => {}
        Settled::Lost(lost) => shared.note_lost(&due.context, lost),
    }
}
