//! Making queues and changing them.

use async_trait::async_trait;
use tidegate_core::{
    Admin, Capacity, DeadFilter, Error, ErrorKind, Operation, Ordering, QueueName, QueueSpec,
    Result,
};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, Transaction};

use crate::clock::micros;
use crate::driver::{ID, Postgres};
use crate::errors;
use crate::queues;
use crate::rows::field;
use crate::server::{Parameter, Server};

const ADMINISTER: Operation = Operation::Administer;

/// One look at all specs and one change of them, alone.
struct Change<'a> {
    server: &'a Server,
    step: Transaction<'a>,
    specs: Vec<QueueSpec>,
    operation: Operation,
}

impl<'a> Change<'a> {
    async fn begin(
        server: &'a Server,
        connection: &'a mut Client,
        operation: Operation,
    ) -> Result<Self> {
        let failed = |error| server.failed(operation, error);
        let step = connection.build_transaction();
        let step = step.isolation_level(tokio_postgres::IsolationLevel::ReadCommitted);
        let step = step.start().await.map_err(failed)?;
        step.query_typed(&server.statements.declare_lock, &[]).await.map_err(failed)?;
        let rows = step.query_typed(&server.statements.queues, &[]).await.map_err(failed)?;
        let spec = |row: &Row| queues::spec(field(row, 1, operation)?, operation);
        let specs = rows.iter().map(spec).collect::<Result<_>>()?;
        Ok(Self { server, step, specs, operation })
    }

    fn spec(&self, name: &QueueName) -> Option<&QueueSpec> {
        self.specs.iter().find(|spec| spec.name == *name)
    }

    /// Who names this queue as its dead-letter queue.
    fn user_of(&self, name: &QueueName) -> Option<&QueueSpec> {
        self.specs.iter().find(|spec| spec.dead_letters.queue.as_ref() == Some(name))
    }

    async fn make_dead_letter_queue(&self, spec: &QueueSpec) -> Result<()> {
        let Some(name) = &spec.dead_letters.queue else {
            return Ok(());
        };
        let conflict = |why: String| Err(Error::new(ErrorKind::Conflict, self.operation, why));
        match self.spec(name).map(|found| &found.dead_letters.queue) {
            Some(Some(_)) => {
                return conflict(format!(
                    "{name:?} has a dead-letter queue itself and can't be one"
                ));
            }
            Some(None) => {}
            None => {
                let queue = QueueSpec::dead_letter_queue(name.clone(), &spec.dead_letters);
                self.put(&queue, &self.server.statements.add_queue).await?;
            }
        }
        if self.user_of(&spec.name).is_some() {
            let why = "it is the dead-letter queue of another queue and can't name one itself";
            return conflict(why.into());
        }
        Ok(())
    }

    /// Adds a queue.
    async fn put(&self, spec: &QueueSpec, statement: &str) -> Result<()> {
        let columns = Columns::of(spec, self.operation)?;
        self.query(statement, &columns.to_add()).await?;
        Ok(())
    }

    async fn query(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>> {
        let rows = self.step.query_typed(statement, parameters).await;
        rows.map_err(|error| self.server.failed(self.operation, error))
    }

    async fn commit(self) -> Result<()> {
        let Self { server, step, specs: _, operation } = self;
        step.commit().await.map_err(|error| server.failed(operation, error))
    }
}

/// A spec as the columns that the functions read.
struct Columns {
    name: String,
    spec: String,
    ordered: bool,
    capacity: Option<i64>,
    lease: i64,
    attempts: i64,
    retention: Option<i64>,
    dead_queue: Option<String>,
    dead_kept: i64,
}

impl Columns {
    fn of(spec: &QueueSpec, operation: Operation) -> Result<Self> {
        let QueueSpec {
            name,
            ordering,
            router: _,
            partitions: _,
            capacity,
            lease,
            retry,
            dead_letters,
            dedup_window: _,
            retention,
            payload_bytes_max: _,
            labels: _,
            revision: _,
        } = spec;
        let json = serde_json::to_string(spec);
        let json =
            json.map_err(|error| Error::new(ErrorKind::Invalid, operation, error.to_string()))?;
        Ok(Self {
            name: name.as_str().to_owned(),
            spec: json,
            ordered: *ordering == Ordering::Key,
            capacity: match capacity {
                Capacity::Bounded(bound) => Some(i64::try_from(*bound).unwrap_or(i64::MAX)),
                Capacity::Unbounded => None,
            },
            lease: micros(*lease),
            attempts: i64::from(retry.max_attempts),
            retention: retention.map(micros),
            dead_queue: dead_letters.queue.as_ref().map(|name| name.as_str().to_owned()),
            dead_kept: micros(dead_letters.retention),
        })
    }

    fn to_add(&self) -> [Parameter<'_>; 9] {
        [
            (&self.name, Type::TEXT),
            (&self.spec, Type::TEXT),
            (&self.ordered, Type::BOOL),
            (&self.capacity, Type::INT8),
            (&self.lease, Type::INT8),
            (&self.attempts, Type::INT8),
            (&self.retention, Type::INT8),
            (&self.dead_queue, Type::TEXT),
            (&self.dead_kept, Type::INT8),
        ]
    }

