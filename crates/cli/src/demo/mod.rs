pub(crate) mod args;
pub(crate) mod child;
use crate::{app::App, exit::Exit, failure::Failure};
pub(crate) async fn run(_app: &App, _args: args::Demo) -> Result<Exit, Failure> {
    Ok(Exit::Done)
}
