//! Tidegate's contract over a connection.
//!
//! The protocol is `proto/tidegate/v1/broker.proto`: that file is its documentation. [`client`] is a
//! driver that speaks it, [`service`] answers it over any broker, [`listen`] puts the service on a
//! Unix socket or a TCP port. `wire` turns the protocol's messages into the contract's words and
//! back, and is the only place that knows both.

pub mod client;
pub mod listen;
pub mod service;
mod wire;

/// The protocol's messages, as they are made from its description.
#[expect(
    missing_docs,
    clippy::all,
    clippy::allow_attributes,
    reason = "generated; the description has the words"
)]
pub mod proto {
    tonic::include_proto!("tidegate.v1");

    /// The description itself, for servers that reflect it.
    pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");
}
