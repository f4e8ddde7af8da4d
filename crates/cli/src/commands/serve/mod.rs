//! `tidegate serve`: the queues, for other programs and machines.

mod access_key;
mod notify;
mod ready;
mod signals;
mod sqs;
mod token;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;
use tidegate::Broker;
use tidegate_remote::listen::{Options, Server, Tcp, Tls};

use crate::app::App;
use crate::config::{Settings, tokens};
use crate::failure::Failure;
use crate::units;

use ready::ReadyFile;
use signals::Signals;

/// Serve the queues to other programs and machines
///
/// They are reached in two ways: by every AWS SDK, which speaks the protocol of Amazon SQS; and over gRPC,
/// by this binary and the library with --broker tidegate://HOST:PORT, and by any language with the
/// protocol's description (the server reflects it). The data directory is made if it
/// is missing; other commands on this machine use it beside the server as always.
///
/// Without access tokens everybody who can connect may do everything, so then only addresses of this
/// machine are listened on. With --tokens every call over gRPC needs one, and may do what the file says.
/// `tidegate serve token NAME` makes one. With --access-keys every request for SQS must be signed with one,
/// else SQS takes any credentials; `tidegate serve access-key NAME` makes one. Without TLS, tokens and
/// tasks can be read on their way.
///
/// SIGTERM or Ctrl-C ends it gracefully: clients are told, nothing new begins, and what has begun has
/// as long as graceful_shutdown_timeout says (30s). A second signal ends the wait. What was
/// acknowledged is kept either way.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "The file of --tokens:
  - name: mailer                 what it is called in errors and logs
    sha256: \"f6f5d7...\"          the hash of its secret (or `secret:`, 16 characters or more)
    rights:
      - queues: \"mail.*\"         `*` stands for any characters
        actions: [send, receive, inspect, administer]

The file of --access-keys is as that one, with `id:` and `secret:`. Nobody but its owner can change such a
file, and where a `secret:` is in it no others than its group can read it: chmod 600.

Health is asked for without a token, as grpc.health.v1.Health. Under systemd, Type=notify works.

Examples:
  tidegate serve
  aws --endpoint-url http://127.0.0.1:9324 sqs list-queues
  tidegate serve --listen 127.0.0.1:0 --sqs 127.0.0.1:0 --ready-file ready.json
  tidegate serve --listen 0.0.0.0:9326 --tokens tokens.yaml --tls-cert cert.pem --tls-key key.pem"
)]
pub(crate) struct Serve {
    #[command(subcommand)]
    command: Option<ServeCommand>,
    /// Where to listen for gRPC; port 0 is one that is free. Can be given several times
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9326", value_parser = address)]
    listen: Vec<SocketAddr>,
    #[command(flatten)]
    sqs: sqs::Sqs,
    /// The access tokens, a YAML file
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// The certificate and those between it and the authority's, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let everybody in from other machines too, without tokens
    #[arg(long)]
    insecure: bool,
    /// Write where it listens to this file, as JSON, once it does; removed when it ends
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ServeCommand {
    AccessKey(access_key::AccessKey),
    Token(token::Token),
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an IP address and a port, as 127.0.0.1:9326 or [::1]:9326".into())
}

pub(crate) async fn run(app: &App, args: Serve) -> Result<(), Failure> {
    let Serve { command, listen, sqs, tokens: file, tls_cert, tls_key, insecure, ready_file } =
        args;
    match command {
        Some(ServeCommand::AccessKey(args)) => return access_key::run(app, &args),
        Some(ServeCommand::Token(args)) => return token::run(app, &args),
        None => {}
    }
    let settings = app.settings()?;
    let tokens = file.map(|file| tokens::load(&file)).transpose()?.map(Arc::new);
    let tls = tls_cert.as_deref().zip(tls_key.as_deref());
    let tls = tls.map(|(certificates, key)| tls_of(certificates, key)).transpose()?;
    let ports: Vec<Tcp> = listen
        .into_iter()
        .map(|address| Tcp { address, tokens: tokens.clone(), tls: tls.clone(), insecure })
        .collect();
    // WHY: refused before the data directory is made.
    ports.iter().try_for_each(Tcp::check).map_err(|error| {
        Failure::from(error).with_help(
            "add --tokens FILE (`tidegate serve token NAME` makes one); --insecure lets everybody in",
        )
    })?;
    let sqs = sqs.ports(tls.as_ref(), insecure, settings.message_bytes_set)?;
    let mut signals = Signals::listen()?;
    let broker = app.open_to_serve(&settings).await?;
    let ports = Ports { native: ports, sqs };
    let served = serve(app, &settings, &broker, ports, ready_file.as_deref(), &mut signals).await;
    // WHY: after a second signal nobody waits for anything, the broker's end included.
    if matches!(served, Ok(End::AtOnce)) {
        return Ok(());
    }
    let closed = broker.close().await;
    served?;
    Ok(closed?)
}

fn tls_of(certificates: &Path, key: &Path) -> Result<Tls, Failure> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))
    };
    Ok(Tls { certificates: read(certificates)?, key: read(key)? })
}

