//! Tasks that go from one queue to another: dead letters, and back. The source writes the move down in the step that
//! takes the task out; whoever sees it carries it over; the target knows it by its name if it comes twice.

use redis::Cmd;
use tidegate_core::{Operation, QueueName, Result};

use crate::driver::Redis;
use crate::partition::Partition;
use crate::reply::{Parts, int_of, strange};
use crate::script;

/// Moves that are carried over in one round.
const ROUND: usize = 100;

impl Redis {
    /// Carries over all that is on its way out of a partition. Whatever is not, because the connection was lost,
    /// is by the next who asks the partition for anything.
    pub(crate) async fn carry_over(&self, from: &Partition, doing: Operation) -> Result<()> {
        loop {
            let moves = self
                .link
                .run(&script::MOVES, from, doing, |call| {
                    call.arg(ROUND);
                })
                .await?;
            let moves = Parts::of(moves, doing)?;
            if moves.len() == 0 {
                return Ok(());
            }
            for one in moves.each() {
                let mut one = one?;
                let (name, to) =
                    (one.bytes()?, QueueName::new(one.text()?).map_err(|_| strange(doing))?);
                let (key, content) = (one.maybe_text()?, one.bytes()?);
                let arrived = self.arrive(&to, key.as_deref(), &name, &content, doing).await?;
                let moved = |call: &mut Cmd| {
                    call.arg(&name[..]).arg(i64::from(arrived));
                };
                self.link.run(&script::MOVED, from, doing, moved).await?;
            }
        }
    }

    /// Whether the queue that a move goes to is there and has it now.
    async fn arrive(
        &self,
        to: &QueueName,
        key: Option<&str>,
        name: &[u8],
        content: &[u8],
        doing: Operation,
    ) -> Result<bool> {
        let Some(known) = self.find(to, doing).await? else { return Ok(false) };
        let partition = known.router.route(key, self.turn(), known.partitions);
        let partition = self.partition(to, partition);
        let arrive = |call: &mut Cmd| {
            call.arg(name).arg(content);
        };
        let arrived = self.link.run(&script::ARRIVE, &partition, doing, arrive).await?;
        Ok(int_of(&arrived, doing)? == 1)
    }
}
