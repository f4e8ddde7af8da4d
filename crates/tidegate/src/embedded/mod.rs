//! `embedded:PATH`, by as many processes as like.
//!
//! The first one opens the engine and holds it; it answers the others on a socket in the directory.
//! When the holder ends, however it ends, one of those that are attached opens the engine in its place
//! and the others attach to that one. `seat` is which of the two a process is, `holder` the engine with
//! its socket, `succession` who comes next; `driver` and `session` are the contract's face.

mod driver;
mod holder;
mod seat;
mod session;
mod succession;

use std::sync::Arc;

use tidegate_core::{Broker, BrokerParts, Result};
use tidegate_engine::Options;

use driver::SharedDriver;
use seat::Seat;

/// Opens the engine in a directory, or attaches to the process that has.
///
/// # Errors
/// Those of [`tidegate_engine::open`]; `Locked` only if the process that holds the directory answers
/// nobody for five seconds.
pub(crate) async fn open(options: Options) -> Result<Broker> {
    let label = format!("embedded:{}", options.path.display());
    let clock = options.clock.clone();
    let driver = Arc::new(SharedDriver::new(Seat::take(options).await?));
    Ok(Broker::new(BrokerParts {
        label,
        driver: driver.clone(),
        inspect: Some(driver.clone()),
        admin: Some(driver.clone()),
        atomic: Some(driver),
        clock,
    }))
}
