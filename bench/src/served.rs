//! Processes of this program that serve: the engine behind Tidegate's protocol, and the protocol's
//! messages with no queue behind them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use tidegate::{Broker, ConnectOptions, connect_with};
use tidegate_remote::listen::{Options, Server, Tcp};
use tokio::net::TcpListener;

use crate::durability::Durability;
use crate::peer::Result;
use crate::peers::bare;

/// What a process serves until it is killed.
#[derive(Debug, Subcommand)]
pub(crate) enum Served {
    /// The engine in a directory, on the socket beside its data
    Socket(Engine),
    /// The engine in a directory, over TCP
    Tcp(Engine),
    /// The protocol's messages and nothing behind them, over TCP
    Bare { port: u16 },
}

/// Which engine, and which port tells that it is ready.
#[derive(Debug, clap::Args)]
pub(crate) struct Engine {
    dir: PathBuf,
    durability: Durability,
    port: u16,
}

pub(crate) async fn serve(served: Served) -> Result<()> {
    match served {
        Served::Socket(Engine { dir, durability, port }) => {
            let _broker = open(&dir, durability).await?;
            // WHY: that something listens there says that the socket does too.
            let _ready = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            std::future::pending().await
        }
        Served::Tcp(Engine { dir, durability, port }) => {
            let threads = std::thread::available_parallelism().ok();
            let options = Options { threads, ..Options::default() };
            let server = Server::new(open(&dir, durability).await?, options);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            server.listen_tcp(Tcp::open(address)).await?;
            std::future::pending().await
        }
        Served::Bare { port } => bare::serve(port).await,
    }
}

async fn open(dir: &Path, durability: Durability) -> Result<Broker> {
    let url = format!("embedded:{}", dir.display());
    let durability = Some(durability.of_engine());
    Ok(connect_with(&url, ConnectOptions { durability, ..ConnectOptions::default() }).await?)
}
