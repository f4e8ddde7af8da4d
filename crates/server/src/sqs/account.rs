//! Names: accounts, regions, queues, their addresses and ARNs, and what a queue is called in the broker.
//!
//! The server's own account and region have the broker's plain names, so that what is `mail` to an SDK
//! is `mail` to everything else. Other accounts and regions stand beside them, apart, as
//! `aws.ACCOUNT.REGION.NAME`: a dot is in no name that the protocol allows, but for the end `.fifo`.

use std::fmt;

use tidegate_core::QueueName;

use super::errors::{Code, Failure};
use crate::auth::Identity;

/// Longest name, the end `.fifo` counted.
pub(crate) const NAME_CHARS_MAX: usize = 80;
pub(crate) const FIFO_END: &str = ".fifo";
const PREFIX: &str = "aws.";

/// An account in a region: whose queues are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace {
    /// Twelve digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
}

/// A queue: whose, and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueuePath {
    /// Whose it is.
    pub namespace: Namespace,
    /// Its name in the protocol.
    pub name: String,
}

impl Default for Namespace {
    fn default() -> Self {
        Self { account: "000000000000".into(), region: "us-east-1".into() }
    }
}

impl Namespace {
    /// Whose queues a request means.
    pub(crate) fn of(identity: &Identity, own: &Self) -> Self {
        let Identity { access_key: _, account, region, service: _, access: _ } = identity;
        Self {
            account: account.clone().unwrap_or_else(|| own.account.clone()),
            region: region.clone().unwrap_or_else(|| own.region.clone()),
        }
    }

    /// The queue of this name, if it can be one.
    pub(crate) fn queue(&self, name: &str) -> Option<QueuePath> {
        is_name(name).then(|| QueuePath { namespace: self.clone(), name: name.to_owned() })
    }

    /// The queue that `url` means.
    ///
    /// # Errors
    /// Those of [`Self::account_and_name`].
    pub(crate) fn queue_at(&self, url: &str) -> Result<QueuePath, Failure> {
        let (account, name) = self.account_and_name(url)?;
        let namespace = Self { account: account.into(), region: self.region.clone() };
        Ok(QueuePath { namespace, name: name.to_owned() })
    }

    /// The account and the name of the queue that `url` means: its last two parts, and a name alone is one of
    /// this namespace.
    ///
    /// # Errors
    /// `InvalidAddress` for one without an account, `QueueDoesNotExist` for a name that no queue can have.
    pub(crate) fn account_and_name<'a>(
        &'a self,
        url: &'a str,
    ) -> Result<(&'a str, &'a str), Failure> {
        let path = url.split_once("://").map_or(url, |(_, rest)| rest);
        let mut parts = path.trim_end_matches('/').rsplit('/');
        let name = parts.next().unwrap_or_default();
        let account = match parts.next().filter(|part| is_account(part)) {
            Some(account) => account,
            None if path.contains('/') => return Err(no_address(url)),
            None => &self.account,
        };
        if !is_name(name) {
            return Err(Failure::no_queue());
        }
        Ok((account, name))
    }
}

fn no_address(url: &str) -> Failure {
    Code::InvalidAddress.because(format!("The address {url} is not valid for this endpoint."))
}

impl QueuePath {
    /// The queue that an ARN names.
    pub(crate) fn of_arn(arn: &str) -> Option<Self> {
        let mut parts = arn.split(':');
        let starts =
            parts.next() == Some("arn") && parts.next().is_some_and(|p| p.starts_with("aws"));
        let is_sqs = parts.next() == Some("sqs");
        let (region, account, name) = (parts.next()?, parts.next()?, parts.next()?);
        let is_one = starts && is_sqs && parts.next().is_none() && is_account(account);
        let namespace = Namespace { account: account.into(), region: region.into() };
        is_one.then(|| namespace.queue(name)).flatten()
    }

    /// Its ARN.
    pub(crate) fn arn(&self) -> String {
        let Namespace { account, region } = &self.namespace;
        format!("arn:aws:sqs:{region}:{account}:{}", self.name)
    }

