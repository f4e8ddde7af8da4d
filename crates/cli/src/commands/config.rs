//! `tidegate config check`: whether a configuration is good, and what of it is in force.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::app::App;
use crate::config::{Block, KEYS, Settings, Status, blocks};
use crate::failure::Failure;
use crate::output::line;

/// Check the configuration
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file and the environment, and tell what is in force
    ///
    /// Everything wrong is an error with file, line and column (exit code 2). A block whose feature
    /// this build does not have yet is listed as such and is no error: only a command that needs it
    /// refuses.
    #[command(after_help = after_help())]
    Check {
        /// The file [default: as for every command]
        file: Option<PathBuf>,
    },
}

fn after_help() -> String {
    let keys = KEYS.iter().map(|key| format!("  {:<36} {}", key.path, key.variable()));
    let keys: Vec<String> = keys.collect();
    format!(
        "Examples:\n  tidegate config check\n  tidegate config check deploy/tidegate.yaml --json\n\n\
         Times are written as 250ms, 30s, 5m or 1h, sizes in bytes or as 256KB (1 KB is 1,024 \
         bytes),\nlists in variables with commas.\n\nKeys and their environment variables:\n{}",
        keys.join("\n")
    )
}

#[derive(Serialize)]
struct Answer {
    file: Option<String>,
    broker: String,
    blocks: Vec<Block>,
}

pub(crate) fn run(app: &App, args: ConfigArgs) -> Result<(), Failure> {
    let ConfigCommand::Check { file } = args.command;
    let config = app.config_of(file)?;
    let answer = Answer {
        file: config.file.as_ref().map(|file| file.display().to_string()),
        broker: without_password(&app.url(&Settings::of(&config))?),
        blocks: blocks(&config),
    };
    if app.output.json { app.output.json(&answer) } else { show(&answer) }
}

fn show(answer: &Answer) -> Result<(), Failure> {
    match &answer.file {
        Some(file) => line(format!("{file} is sound"))?,
        None => line("no configuration file; defaults and environment are in force")?,
    }
    line(format!("broker: {}", answer.broker))?;
    for block in &answer.blocks {
        show_block(block)?;
    }
    Ok(())
}

fn show_block(block: &Block) -> Result<(), Failure> {
    let status = match block.status {
        Status::Active => "active",
        Status::Partly => "active in part",
        Status::NotBuiltYet => "not yet built: refused by a command that needs it",
        Status::Defaults => "not set; the defaults are in force",
        Status::Absent => "not set, and not yet built",
    };
    line(format!("\n{}: {status}", block.block))?;
    for shown in &block.active {
        line(format!("  {} = {}  ({})", shown.key, shown.value, shown.from))?;
    }
    for shown in &block.not_built_yet {
        line(format!("  {} = {}  ({}; not yet built)", shown.key, shown.value, shown.from))?;
    }
    Ok(())
}

/// A URL whose user info is left out: passwords do not belong on a screen.
fn without_password(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?))) {
        Some((scheme, (_, host))) => format!("{scheme}://…@{host}"),
        None => url.to_owned(),
    }
}
