//! The one place that turns a URL into a broker.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{Broker, Clock, Error, ErrorKind, Operation, Result, SystemClock, memory};
use tidegate_engine::Options;
use tidegate_remote::client as remote;

use crate::server_url;

pub use tidegate_engine::Durability;

/// Where the embedded engine keeps its data when the URL names no directory.
pub const EMBEDDED_PATH_DEFAULT: &str = "./tidegate-data";

/// How often `durability=interval` makes changes durable when no `interval` is given.
pub const DURABILITY_INTERVAL_DEFAULT: Duration = Duration::from_millis(50);

/// Schemes of brokers whose adapters are not part of this build.
const ADAPTERS: &[(&str, &str)] = &[
    ("redis", "Redis"),
    ("rediss", "Redis"),
    ("redis-cluster", "Redis"),
    ("rediss-cluster", "Redis"),
    ("postgres", "PostgreSQL"),
    ("postgresql", "PostgreSQL"),
    ("amqp", "RabbitMQ"),
    ("amqps", "RabbitMQ"),
    ("kafka", "Kafka"),
    ("nats", "NATS"),
    ("sqs", "Amazon SQS"),
    ("sqs+http", "Amazon SQS"),
    ("sqs+https", "Amazon SQS"),
];

/// What a URL leaves open. What the URL says itself goes before what is said here.
#[derive(Clone, Default)]
pub struct ConnectOptions {
    /// The time the broker goes by. Default: the machine's.
    pub clock: Option<Arc<dyn Clock>>,
    /// When an acknowledged change is on the disk. Default: always.
    pub durability: Option<Durability>,
    /// Bytes of payloads that an embedded engine keeps in memory. Default: 256 MiB.
    pub payload_memory_bytes: Option<u64>,
    /// The access token for a server. Default: none.
    pub token: Option<String>,
}

/// Shows that there is a token, and not which.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clock, durability, payload_memory_bytes, token } = self;
        f.debug_struct("ConnectOptions")
            .field("clock", clock)
            .field("durability", durability)
            .field("payload_memory_bytes", payload_memory_bytes)
            .field("token", &token.is_some())
            .finish()
    }
}

/// Connects to the broker that a URL names.
///
/// - `memory:` is a new, empty broker in this process; it is gone with its last clone.
/// - `embedded:PATH` is the durable engine in a directory, made if it is missing; without a path it
///   is `./tidegate-data`. `?durability=always|interval|never` says when an acknowledged change is
///   on the disk, and `interval=50ms` how often where it is `interval`. Many processes may open one
///   directory: the first holds the engine and its settings count, the others reach it through a
///   socket in the directory, and one of them takes over when it ends. In an attached process the
///   connection lives on the runtime that this was called on.
/// - `redis://[USER:PASSWORD@]HOST:PORT[/DB]` is a Redis server, `rediss://` over TLS (cargo feature `redis`).
///   `redis-cluster://HOST:PORT,HOST:PORT` is a Redis Cluster of which these servers are some, `rediss-cluster://` over TLS.
///   `?prefix=`, `serialization=msgpack|json`, `stream_max_len=` and `block_timeout_ms=` say how it is used.
/// - `tidegate://HOST:PORT` is a server (`tidegate serve`); without a port it is 9326. An access token
///   is given as `tidegate://TOKEN@HOST:PORT` or with [`ConnectOptions::token`]. `tidegate+tls://` is
///   over TLS, checked by the system's authorities or by those in `?ca=FILE`, for the host's name or
///   for `?name=NAME`. A restart of the server is waited for.
///
/// - `postgres://USER:PASSWORD@HOST:PORT/DATABASE` is PostgreSQL, with the feature `postgres`. What is
///   missing comes from `PGPASSWORD` and the like; `?schema=NAME` is the schema that the queues live in, and
///   the page on PostgreSQL in the guide tells the other options.
///
/// An unknown scheme or query is `Invalid`; a broker without an adapter in this build is
/// `Unsupported`. Dropping the future leaves nothing behind but perhaps an empty directory.
pub async fn connect(url: &str) -> Result<Broker> {
    connect_with(url, ConnectOptions::default()).await
}

