//! Starts the roles of a worker and ends them in order.

use std::sync::Arc;

use tidegate_core::Result;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Shared;
use super::options::Signals;
use super::shutdown::{Hook, Shutdown, Stage};
use super::{poller, settler, shutdown};

/// Runs the roles until the worker stops, and ends them in order.
pub(super) async fn supervise(
    shared: Arc<Shared>,
    hooks: Vec<Hook>,
    heartbeat: oneshot::Receiver<()>,
) -> Result<()> {
    let _end_heartbeat = EndHeartbeat(shared.shutdown.clone());
    let signals = match shared.options.signals {
        // WHY: caught before the first receive, so that no signal kills a worker that has begun.
        Signals::Heed => shutdown::catch_signals()
            .map(|caught| tokio::spawn(shutdown::heed(caught, shared.clone()))),
        Signals::Ignore => None,
    };
    let places = shared.places.iter().cloned().enumerate();
    let (pollers, settlers): (Vec<_>, Vec<_>) = places
        .map(|(index, place)| {
            let settler = settler::settle_outcomes(shared.clone(), place.clone());
            let poller = poller::poll(shared.clone(), place, index);
            (tokio::spawn(poller), tokio::spawn(settler))
        })
        .unzip();
    shared.shutdown.reached(Stage::Draining).await;
    shutdown::carry_out(&shared, hooks).await;
    shared.shutdown.begin(Stage::Over);
    shared.places.iter().for_each(|place| place.outbox.close());
    join_all(settlers).await;
    shutdown::close_places(&shared).await;
    join_all(pollers).await;
    // The sender is dropped when the thread ends, which is all there is to wait for.
    let _ = heartbeat.await;
    if let Some(signals) = signals {
        signals.abort();
    }
    shared.shutdown.take_error().map_or(Ok(()), Err)
}

async fn join_all(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        if let Err(error) = task.await {
            tracing::error!(%error, "a part of the worker ended early");
        }
    }
}

/// Ends the heartbeat when the worker's own task does, even if its runtime is shut down: a lease that
/// nobody works under must not be renewed for ever.
struct EndHeartbeat(Arc<Shutdown>);

impl Drop for EndHeartbeat {
    fn drop(&mut self) {
        self.0.begin(Stage::Over);
    }
}
