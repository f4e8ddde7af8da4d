#[derive(Debug, clap::Args)]
pub(crate) struct Bench {}
