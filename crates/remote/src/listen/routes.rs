//! What is answered on a socket, and within which bounds.

use tidegate_core::{Error, ErrorKind, Operation, Result};
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::layer::util::{Identity, Stack};

use super::deadline::DeadlineLayer;
use super::gate::Gate;
use super::metered::MeteredLayer;
use super::{Keepalive, Options};
use crate::proto;
use crate::proto::broker_server::BrokerServer;
use crate::service::Service;

/// Most bytes of the headers of a request: a token and a few names need hundreds.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Bytes that a client may send on a stream before the service reads them: enough for 100 MB/s over
/// 10 ms,
const STREAM_WINDOW: u32 = 1 << 20;
/// and on all its streams together. WHY: it is what a client can make the server hold unread, so a few
/// streams at full speed and no more: at the most connections that is 4 GiB.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Calls that a client may take back before the server has looked at them, and calls that the server
/// may have to refuse; a client that goes on after that is closed. WHY: each costs the client a few
/// bytes and the server a call. No sound client comes near: it waits when there is no stream left.
const RESETS_MAX: usize = 20;
const REFUSALS_MAX: usize = 1_024;
/// The longest request to health and reflection in bytes: a name and little else.
const SMALL_REQUEST_BYTES_MAX: usize = 16 << 10;

/// A transport whose calls have a deadline, and are read as far as there is room.
pub(super) type Transport = Server<Stack<MeteredLayer, Stack<DeadlineLayer, Identity>>>;

/// The protocol below the calls, and the time that a call has.
pub(super) fn transport(options: &Options) -> Transport {
    let Options {
        limits: _,
        threads: _,
        connections_max: _,
        streams_max,
        first_call_within: _,
        call_timeout,
        part_within: _,
        keepalive: Keepalive { after, within },
    } = *options;
    Server::builder()
        .max_concurrent_streams(streams_max)
        .http2_keepalive_interval(Some(after))
        .http2_keepalive_timeout(Some(within))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(REFUSALS_MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .layer(DeadlineLayer(call_timeout))
        .layer(MeteredLayer)
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
