//! Where the server is, and how this adapter uses it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisResult, TlsCertificates,
};
use tidegate_core::{Clock, Error, ErrorKind, Operation, Result, SystemClock};

/// How headers are written into a stream's entry. Everything else of an entry is plain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serialization {
    /// MessagePack: shorter.
    #[default]
    Msgpack,
    /// JSON: readable with `redis-cli`.
    Json,
}

/// Where the queues lie.
#[derive(Clone)]
pub(crate) enum Servers {
    One(Box<ConnectionInfo>),
    /// Some servers of a cluster, at least one: they tell of the others.
    Cluster(Vec<ConnectionInfo>),
}

/// A server, or a cluster of them, and the part of it that belongs to these queues.
#[derive(Clone)]
pub struct Config {
    pub(crate) servers: Servers,
    /// The authorities' certificates, where they are not the system's.
    authorities: Option<Vec<u8>>,
    /// What the names of all keys begin with. Default: `tidegate`.
    pub prefix: String,
    /// How headers are written. Both are read.
    pub serialization: Serialization,
    /// Most tasks in a partition that this process sends to, whatever the queue's own bound. Default: none.
    pub stream_max_len: Option<u64>,
    /// How long a waiting receive goes without a look of its own. What becomes available is told at once; this
    /// is for when that is lost. Default: 5 s.
    pub block_timeout: Duration,
    /// How long an answer may take. Default: 10 s.
    pub response_timeout: Duration,
    /// How many replicas must have what was done before it is answered, in the term of Redis: `WAIT`. It goes for all that
    /// is a promise: sends, settled tasks, moves and changes of queues. A lease is none: a failover may take it back.
    /// Where fewer have it after half of `response_timeout`, the call is `Unavailable`, and done on the master all the
    /// same. Default: 0, which waits for nobody.
    pub wait_replicas: u32,
    /// How long a member of a queue's group may go unheard of before others have its partitions. It is heard of
    /// three times as often. Default: 15 s.
    pub member_timeout: Duration,
    /// The time that waits go by. Leases and delays go by the server's. Default: the machine's.
    pub clock: Arc<dyn Clock>,
}

/// Names the server; says nothing of passwords.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            servers: _,
            authorities: _,
            prefix,
            serialization,
            stream_max_len,
            block_timeout,
            response_timeout,
            wait_replicas,
            member_timeout,
            clock: _,
        } = self;
        f.debug_struct("Config")
            .field("server", &self.label())
            .field("prefix", prefix)
            .field("serialization", serialization)
            .field("stream_max_len", stream_max_len)
            .field("block_timeout", block_timeout)
            .field("response_timeout", response_timeout)
            .field("wait_replicas", wait_replicas)
            .field("member_timeout", member_timeout)
            .finish()
    }
}

impl Config {
    /// The server at `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS; or the cluster at
    /// `redis-cluster://[user:password@]host[:port][,host[:port]...]`, or `rediss-cluster://`, of whose servers one or more
    /// are named. Its query says the rest: `prefix`, `ca=FILE` with the certificates of authorities in PEM,
    /// `serialization=msgpack|json`, `stream_max_len`, `block_timeout_ms`, `response_timeout_ms`, `wait_replicas`.
    ///
    /// # Errors
    /// `Invalid` if it is not such a URL, or asks for something unknown.
    pub fn new(url: &str) -> Result<Self> {
        let (server, query) = url.split_once('?').unwrap_or((url, ""));
        let mut config = Self {
            servers: Servers::read(server)?,
            authorities: None,
            prefix: "tidegate".into(),
            serialization: Serialization::default(),
            stream_max_len: None,
            block_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(10),
            wait_replicas: 0,
            member_timeout: Duration::from_secs(15),
            clock: Arc::new(SystemClock::new()),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            config.set(name, value)?;
        }
        Ok(config)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "prefix" => self.prefix = prefix(value)?,
            "ca" => self.authorities = Some(authorities(value)?),
            "serialization" => {
                self.serialization = match value {
                    "msgpack" => Serialization::Msgpack,
                    "json" => Serialization::Json,
                    _ => {
                        return Err(invalid(format!(
                            "serialization is {value:?}; it can be `msgpack` or `json`"
                        )));
                    }
                }
            }
            "stream_max_len" => self.stream_max_len = Some(above_zero(name, value)?),
            "block_timeout_ms" => {
                self.block_timeout = Duration::from_millis(above_zero(name, value)?)
            }
            "response_timeout_ms" => {
                self.response_timeout = Duration::from_millis(above_zero(name, value)?)
            }
            "wait_replicas" => {
                self.wait_replicas = value.parse().map_err(|_| {
                    invalid(format!("wait_replicas is {value:?}; write how many replicas, or 0"))
                })?;
            }
            _ => {
                let known = "`prefix`, `ca`, `serialization`, `stream_max_len`, `block_timeout_ms`, `response_timeout_ms` and \
                             `wait_replicas`";
                return Err(invalid(format!("{name:?} is unknown; {known} are known")));
            }
        }
        Ok(())
    }

    /// What the server is called in logs and errors: without secrets.
    pub fn label(&self) -> String {
        match &self.servers {
            Servers::One(server) => place(server),
            Servers::Cluster(nodes) => {
                let places: Vec<String> = nodes.iter().map(place).collect();
                format!("the cluster of {}", places.join(", "))
            }
        }
    }

    /// The client of one server.
    pub(crate) fn client(&self, server: &ConnectionInfo) -> RedisResult<Client> {
        match self.tls() {
            None => Client::open(server.clone()),
            Some(tls) => Client::build_with_tls(server.clone(), tls),
        }
    }

    /// What connections over TLS are checked by, where it is not the system's authorities.
    pub(crate) fn tls(&self) -> Option<TlsCertificates> {
        let authorities = self.authorities.clone()?;
        Some(TlsCertificates { client_tls: None, root_cert: Some(authorities) })
    }

    /// The servers that were named.
    pub(crate) fn nodes(&self) -> &[ConnectionInfo] {
        match &self.servers {
            Servers::One(server) => std::slice::from_ref(server),
            Servers::Cluster(nodes) => nodes,
        }
    }
}