    /// Its address at a server, whose own is `origin`, such as `http://localhost:9324`.
    pub(crate) fn url(&self, origin: &str) -> String {
        format!("{origin}/{}/{}", self.namespace.account, self.name)
    }

    /// Whether its name is that of a FIFO queue.
    pub(crate) fn is_fifo(&self) -> bool {
        self.name.ends_with(FIFO_END)
    }

    /// What the broker calls it.
    ///
    /// # Errors
    /// A region that makes it longer than any name.
    pub(crate) fn in_broker(&self, own: &Namespace) -> Result<QueueName, Failure> {
        let Namespace { account, region } = &self.namespace;
        let name = if self.namespace == *own {
            QueueName::new(&self.name)
        } else {
            QueueName::new(format!("{PREFIX}{account}.{region}.{}", self.name))
        };
        name.map_err(|_| Failure::no_queue())
    }

    /// The queue that the broker calls `name`, if the protocol can.
    pub(crate) fn from_broker(name: &QueueName, own: &Namespace) -> Option<Self> {
        if let Some(queue) = own.queue(name.as_str()) {
            return Some(queue);
        }
        let mut parts = name.as_str().strip_prefix(PREFIX)?.splitn(3, '.');
        let (account, region, name) = (parts.next()?, parts.next()?, parts.next()?);
        let namespace = Namespace { account: account.into(), region: region.into() };
        is_account(account).then(|| namespace.queue(name)).flatten()
    }
}

impl fmt::Display for QueuePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn())
    }
}

/// Whether it is an account's number.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_name(name: &str) -> bool {
    let stem = name.strip_suffix(FIFO_END).unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    !stem.is_empty() && name.len() <= NAME_CHARS_MAX && stem.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other() -> Namespace {
        Namespace { account: "111122223333".into(), region: "eu-west-1".into() }
    }

    #[test]
    fn the_own_namespace_has_plain_names_and_others_stand_apart() {
        let own = Namespace::default();
        for name in ["mail", "mail.fifo", "x".repeat(80).as_str()] {
            let plain = own.queue(name).unwrap();
            assert_eq!(plain.in_broker(&own).unwrap().as_str(), name);
            let apart = other().queue(name).unwrap();
            let in_broker = apart.in_broker(&own).unwrap();
            assert_eq!(in_broker.as_str(), format!("aws.111122223333.eu-west-1.{name}"));
            for queue in [plain, apart] {
                let in_broker = queue.in_broker(&own).unwrap();
                assert_eq!(QueuePath::from_broker(&in_broker, &own), Some(queue.clone()));
                assert_eq!(QueuePath::of_arn(&queue.arn()), Some(queue));
            }
        }
        let native = QueueName::new("mail.welcome").unwrap();
        assert_eq!(QueuePath::from_broker(&native, &own), None);
    }

    #[test]
    fn an_address_names_the_account_and_the_queue_whatever_the_host() {
        let own = Namespace::default();
        let at = |url: &str| own.queue_at(url).map(|queue| queue.arn());
        let mail = Ok("arn:aws:sqs:us-east-1:111122223333:mail".to_owned());
        assert_eq!(at("http://localhost:9324/111122223333/mail"), mail);
        assert_eq!(at("https://sqs.eu-west-1.amazonaws.com/111122223333/mail/"), mail);
        assert_eq!(at("/111122223333/mail"), mail);
        assert_eq!(at("mail"), Ok("arn:aws:sqs:us-east-1:000000000000:mail".into()));
        assert_eq!(at("http://localhost/mail").unwrap_err().code, Code::InvalidAddress);
        assert_eq!(at("http://h/111122223333/a.b").unwrap_err().code, Code::QueueDoesNotExist);
    }

    #[test]
    fn what_is_no_arn_names_no_queue() {
        for text in ["", "mail", "arn:aws:sns:us-east-1:000000000000:mail", "arn:aws:sqs:r:1:mail"]
        {
            assert_eq!(QueuePath::of_arn(text), None, "{text}");
        }
    }
}
