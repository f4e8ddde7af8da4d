//! What is answered on a socket, and within which bounds.

use std::time::Duration;

use tidegate_core::{Error, ErrorKind, Operation, Result};
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::Options;
use super::gate::Gate;
use crate::proto;
use crate::proto::broker_server::BrokerServer;
use crate::service::Service;

/// A client that says nothing for so long is asked whether it is still there,
const KEEPALIVE: Duration = Duration::from_secs(30);
/// and given up if it does not answer within this.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Most bytes of the headers of a request: a token and a few names need hundreds.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Bytes that a client may send on a stream before the service reads them: enough for 100 MB/s over
/// 10 ms,
const STREAM_WINDOW: u32 = 1 << 20;
/// and on all its streams together. WHY: it is what a client can make the server hold unread, so a few
/// streams at full speed and no more: at the most connections that is 4 GiB.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The longest request to health and reflection in bytes: a name and little else.
const SMALL_REQUEST_BYTES_MAX: usize = 16 << 10;

/// The protocol below the calls.
pub(super) fn transport(options: &Options) -> Server {
    let Options { limits: _, connections_max: _, streams_max, first_call_within: _, call_timeout } =
        *options;
    Server::builder()
        // WHY: it runs until the answer begins. A stream begins with its first breath, so it is bounded
        // for plain calls alone.
        .timeout(call_timeout)
        .max_concurrent_streams(streams_max)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

/// The service behind the gate, and what tells about it.
pub(super) fn routes(
    service: Service,
    health: HealthReporter,
    gate: Gate,
    request_bytes_max: usize,
) -> Result<Routes> {
    // The length stands before the bytes: what is too long is refused unread.
    let broker = BrokerServer::new(service).max_decoding_message_size(request_bytes_max);
    let health = HealthServer::new(HealthService::from_health_reporter(health))
        .max_decoding_message_size(SMALL_REQUEST_BYTES_MAX);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| {
            let why = "the protocol's own description cannot be read";
            Error::new(ErrorKind::Unexpected, Operation::Open, why).caused_by(error)
        })?
        .max_decoding_message_size(SMALL_REQUEST_BYTES_MAX);
    Ok(Routes::new(InterceptedService::new(broker, gate.clone()))
        .add_service(InterceptedService::new(health, Gate::open()))
        .add_service(InterceptedService::new(reflection, gate)))
}
