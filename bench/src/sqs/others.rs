//! Other servers that speak the protocol, each as its own documentation starts it. Both keep messages in
//! memory alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tidegate_conformance::services::{Service, free_port};

use super::Done;

/// One that runs. Dropping it ends it.
pub(super) struct Other {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    _service: Service,
    _dir: TempDir,
}

/// How one is started.
struct Kind {
    name: &'static str,
    is_there: fn() -> bool,
    on_port: fn(u16) -> Command,
}

const KINDS: &[Kind] = &[
    Kind { name: "moto", is_there: moto_is_there, on_port: moto },
    Kind { name: "elasticmq", is_there: elasticmq_is_there, on_port: elasticmq },
];

/// Starts those that are installed.
pub(super) async fn start(without: &[String]) -> Done<Vec<Other>> {
    let mut started = Vec::new();
    let is_wanted = |kind: &&Kind| !without.iter().any(|name| name == kind.name);
    for Kind { name, is_there, on_port } in KINDS.iter().filter(is_wanted) {
        if !is_there() {
            eprintln!("{name} is left out: it is not installed");
            continue;
        }
        let (port, dir) = (free_port()?, TempDir::with_prefix("tidegate-sqs-")?);
        let service = Service::start(on_port(port), port, &dir.path().join("log")).await?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        started.push(Other { name, address, _service: service, _dir: dir });
    }
    Ok(started)
}

/// Where `cargo xtask` has put it.
fn installed(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/services").join(language)
}

fn moto_is_there() -> bool {
    installed("python").join("moto").is_dir()
}

fn moto(port: u16) -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "moto.server", "--host", "127.0.0.1", "--port", &port.to_string()]);
    command.env("PYTHONPATH", installed("python"));
    command
}

fn elasticmq_is_there() -> bool {
    installed("java").is_dir()
}

fn elasticmq(port: u16) -> Command {
    let mut command = Command::new("java");
    for (name, value) in [
        ("node-address.host", "127.0.0.1"),
        ("rest-sqs.bind-hostname", "127.0.0.1"),
        ("rest-sqs.bind-port", &port.to_string()),
        ("rest-stats.enabled", "false"),
    ] {
        command.arg(format!("-D{name}={value}"));
    }
    command.arg("-cp").arg(installed("java").join("*")).arg("org.elasticmq.server.Main");
    command
}
