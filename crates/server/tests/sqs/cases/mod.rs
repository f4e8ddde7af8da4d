//! All cases.

mod access;
mod attributes;
mod batches;
mod dead_letters;
mod fifo;
mod messages;
mod moves;
mod queues;
mod visibility;
mod waiting;

use crate::Case;

pub(crate) fn all() -> Vec<Case> {
    [
        access::all(),
        queues::all(),
        attributes::all(),
        messages::all(),
        batches::all(),
        visibility::all(),
        waiting::all(),
        fifo::all(),
        dead_letters::all(),
        moves::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
