//! Tasks that go from one queue to another: dead letters, and back. The source writes the move down in the step that
//! takes the task out; whoever sees it has it carried over; the target knows it by its name if it comes twice.

use redis::Cmd;
use tidegate_core::{Operation, QueueName, Result};

use crate::driver::Redis;
use crate::partition::Partition;
use crate::reply::{Parts, int_of, strange};
use crate::script;

/// Moves that are carried over in one round.
const ROUND: usize = 100;

impl Redis {
    /// Carries over all that is on its way out of a partition. What goes to a queue that is away stays written down,
    /// the rest goes on.
    pub(crate) async fn carry_over(&self, from: &Partition, doing: Operation) -> Result<()> {
        let mut away: Vec<QueueName> = Vec::new();
        let mut carried = Ok(());
        loop {
            let moves = self
                .link
                .run(&script::MOVES, from, doing, |call| {
                    call.arg(ROUND);
                })
                .await?;
            let mut arrivals = 0;
            for one in Parts::of(moves, doing)?.each() {
                let mut one = one?;
                let (name, to) =
                    (one.bytes()?, QueueName::new(one.text()?).map_err(|_| strange(doing))?);
                let (key, content) = (one.maybe_text()?, one.bytes()?);
                if away.contains(&to) {
                    continue;
                }
                let arrived = match self.arrive(&to, key.as_deref(), &name, &content, doing).await {
                    Ok(arrived) => arrived,
                    Err(error) => {
                        away.push(to);
                        carried = carried.and(Err(error));
                        continue;
                    }
                };
                let moved = |call: &mut Cmd| {
                    call.arg(&name[..]).arg(i64::from(arrived));
                };
                self.link.run(&script::MOVED, from, doing, moved).await?;
                arrivals += 1;
            }
            if arrivals == 0 {
                return carried;
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
