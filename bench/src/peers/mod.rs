//! The queues that are measured, one file each.

pub(crate) mod bare;
mod beanstalkd;
mod nats;
pub(crate) mod postgres;
mod rabbitmq;
pub(crate) mod redis;
pub(crate) mod tidegate;

use crate::peer::Kind;

/// All of them. The first is what the others are held against.
pub(crate) const ALL: &[Kind] = &[
    tidegate::EMBEDDED,
    tidegate::SOCKET,
    tidegate::TCP,
    bare::KIND,
    redis::LISTS,
    redis::STREAMS,
    nats::KIND,
    rabbitmq::KIND,
    postgres::KIND,
    beanstalkd::KIND,
];
