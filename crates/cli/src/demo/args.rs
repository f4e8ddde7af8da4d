#[derive(Debug, clap::Args)]
pub(crate) struct Demo {}
#[derive(Debug, clap::Args)]
pub(crate) struct Child {}