impl Servers {
    fn read(url: &str) -> Result<Self> {
        let Some((scheme, place)) = url.split_once("-cluster://") else {
            return Ok(Self::One(Box::new(server(url)?)));
        };
        let (user, hosts) = place
            .rsplit_once('@')
            .map_or((String::new(), place), |(user, hosts)| (format!("{user}@"), hosts));
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        if hosts.contains('/') {
            return Err(invalid(
                "a cluster has no numbered databases; leave it out of the URL".into(),
            ));
        }
        let nodes = hosts.split(',').map(|host| server(&format!("{scheme}://{user}{host}")));
        Ok(Self::Cluster(nodes.collect::<Result<_>>()?))
    }
}

fn server(url: &str) -> Result<ConnectionInfo> {
    url.into_connection_info().map_err(|why| {
        // WHY: the URL may hold a password, so it is not repeated.
        let form = "use redis://HOST:PORT, or redis-cluster://HOST:PORT,HOST:PORT";
        invalid(format!("the URL of the server cannot be read: {why}; {form}"))
    })
}

fn place(server: &ConnectionInfo) -> String {
    match server.addr() {
        ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}"),
        ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{host}:{port}"),
        ConnectionAddr::Unix(path) => format!("redis+unix://{}", path.display()),
        _ => "redis".into(),
    }
}

fn authorities(file: &str) -> Result<Vec<u8>> {
    std::fs::read(file)
        .map_err(|error| invalid(format!("ca is {file:?}, which cannot be read: {error}")))
}

/// A prefix stands before the hash tag in the name of every key, so it must not have one itself.
fn prefix(value: &str) -> Result<String> {
    let fits = !value.is_empty() && value.len() <= 64 && !value.contains(['{', '}', ' ']);
    let wrong = || {
        invalid(format!("prefix is {value:?}; use 1 to 64 characters without braces and spaces"))
    };
    fits.then(|| value.to_owned()).ok_or_else(wrong)
}

fn above_zero(name: &str, value: &str) -> Result<u64> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| invalid(format!("{name} is {value:?}; write a whole number above zero")))
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::Invalid, Operation::Open, why).about("a Redis broker")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_everything() {
        let url = "redis://ann:secret@db.example:7000/3?prefix=shop&serialization=json&stream_max_len=50000\
                   &block_timeout_ms=5000&response_timeout_ms=200&wait_replicas=2";
        let config = Config::new(url).unwrap();
        assert_eq!((config.prefix.as_str(), config.serialization), ("shop", Serialization::Json));
        assert_eq!(
            (config.stream_max_len, config.block_timeout),
            (Some(50_000), Duration::from_secs(5))
        );
        assert_eq!(config.response_timeout, Duration::from_millis(200));
        assert_eq!(config.wait_replicas, 2);
        assert_eq!(config.label(), "redis://db.example:7000");
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn what_a_url_cannot_say_is_refused_with_what_it_can() {
        let refused =
            |query: &str| Config::new(&format!("redis://h?{query}")).unwrap_err().to_string();
        assert!(refused("color=red").contains("`block_timeout_ms`"));
        assert!(refused("serialization=xml").contains("`msgpack` or `json`"));
        assert!(refused("stream_max_len=0").contains("above zero"));
        assert!(refused("wait_replicas=all").contains("how many replicas"));
        assert!(refused("ca=/nowhere/ca.pem").contains("cannot be read"));
        assert!(refused("prefix={a}").contains("without braces"));
        let wrong = Config::new("redis://:secret@h:port").unwrap_err().to_string();
        assert!(wrong.contains("redis://HOST:PORT") && !wrong.contains("secret"), "{wrong}");
        assert!(Config::new("redis-cluster://h:7000/3").is_err());
        assert!(Config::new("redis-cluster://").is_err());
    }

    #[test]
    fn a_cluster_is_named_by_some_of_its_servers() {
        let url = "rediss-cluster://ann:p%40ss@one.example:7000,two.example?prefix=shop";
        let config = Config::new(url).unwrap();
        let label = "the cluster of rediss://one.example:7000, rediss://two.example:6379";
        assert_eq!((config.label().as_str(), config.prefix.as_str()), (label, "shop"));
        let password = |node: &ConnectionInfo| node.redis_settings().password().map(str::to_owned);
        assert!(config.nodes().iter().all(|node| password(node).as_deref() == Some("p@ss")));
        assert!(!format!("{config:?}").contains("ss@one"));
    }
}
