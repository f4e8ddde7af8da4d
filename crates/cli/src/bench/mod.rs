pub(crate) mod args;
use crate::{app::App, failure::Failure};
pub(crate) async fn run(_app: &App, _args: args::Bench) -> Result<(), Failure> {
    Ok(())
}
