//! A member of a queue's group: it is heard of, owns its part of the partitions, and shares them out anew when it
//! sees that the members have changed. Owning a partition is to receive from it; who may settle is the fences' to say.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event_listener::{Event, EventListener};
use redis::{Cmd, Value};
use tidegate_core::assignment::{Assignment, assign};
use tidegate_core::{Member, Operation, Partitions, QueueName, Result};
use tokio::task::JoinHandle;

use crate::driver::Redis;
use crate::reply::{Parts, strange};
use crate::script;

/// How often in its time to live a member is heard of.
const BEATS: u32 = 3;

/// A member. Dropping it lets the others wait until it is not heard of any more; see [`Membership::leave`].
#[derive(Debug)]
pub(crate) struct Membership {
    place: Place,
    owned: Arc<Owned>,
    beats: JoinHandle<()>,
}

/// A member's place in the group.
#[derive(Clone, Debug)]
struct Place {
    redis: Redis,
    queue: QueueName,
    id: String,
    partitions: Partitions,
}

/// The partitions of a member, and who waits for a change.
#[derive(Debug, Default)]
struct Owned {
    partitions: Mutex<Vec<u32>>,
    changed: Event,
}

/// A group as it was seen.
struct Seen {
    generation: u64,
    shared_out: u64,
    members: Vec<(String, Duration)>,
    owners: Assignment,
}

impl Membership {
    /// Joins. Returns once the partitions were shared out with this member among the others.
    pub(crate) async fn join(
        redis: Redis,
        queue: QueueName,
        id: String,
        partitions: Partitions,
    ) -> Result<Self> {
        let place = Place { redis, queue, id, partitions };
        let owned = Arc::new(Owned::default());
        owned.set(place.beat(Operation::OpenSession).await?);
        let beats = tokio::spawn(go_on(place.clone(), owned.clone()));
        Ok(Self { place, owned, beats })
    }

    /// The partitions that this member owns now, and word of the next change.
    pub(crate) fn owned(&self) -> (Vec<u32>, EventListener) {
        // INVARIANT: listened to before the look.
        let changed = self.owned.changed.listen();
        (self.owned.partitions.lock().unwrap_or_else(PoisonError::into_inner).clone(), changed)
    }

    /// Leaves, so that the others have its partitions at once.
    pub(crate) async fn leave(&self) -> Result<()> {
        self.beats.abort();
        self.place.hear(false, Operation::Close).await.map(drop)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.beats.abort();
    }
}

impl Owned {
    fn set(&self, partitions: Vec<u32>) {
        let mut owned = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        if *owned != partitions {
            *owned = partitions;
            self.changed.notify(usize::MAX);
        }
    }
}

/// Is heard of in time, and at once when something changes.
async fn go_on(place: Place, owned: Arc<Owned>) {
    let config = &place.redis.shared.config;
    let channel = place.redis.partition(&place.queue, 0).group_channel();
    loop {
        let told = place.redis.shared.wake.listen(&channel);
        match place.beat(Operation::Receive).await {
            Ok(partitions) => owned.set(partitions),
            Err(error) => tracing::warn!(%error, member = place.id, "the group cannot be reached"),
        }
        let next = config.clock.now().plus(config.member_timeout / BEATS);
        tokio::select! {
            () = told => {}
            () = config.clock.sleep_until(next) => {}
        }
    }
}

impl Place {
    /// Is heard of, and shares out the partitions if nobody has since the members changed. Returns its own.
    async fn beat(&self, doing: Operation) -> Result<Vec<u32>> {
        loop {
            let seen = self.hear(true, doing).await?;
            if seen.shared_out == seen.generation {
                return Ok(seen.owners.get(&self.id).into_iter().flatten().copied().collect());
            }
            let members = seen.members.iter().map(|(id, _)| id.as_str());
            let assigned = assign(members, &seen.owners, self.partitions);
            let first = self.redis.partition(&self.queue, 0);
            let share_out = |call: &mut Cmd| {
                call.arg(seen.generation);
                for (id, own) in &assigned {
                    for partition in own {
                        call.arg(*partition).arg(id);
                    }
                }
            };
            // WHY: whoever was faster or has joined meanwhile, the next look tells.
            self.redis.link.run(&script::SHARE_OUT, &first, doing, share_out).await?;
        }
    }

    async fn hear(&self, is_there: bool, doing: Operation) -> Result<Seen> {
        self.redis.group(&self.queue, &self.id, is_there, doing).await
    }
}

impl Redis {
    async fn group(
        &self,
        queue: &QueueName,
        id: &str,
        is_there: bool,
        doing: Operation,
    ) -> Result<Seen> {
        let timeout_us = self.shared.config.member_timeout.as_micros() as u64;
        let group = |call: &mut Cmd| {
            call.arg(id).arg(u8::from(is_there)).arg(timeout_us);
        };
        let answer = self.link.run(&script::GROUP, &self.partition(queue, 0), doing, group).await;
        Seen::read(answer.map_err(|error| error.on(queue))?, doing)
    }

    /// The members of a queue's group.
    pub(crate) async fn members_of(
        &self,
        queue: &QueueName,
        doing: Operation,
    ) -> Result<Vec<Member>> {
        let Seen { members, owners, .. } = self.group(queue, "", false, doing).await?;
        let member = |(id, heartbeat_age): (String, Duration)| {
            let partitions = owners.get(&id).into_iter().flatten().copied().collect();
            Member { id, partitions, heartbeat_age }
        };
        Ok(members.into_iter().map(member).collect())
    }
}

impl Seen {
    fn read(answer: Value, doing: Operation) -> Result<Self> {
        let mut answer = Parts::of(answer, doing)?;
        let (generation, shared_out) = (answer.number()?, answer.number()?);
        let (mut ids, mut pairs, mut ages) = (answer.parts()?, answer.parts()?, answer.parts()?);
        let mut members = Vec::new();
        while ids.len() > 0 {
            members.push((ids.text()?, Duration::from_micros(ages.number()?)));
        }
        let mut owners = Assignment::new();
        while pairs.len() > 0 {
            let partition = u32::try_from(pairs.number()?).map_err(|_| strange(doing))?;
            owners.entry(pairs.text()?).or_default().insert(partition);
        }
        Ok(Self { generation, shared_out, members, owners })
    }
}
