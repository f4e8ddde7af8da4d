//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::args::Bench;
use crate::commands::{config, dlq, queue, send, serve, task, work};
use crate::demo::args::{Child, Demo};
use crate::exit;

/// The `tidegate` command line.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    about = "An asynchronous task queue: send tasks, work on them, look after them",
    long_about = "Tidegate is an asynchronous task queue in one binary. Tasks are sent to named \
                  queues and worked on by any program; what was acknowledged is never lost, and \
                  what fails is tried again or kept as a dead letter with its reason.",
    after_help = after_help(),
    max_term_width = 100,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tidegate demo                                   watch it survive a kill -9
  tidegate send mail '{\"to\":\"ada@example.com\"}'   one task; the queue is made if missing
  tidegate work mail -- ./deliver.sh              run a program per task, payload on stdin
  tidegate serve                                  the queues, for other programs and machines
  tidegate queue list                             what there is, and how much of it
  tidegate dlq redrive mail                       give the dead another chance

Where tasks are kept: --broker over TIDEGATE_BROKER over `broker:` in the configuration file
over embedded:./tidegate-data. A file named tidegate.yaml in the current directory is read
unless --config or TIDEGATE_CONFIG names another.";

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}", exit::HELP)
}

/// What goes for every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Where the tasks are: embedded:PATH (a durable queue in a directory), tidegate://HOST:PORT (a
    /// server; its access token is read from TIDEGATE_TOKEN), redis://HOST:PORT or
    /// postgres://HOST/DATABASE
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    pub(crate) broker: Vec<String>,
    /// The configuration file [default: tidegate.yaml, if there is one]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TIDEGATE_CONFIG",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Answer in JSON on stdout, for programs
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(Demo),
    Send(send::Send),
    Work(work::Work),
    Serve(serve::Serve),
    Queue(queue::Queue),
    Task(task::Task),
    Dlq(dlq::Dlq),
    Bench(Bench),
    Config(config::ConfigArgs),
    Completions(Completions),
    #[command(hide = true)]
    DemoChild(Child),
}

/// Print the completions of a shell
///
/// Write them where your shell looks for them and open a new one.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tidegate completions bash > ~/.local/share/bash-completion/completions/tidegate
  tidegate completions zsh  > ~/.zfunc/_tidegate
  tidegate completions fish > ~/.config/fish/completions/tidegate.fish")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