/// Connects as [`connect`] does, with `options` for what the URL leaves open.
pub async fn connect_with(url: &str, options: ConnectOptions) -> Result<Broker> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(unknown(url));
    };
    match scheme {
        "memory" => memory_broker(rest, options),
        "tidegate" => remote::connect(server_url::target(false, rest, options.token)?).await,
        "tidegate+tls" => remote::connect(server_url::target(true, rest, options.token)?).await,
        "embedded" => crate::embedded::open(embedded(rest, options)?).await,
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis-cluster" | "rediss-cluster" => redis(url, options).await,
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => tidegate_postgres::connect(url).await,
        _ => Err(elsewhere(scheme)),
    }
}

fn memory_broker(rest: &str, options: ConnectOptions) -> Result<Broker> {
    let ConnectOptions { clock, durability: _, payload_memory_bytes: _, token: _ } = options;
    if !rest.is_empty() {
        let why = format!("`memory:` takes no path and no query, but {rest:?} follows it");
        return Err(invalid(why).about("a memory broker"));
    }
    Ok(memory::broker(clock.unwrap_or_else(|| Arc::new(SystemClock::new()))))
}

#[cfg(feature = "redis")]
async fn redis(url: &str, options: ConnectOptions) -> Result<Broker> {
    // WHY: durability and memory are the server's own to set.
    let ConnectOptions { clock, durability: _, payload_memory_bytes: _, token: _ } = options;
    let mut config = tidegate_redis::Config::new(url)?;
    config.clock = clock.unwrap_or(config.clock);
    tidegate_redis::connect(config).await
}

/// The engine's options for what follows `embedded:`.
fn embedded(rest: &str, options: ConnectOptions) -> Result<Options> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = if path.is_empty() { EMBEDDED_PATH_DEFAULT } else { path };
    let ConnectOptions { clock, durability, payload_memory_bytes, token: _ } = options;
    let mut engine = Options::new(PathBuf::from(path));
    let asked = Query::read(query)?.durability()?;
    engine.durability = asked.or(durability).unwrap_or(engine.durability);
    engine.clock = clock.unwrap_or(engine.clock);
    engine.payload_memory_bytes = payload_memory_bytes.unwrap_or(engine.payload_memory_bytes);
    Ok(engine)
}

/// The query of an `embedded:` URL.
#[derive(Default)]
struct Query<'a> {
    durability: Option<&'a str>,
    interval: Option<&'a str>,
}

impl<'a> Query<'a> {
    fn read(text: &'a str) -> Result<Self> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "durability" => query.durability = Some(value),
                "interval" => query.interval = Some(value),
                _ => {
                    let why = format!("{name:?} is unknown; `durability` and `interval` are known");
                    return Err(invalid(why).about("an embedded broker"));
                }
            }
        }
        Ok(query)
    }

    fn durability(&self) -> Result<Option<Durability>> {
        let wrong = |why: String| Err(invalid(why).about("an embedded broker"));
        match (self.durability, self.interval) {
            (None, None) => Ok(None),
            (Some("always"), None) => Ok(Some(Durability::Always)),
            (Some("never"), None) => Ok(Some(Durability::Never)),
            (Some("interval"), interval) => match interval.map(duration).transpose() {
                Ok(given) => {
                    Ok(Some(Durability::Interval(given.unwrap_or(DURABILITY_INTERVAL_DEFAULT))))
                }
                Err(why) => wrong(why),
            },
            (_, Some(_)) => wrong("`interval` goes with `durability=interval` only".into()),
            (Some(other), None) => {
                wrong(format!("durability is {other:?}; it can be `always`, `interval` or `never`"))
            }
        }
    }
}

/// A duration above zero such as `50ms` or `2s`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let amount = digits.parse::<u64>().ok().filter(|amount| *amount > 0);
    match (amount, unit) {
        (Some(amount), "ms") => Ok(Duration::from_millis(amount)),
        (Some(amount), "s") => Ok(Duration::from_secs(amount)),
        _ => Err(format!("interval is {text:?}; write a time above zero as `50ms` or `2s`")),
    }
}

