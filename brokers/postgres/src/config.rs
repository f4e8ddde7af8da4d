//! What a URL says.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_core::{Error, ErrorKind, Operation, Result};
use url::Url;

/// The schema that a broker lives in when its URL names none.
const SCHEMA_DEFAULT: &str = "tidegate";
/// Longest name of a schema in bytes; PostgreSQL cuts what is longer.
const SCHEMA_BYTES_MAX: usize = 63;
const PORT_DEFAULT: u16 = 5432;
/// Connections of one broker. A server has 100 by default, and many processes share them.
const CONNECTIONS_DEFAULT: usize = 8;
/// How often a waiting receive looks by itself when it is also told.
const POLL_DEFAULT: Duration = Duration::from_secs(1);
/// How often it looks when nobody tells it.
const POLL_ALONE_DEFAULT: Duration = Duration::from_millis(250);
/// How long a connection may take to come up, and how long a call may wait for a free one.
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Where a broker lies and how it is reached. Made by [`Config::from_url`].
#[derive(Clone)]
pub struct Config {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) database: String,
    pub(crate) schema: String,
    pub(crate) ssl_mode: SslMode,
    pub(crate) root_cert: Option<PathBuf>,
    pub(crate) connections: usize,
    pub(crate) is_listening: bool,
    pub(crate) poll: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) migrates: bool,
}

/// How a connection is protected, in the words of PostgreSQL's own clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Not at all.
    Disable,
    /// By TLS where the server has it; the certificate is not checked.
    Prefer,
    /// By TLS; the certificate is checked only where `sslrootcert` is given.
    Require,
    /// By TLS, with a certificate of a known authority for the host's name.
    VerifyFull,
}

/// Shows where it is, and no password.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, database, schema, .. } = self;
        write!(f, "postgres://{host}:{port}/{database}")?;
        if schema != SCHEMA_DEFAULT {
            write!(f, "?schema={schema}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Config({self})")
    }
}

impl Config {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?QUERY`, or `postgresql://`.
    ///
    /// What is missing comes from `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGSSLMODE`
    /// and `PGSSLROOTCERT`, then from PostgreSQL's defaults. A host that begins with `/` (as `%2Frun`)
    /// is the directory of a socket. The query may hold:
    /// - `schema=tidegate`: the schema the queues live in;
    /// - `sslmode=disable|prefer|require|verify-full` (default `prefer`), `sslrootcert=FILE`;
    /// - `connections=8`: the most connections, besides the one that listens;
    /// - `listen=on|off`: whether a connection waits for wake-ups;
    /// - `poll=1s`: how often a waiting receive looks by itself (250 ms with `listen=off`);
    /// - `connect_timeout=10s`;
    /// - `migrate=on|off`: whether the schema may be changed.
    ///
    /// # Errors
    /// `Invalid`, which never repeats the password.
    pub fn from_url(url: &str) -> Result<Self> {
        Self::read(url, |name| std::env::var(name).ok())
    }

    fn read(url: &str, env: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let url =
            Url::parse(url).map_err(|error| invalid(format!("it cannot be read: {error}")))?;
        let part = |text: &str| percent_decoded(text).filter(|text| !text.is_empty());
        let user = part(url.username()).or_else(|| env("PGUSER")).or_else(|| env("USER"));
        let user = user.unwrap_or_else(|| "postgres".into());
        let database = part(url.path().trim_start_matches('/')).or_else(|| env("PGDATABASE"));
        let host = url.host_str().and_then(part).or_else(|| env("PGHOST"));
        let port = url.port().or_else(|| env("PGPORT").and_then(|port| port.parse().ok()));
        let mut config = Self {
            host: host.unwrap_or_else(|| "localhost".into()),
            port: port.unwrap_or(PORT_DEFAULT),
            password: url.password().and_then(percent_decoded).or_else(|| env("PGPASSWORD")),
            database: database.unwrap_or_else(|| user.clone()),
            user,
            schema: SCHEMA_DEFAULT.into(),
            ssl_mode: SslMode::Prefer,
            root_cert: env("PGSSLROOTCERT").map(PathBuf::from),
            connections: CONNECTIONS_DEFAULT,
            is_listening: true,
            poll: POLL_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            migrates: true,
        };
        if let Some(mode) = env("PGSSLMODE") {
            config.ssl_mode = ssl_mode(&mode)?;
        }
        let mut poll = None;
        for (name, value) in url.query_pairs() {
            config.option(&name, &value, &mut poll)?;
        }
        let otherwise = if config.is_listening { POLL_DEFAULT } else { POLL_ALONE_DEFAULT };
        config.poll = poll.unwrap_or(otherwise);
        Ok(config)
    }