    fn to_change(&self) -> [Parameter<'_>; 8] {
        [
            (&self.name, Type::TEXT),
            (&self.spec, Type::TEXT),
            (&self.capacity, Type::INT8),
            (&self.lease, Type::INT8),
            (&self.attempts, Type::INT8),
            (&self.retention, Type::INT8),
            (&self.dead_queue, Type::TEXT),
            (&self.dead_kept, Type::INT8),
        ]
    }
}

/// Creates a queue, or finds it with the same spec.
pub(crate) async fn declare(postgres: &Postgres, spec: &QueueSpec) -> Result<()> {
    const DECLARE: Operation = Operation::Declare;
    let server = &postgres.inner.server;
    let mut connection = server.connection(DECLARE).await?;
    let change = Change::begin(server, &mut connection, DECLARE).await?;
    if let Some(found) = change.spec(&spec.name) {
        return match found.first_difference(spec) {
            None => Ok(()),
            Some(field) => {
                let why = format!(
                    "the queue exists with another {field}; update it instead of declaring it"
                );
                Err(Error::new(ErrorKind::Conflict, DECLARE, why))
            }
        };
    }
    change.make_dead_letter_queue(spec).await?;
    let first = QueueSpec { revision: 1, ..spec.clone() };
    change.put(&first, &server.statements.add_queue).await?;
    change.commit().await
}

async fn update(postgres: &Postgres, spec: &QueueSpec) -> Result<QueueSpec> {
    let server = &postgres.inner.server;
    let mut connection = server.connection(ADMINISTER).await?;
    let change = Change::begin(server, &mut connection, ADMINISTER).await?;
    let conflict = |why: String| Err(Error::new(ErrorKind::Conflict, ADMINISTER, why));
    let Some(old) = change.spec(&spec.name) else {
        return Err(errors::missing(&spec.name, ADMINISTER));
    };
    if old.revision != spec.revision {
        let (is, not) = (old.revision, spec.revision);
        return conflict(format!(
            "the queue was changed meanwhile: its revision is {is}, not {not}; read it again"
        ));
    }
    if let Some(field) = old.fixed_difference(spec) {
        return conflict(format!("the {field} of a queue cannot change; make a new queue"));
    }
    change.make_dead_letter_queue(spec).await?;
    let updated = QueueSpec { revision: spec.revision + 1, ..spec.clone() };
    let columns = Columns::of(&updated, ADMINISTER)?;
    if columns.capacity.is_some() {
        change.query(&server.statements.start_counting, &[(&columns.name, Type::TEXT)]).await?;
    }
    let rows = change.query(&server.statements.change_queue, &columns.to_change()).await?;
    if let Some(row) =
        rows.first().filter(|_| updated.retention.is_some() && old.retention.is_none())
    {
        let id: i64 = field(row, 0, ADMINISTER)?;
        change.query(&server.statements.start_aging, &[(&id, ID)]).await?;
    }
    change.commit().await?;
    Ok(updated)
}

async fn delete(postgres: &Postgres, name: &QueueName) -> Result<()> {
    let queue = postgres.current_queue(name, ADMINISTER).await?;
    let server = &postgres.inner.server;
    let mut connection = server.connection(ADMINISTER).await?;
    let change = Change::begin(server, &mut connection, ADMINISTER).await?;
    if let Some(user) = change.user_of(name) {
        let why =
            format!("it is the dead-letter queue of {:?}; change that queue first", user.name);
        return Err(Error::new(ErrorKind::Conflict, ADMINISTER, why));
    }
    change.query(&server.statements.remove_queue, &[(&queue.id, ID)]).await?;
    change.commit().await?;
    postgres.inner.queues.forget(name);
    Ok(())
}

/// The parameters that say which dead tasks are meant.
pub(crate) struct Meant {
    id: i64,
    limit: i64,
    reason: Option<String>,
}

impl Meant {
    pub(crate) fn new(id: i64, filter: &DeadFilter) -> Self {
        let limit = i64::try_from(filter.limit()).unwrap_or(i64::MAX);
        Self { id, limit, reason: filter.reason.clone() }
    }

    pub(crate) fn parameters(&self) -> [Parameter<'_>; 3] {
        [(&self.id, ID), (&self.limit, Type::INT8), (&self.reason, Type::TEXT)]
    }
}

impl Postgres {
    /// Does something to a queue as it is now, with all that is due done before.
    async fn count(&self, name: &QueueName, statement: &str, filter: &DeadFilter) -> Result<u64> {
        let queue = self.advanced_queue(name, ADMINISTER).await?;
        let meant = Meant::new(queue.id, filter);
        let all = meant.parameters();
        let takes = if statement.contains("$3") { &all[..] } else { &all[..1] };
        let rows = self.inner.server.call(ADMINISTER, statement, takes).await;
        let rows = errors::on(name, rows)?;
        let count: Option<i64> = rows.first().map(|row| field(row, 0, ADMINISTER)).transpose()?;
        let count = count.unwrap_or(0).unsigned_abs();
        self.inner.events.tell(&queue, usize::try_from(count).unwrap_or(usize::MAX));
        Ok(count)
    }
}

#[async_trait]
impl Admin for Postgres {
    async fn update(&self, spec: &QueueSpec) -> Result<QueueSpec> {
        errors::on(&spec.name, update(self, spec).await)
    }

    async fn delete(&self, queue: &QueueName) -> Result<()> {
        errors::on(queue, delete(self, queue).await)
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        self.count(queue, &self.inner.server.statements.purge, &DeadFilter::default()).await
    }

    async fn purge_dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        self.count(queue, &self.inner.server.statements.purge_dead, filter).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<()> {
        let known = self.current_queue(queue, ADMINISTER).await?;
        let server = &self.inner.server;
        let parameters: [Parameter<'_>; 2] = [(&known.id, ID), (&paused, Type::BOOL)];
        errors::on(queue, server.call(ADMINISTER, &server.statements.pause, &parameters).await)?;
        if !paused {
            // WHY: all who wait, as many as they are, look again.
            self.inner.events.tell(&known, usize::try_from(u32::MAX).unwrap_or(usize::MAX));
        }
        Ok(())
    }

    async fn redrive(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        self.count(queue, &self.inner.server.statements.redrive, filter).await
    }
}