/// WHY: names the scheme alone; what follows it may hold a password.
fn elsewhere(scheme: &str) -> Error {
    match ADAPTERS.iter().find(|(known, _)| *known == scheme) {
        None => unknown(scheme),
        Some((_, broker)) => {
            let why =
                format!("this build has no adapter for {broker}; use `memory:` or `embedded:PATH`");
            Error::new(ErrorKind::Unsupported, Operation::Open, why).about(format!("{scheme}:"))
        }
    }
}

fn unknown(scheme: &str) -> Error {
    let others = ADAPTERS.iter().map(|(scheme, _)| format!("`{scheme}:`"));
    let own = ["`memory:`", "`embedded:`", "`tidegate:`", "`tidegate+tls:`"];
    let known: Vec<String> = own.map(str::to_owned).into_iter().chain(others).collect();
    let why = format!("the scheme of a broker URL is one of {}", known.join(", "));
    let shown: String = scheme.chars().take(32).take_while(|c| *c != '@').collect();
    invalid(why).about(format!("{shown:?}"))
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::Invalid, Operation::Open, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options_of(rest: &str) -> Options {
        embedded(rest, ConnectOptions::default()).unwrap()
    }

    fn refusal(rest: &str) -> String {
        embedded(rest, ConnectOptions::default()).unwrap_err().to_string()
    }

    #[test]
    fn an_embedded_url_names_its_directory_and_durability() {
        assert_eq!(options_of("").path, PathBuf::from("./tidegate-data"));
        assert_eq!(options_of("/var/q").path, PathBuf::from("/var/q"));
        assert_eq!(options_of("q").durability, Durability::Always);
        assert_eq!(options_of("q?durability=never").durability, Durability::Never);
        let interval = |ms| Durability::Interval(Duration::from_millis(ms));
        assert_eq!(options_of("q?durability=interval").durability, interval(50));
        assert_eq!(options_of("q?durability=interval&interval=2s").durability, interval(2000));
    }

    #[test]
    fn a_query_that_cannot_be_honoured_says_what_can() {
        assert!(refusal("q?durability=sometimes").contains("`always`, `interval` or `never`"));
        assert!(refusal("q?durability=interval&interval=soon").contains("50ms"));
        assert!(refusal("q?durability=interval&interval=0ms").contains("above zero"));
        assert!(refusal("q?interval=5ms").contains("goes with"));
        assert!(refusal("q?fsync=1").contains("`durability` and `interval`"));
    }

    #[test]
    fn what_the_url_says_goes_before_the_options() {
        let options = ConnectOptions {
            durability: Some(Durability::Never),
            payload_memory_bytes: Some(7),
            ..ConnectOptions::default()
        };
        let said = embedded("q?durability=always", options.clone()).unwrap();
        assert_eq!((said.durability, said.payload_memory_bytes), (Durability::Always, 7));
        assert_eq!(embedded("q", options).unwrap().durability, Durability::Never);
    }

    #[tokio::test]
    async fn an_unknown_scheme_lists_the_known_ones() {
        for url in ["mysql://h", "mail", ""] {
            let error = connect(url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            for known in ["`memory:`", "`embedded:`", "`redis:`", "`sqs:`"] {
                assert!(error.to_string().contains(known), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_broker_without_an_adapter_is_unsupported_and_its_password_stays_secret() {
        for scheme in ["amqp", "kafka", "nats", "sqs"] {
            let url = format!("{scheme}://user:hunter2@host/");
            let error = connect(&url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{url}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[cfg(feature = "postgres")]
    #[tokio::test]
    async fn a_postgres_url_is_read_and_its_password_stays_secret() {
        let error = connect("postgres://user:hunter2@host/?fsync=on").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("`schema`"), "{error}");
    }

    #[tokio::test]
    async fn memory_is_a_broker_on_the_clock_it_is_given() {
        let clock = tidegate_core::ManualClock::new();
        let options =
            ConnectOptions { clock: Some(Arc::new(clock.clone())), ..ConnectOptions::default() };
        let broker = connect_with("memory:", options).await.unwrap();
        clock.advance(Duration::from_secs(5));
        assert_eq!(broker.clock().now(), clock.now());
        assert!(connect("memory:x").await.is_err());
    }
}