    fn option(&mut self, name: &str, value: &str, poll: &mut Option<Duration>) -> Result<()> {
        match name {
            "schema" => self.schema = schema(value)?,
            "sslmode" => self.ssl_mode = ssl_mode(value)?,
            "sslrootcert" => self.root_cert = Some(PathBuf::from(value)),
            "connections" => self.connections = connections(value)?,
            "listen" => self.is_listening = switch(name, value)?,
            "migrate" => self.migrates = switch(name, value)?,
            "poll" => *poll = Some(duration(name, value)?),
            "connect_timeout" => self.connect_timeout = duration(name, value)?,
            _ => {
                let known = "`schema`, `sslmode`, `sslrootcert`, `connections`, `listen`, `poll`, \
                             `connect_timeout` and `migrate` are known";
                return Err(invalid(format!("{name:?} is unknown; {known}")));
            }
        }
        Ok(())
    }
}

fn ssl_mode(value: &str) -> Result<SslMode> {
    match value {
        "disable" => Ok(SslMode::Disable),
        "allow" | "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-full" => Ok(SslMode::VerifyFull),
        _ => {
            let known = "it can be `disable`, `prefer`, `require` or `verify-full`";
            Err(invalid(format!("sslmode is {value:?}; {known}")))
        }
    }
}

fn schema(value: &str) -> Result<String> {
    if value.is_empty() || value.len() > SCHEMA_BYTES_MAX || value.contains(['"', '\0']) {
        let why = format!("schema is {value:?}; it must have 1 to {SCHEMA_BYTES_MAX} bytes");
        return Err(invalid(why));
    }
    Ok(value.to_owned())
}

fn connections(value: &str) -> Result<usize> {
    let count = value.parse().ok().filter(|count| (1..=1_000).contains(count));
    count.ok_or_else(|| invalid(format!("connections is {value:?}; it can be 1 to 1000")))
}

fn switch(name: &str, value: &str) -> Result<bool> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(invalid(format!("{name} is {value:?}; it can be `on` or `off`"))),
    }
}

/// A duration above zero such as `50ms` or `2s`.
fn duration(name: &str, value: &str) -> Result<Duration> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let amount = digits.parse::<u64>().ok().filter(|amount| *amount > 0);
    match (amount, value.get(digits.len()..)) {
        (Some(amount), Some("ms")) => Ok(Duration::from_millis(amount)),
        (Some(amount), Some("s")) => Ok(Duration::from_secs(amount)),
        _ => {
            Err(invalid(format!("{name} is {value:?}; write a time above zero as `50ms` or `2s`")))
        }
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    // WHY: the query of a URL is decoded by the library; a `+` is kept here by escaping it first.
    let pair = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::Invalid, Operation::Open, why).about("a postgres: broker")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Config> {
        Config::read(url, |_| None)
    }

    #[test]
    fn a_url_says_where_and_how() {
        let config =
            read("postgres://ann:p%40ss+@db.example:6432/shop?schema=q&poll=50ms").unwrap();
        assert_eq!((config.host.as_str(), config.port), ("db.example", 6432));
        assert_eq!((config.user.as_str(), config.database.as_str()), ("ann", "shop"));
        assert_eq!(config.password.as_deref(), Some("p@ss+"));
        assert_eq!((config.schema.as_str(), config.poll), ("q", Duration::from_millis(50)));
        assert!(config.is_listening && config.migrates);
    }

    #[test]
    fn what_is_missing_comes_from_the_environment() {
        let env = |name: &str| (name == "PGPASSWORD").then(|| "secret".to_owned());
        let config = Config::read("postgresql://ann@h/", env).unwrap();
        assert_eq!(config.password.as_deref(), Some("secret"));
        assert_eq!((config.database.as_str(), config.port), ("ann", 5432));
        assert_eq!(read("postgres://h/?listen=off").unwrap().poll, POLL_ALONE_DEFAULT);
        assert_eq!(read("postgres://%2Frun%2Fpg/x").unwrap().host, "/run/pg");
    }

    #[test]
    fn a_password_is_never_shown() {
        let config = read("postgres://ann:hunter2@h/shop?schema=s").unwrap();
        assert_eq!(config.to_string(), "postgres://h:5432/shop?schema=s");
        assert!(!format!("{config:?}").contains("hunter2"));
        let refusal = read("postgres://ann:hunter2@h:port/").unwrap_err().to_string();
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }

    #[test]
    fn an_option_that_cannot_be_honoured_says_what_can() {
        for (query, says) in [
            ("sslmode=maybe", "verify-full"),
            ("connections=0", "1 to 1000"),
            ("listen=yes", "`on` or `off`"),
            ("poll=soon", "50ms"),
            ("fsync=on", "`schema`"),
            ("schema=", "1 to 63"),
        ] {
            let refusal = read(&format!("postgres://h/?{query}")).unwrap_err();
            assert_eq!(refusal.kind(), ErrorKind::Invalid);
            assert!(refusal.to_string().contains(says), "{refusal}");
        }
    }
}