/// All that is listened on.
struct Ports {
    native: Vec<Tcp>,
    sqs: sqs::Ports,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Gracefully,
    AtOnce,
}

async fn serve(
    app: &App,
    settings: &Settings,
    broker: &Broker,
    ports: Ports,
    ready_file: Option<&Path>,
    signals: &mut Signals,
) -> Result<End, Failure> {
    let threads = std::thread::available_parallelism().ok();
    let server = Server::new(broker.clone(), Options { threads, ..Options::default() });
    let mut account = Account::of(broker, &ports.native, ports.sqs.access_keys);
    let sqs = ports.sqs.open(broker)?;
    for port in ports.native {
        let is_encrypted = port.tls.is_some();
        let address = server.listen_tcp(port).await?;
        account.listen.push(Place::of(address, is_encrypted));
    }
    account.sqs = sqs.listen().await?;
    account.warn();
    let ready = ready_file.map(|path| ReadyFile::write(path, &account)).transpose()?;
    notify::tell("READY=1");
    // WHY: a server whose first line nobody reads serves all the same.
    let _ = app.output.answer(&account, &account);

    signals.next().await;
    drop(ready);
    notify::tell("STOPPING=1");
    let patience = settings.graceful_shutdown_timeout;
    eprintln!("ending; a second signal ends at once");
    let stopped = async { tokio::join!(server.stop(patience), sqs.stop(patience)) };
    tokio::select! {
        answered = stopped => {
            if answered != (true, true) {
                eprintln!("calls that were not answered within {} were cut off", units::show(patience));
            }
            Ok(End::Gracefully)
        }
        () = signals.next() => Ok(End::AtOnce),
    }
}

/// What is served, where and to whom: what is told when it begins.
#[derive(Debug, Serialize)]
struct Account {
    serving: String,
    listen: Vec<Place>,
    /// Where SQS is spoken.
    sqs: Vec<Place>,
    tls: bool,
    /// How many there are; none is everybody.
    tokens: Option<usize>,
    /// How many of SQS there are; none is everybody.
    access_keys: Option<usize>,
    pid: u32,
}

#[derive(Debug, Serialize)]
struct Place {
    address: SocketAddr,
    url: String,
}

impl Account {
    fn of(broker: &Broker, ports: &[Tcp], access_keys: Option<usize>) -> Self {
        let tokens = ports.iter().find_map(|port| port.tokens.as_ref());
        Self {
            serving: broker.label().to_owned(),
            listen: Vec::new(),
            sqs: Vec::new(),
            tls: ports.iter().any(|port| port.tls.is_some()),
            tokens: tokens.map(|tokens| tokens.len()),
            access_keys,
            pid: std::process::id(),
        }
    }

    /// Tells what others could make use of.
    fn warn(&self) {
        let is_far = |place: &&Place| !place.address.ip().to_canonical().is_loopback();
        let warn = |place: &Place, is_guarded: bool, what: &str| {
            let address = place.address;
            if !is_guarded {
                eprintln!("warning: everybody who can connect to {address} may do everything");
            } else if !self.tls {
                eprintln!(
                    "warning: {what} can be read on their way to {address}; add --tls-cert and \
                     --tls-key"
                );
            }
        };
        for place in self.sqs.iter().filter(is_far) {
            warn(place, self.access_keys.is_some(), "messages");
        }
        for place in self.listen.iter().filter(is_far) {
            warn(place, self.tokens.is_some(), "tokens and tasks");
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls { "with TLS" } else { "without TLS" };
        let tokens = match self.tokens {
            None => "without tokens".to_owned(),
            Some(1) => "with 1 token".to_owned(),
            Some(many) => format!("with {many} tokens"),
        };
        let listed =
            |of: fn(&Place) -> String| self.listen.iter().map(of).collect::<Vec<_>>().join(", ");
        let addresses = listed(|place| place.address.to_string());
        let urls = listed(|place| place.url.clone());
        write!(f, "serving {} on {addresses}, {tls}, {tokens}: {urls}", self.serving)?;
        if self.sqs.is_empty() {
            return Ok(());
        }
        let sqs = self.sqs.iter().map(|place| place.url.clone()).collect::<Vec<_>>().join(", ");
        write!(f, "\nSQS on {sqs}, ")?;
        match self.access_keys {
            None => f.write_str("any credentials are accepted"),
            Some(1) => f.write_str("with 1 access key"),
            Some(many) => write!(f, "with {many} access keys"),
        }
    }
}

impl Place {
    fn of(address: SocketAddr, is_encrypted: bool) -> Self {
        Self::at(if is_encrypted { "tidegate+tls" } else { "tidegate" }, address)
    }

    fn at(scheme: &str, address: SocketAddr) -> Self {
        let host = match address.ip() {
            // WHY: what stands for all addresses is none that others could use.
            all if all.is_unspecified() => {
                rustix::system::uname().nodename().to_string_lossy().into_owned()
            }
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            std::net::IpAddr::V4(ip) => ip.to_string(),
        };
        Self { address, url: format!("{scheme}://{host}:{}", address.port()) }
    }
}
