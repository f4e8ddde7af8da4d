//! The protocol of Amazon SQS beside our own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tidegate::Broker;
use tidegate_remote::listen::Tls;
use tidegate_server::auth::{Anybody, Gate};
use tidegate_server::sqs::{MESSAGE_BYTES_MAX, Namespace, Options, POLLS_PER_KEY_MAX, Service};
use tidegate_server::{Limits, Listen, Server};

use super::{Place, address};
use crate::config::access_keys;
use crate::failure::Failure;

/// How SQS is served.
#[derive(Args, Debug)]
pub(super) struct Sqs {
    /// Where to listen for SQS; port 0 is one that is free. Can be given several times
    #[arg(long = "sqs", value_name = "ADDR", default_value = "127.0.0.1:9324", value_parser = address)]
    sqs: Vec<SocketAddr>,
    /// Do not speak SQS
    #[arg(long, conflicts_with = "sqs")]
    no_sqs: bool,
    /// The access keys that requests for SQS are signed with, a YAML file
    #[arg(long, value_name = "FILE", conflicts_with = "no_sqs")]
    access_keys: Option<PathBuf>,
    /// The account of those whose access key is none of 12 digits
    #[arg(long, value_name = "DIGITS", default_value = "000000000000", value_parser = account)]
    account_id: String,
    /// The region whose queues are the broker's own; others stand beside them
    #[arg(long, value_name = "NAME", default_value = "us-east-1", value_parser = region)]
    region: String,
    /// Most receives of one access key that may wait at the same time; one more is told to try again
    #[arg(long, value_name = "COUNT", default_value_t = POLLS_PER_KEY_MAX)]
    sqs_polls_per_key: usize,
    /// Refuse a second purge, and making a queue that was just deleted, for 60 seconds, as AWS does
    #[arg(long)]
    sqs_60s_rules: bool,
}

fn account(text: &str) -> Result<String, String> {
    let is_account = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    is_account.then(|| text.to_owned()).ok_or_else(|| "an account has 12 digits".into())
}

fn region(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_region = (1..=20).contains(&text.len()) && text.bytes().all(allowed);
    is_region.then(|| text.to_owned()).ok_or_else(|| "write a region such as eu-west-1".into())
}

/// Where SQS will be spoken, and how.
pub(super) struct Ports {
    listen: Vec<Listen>,
    options: Options,
    /// How many there are; none is everybody.
    pub(super) access_keys: Option<usize>,
}

impl Sqs {
    /// Refuses what others reach and nobody guards.
    pub(super) fn ports(
        self,
        tls: Option<&Tls>,
        insecure: bool,
        message_bytes: Option<usize>,
    ) -> Result<Ports, Failure> {
        let Self { sqs, no_sqs, access_keys: file, account_id: account, region, .. } = self;
        let sqs = if no_sqs { Vec::new() } else { sqs };
        let tls = tls.map(|Tls { certificates, key }| tidegate_server::Tls {
            certificates: certificates.clone(),
            key: key.clone(),
        });
        let keys = file.map(|file| access_keys::load(&file)).transpose()?;
        let (access_keys, is_guarded) = (keys.as_ref().map(|keys| keys.len()), keys.is_some());
        let listen = sqs.into_iter().map(|address| {
            let listen = Listen { address, tls: tls.clone(), is_guarded, insecure };
            listen.check().map(|()| listen).map_err(|error| {
                Failure::from(error).with_help(
                    "add --access-keys FILE (`tidegate serve access-key NAME` makes one); --insecure lets \
                     everybody in; --no-sqs leaves SQS out",
                )
            })
        });
        let listen = listen.collect::<Result<_, _>>()?;
        let options = Options {
            own: Namespace { account, region },
            message_bytes_max: message_bytes.unwrap_or(MESSAGE_BYTES_MAX).min(MESSAGE_BYTES_MAX),
            polls_per_key_max: self.sqs_polls_per_key,
            sixty_second_rules: self.sqs_60s_rules,
            gate: keys.map_or_else(|| Arc::new(Anybody) as Arc<dyn Gate>, |keys| Arc::new(keys)),
            ..Options::default()
        };
        Ok(Ports { listen, options, access_keys })
    }
}

impl Ports {
    /// Refuses a broker that cannot keep what SQS promises.
    pub(super) fn open(self, broker: &Broker) -> Result<Serving, Failure> {
        let Self { listen, options, access_keys: _ } = self;
        if listen.is_empty() {
            return Ok(Serving { listen, server: None });
        }
        let service = Service::new(broker.clone(), options).map_err(|error| {
            Failure::from(error).with_help("--no-sqs serves it over gRPC alone")
        })?;
        let resumed = service.clone();
        tokio::spawn(async move { resumed.resume().await });
        Ok(Serving { listen, server: Some(Server::new(service, Limits::default())) })
    }
}

/// SQS as it is served.
pub(super) struct Serving {
    listen: Vec<Listen>,
    /// None where it is not spoken.
    server: Option<Server>,
}

impl Serving {
    pub(super) async fn listen(&self) -> Result<Vec<Place>, Failure> {
        let Some(server) = &self.server else { return Ok(Vec::new()) };
        let mut places = Vec::with_capacity(self.listen.len());
        for listen in &self.listen {
            let scheme = if listen.tls.is_some() { "https" } else { "http" };
            places.push(Place::at(scheme, server.listen(listen.clone()).await?));
        }
        Ok(places)
    }

    /// Whether all was answered.
    pub(super) async fn stop(&self, patience: Duration) -> bool {
        match &self.server {
            Some(server) => server.stop(patience).await,
            None => true,
        }
    }
}
