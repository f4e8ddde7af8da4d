//! Looking at the engine's queues and changing them.

use async_trait::async_trait;
use tidegate_core::{
    Admin, Bytes, DeadFilter, Inspect, ListOptions, Member, Operation, QueueName, QueueSpec,
    QueueStats, Result, State as Condition, Task, TaskId, TaskView, Timestamp,
};

use crate::bodies::Bodies;
use crate::driver::{EngineDriver, spec_bytes_max};
use crate::log::body::Body;
use crate::position::Position;
use crate::shell::Core;
use crate::state::{Sketch, State};

const INSPECT: Operation = Operation::Inspect;
const ADMINISTER: Operation = Operation::Administer;
/// Bytes of the record that drops or redrives one dead task.
const DEAD_BYTES: usize = 16;

impl EngineDriver {
    /// Looks at the state as it will still be after a crash.
    async fn look<T>(&self, look: impl FnOnce(&mut Core) -> Result<T> + Send) -> Result<T>
    where
        T: Send,
    {
        let shell = &self.engine.shell;
        let (seen, end) = shell.command(INSPECT, 0, |core| Ok((look(core)?, core.effects_end)))?;
        shell.commit.durable(shell, end, INSPECT).await?;
        Ok(seen)
    }

    /// Looks at tasks, bodies included.
    async fn look_at_tasks(
        &self,
        find: impl FnOnce(&State) -> Result<Vec<Sketch>> + Send,
    ) -> Result<Vec<TaskView>> {
        let (sketches, bodies, specs) = self
            .look(|core| {
                let sketches = find(&core.state)?;
                let lengths = sketches.iter().map(|sketch| sketch.body_len);
                let mut bodies = Bodies::for_lengths(lengths);
                for sketch in &sketches {
                    bodies.locate(&core.log, sketch.body, sketch.sequence, sketch.body_len);
                }
                let spec = |sketch: &Sketch| core.state.spec(&sketch.queue);
                let specs: Vec<_> = sketches.iter().map(spec).collect::<Result<_>>()?;
                Ok((sketches, bodies, specs))
            })
            .await?;
        let views = sketches.iter().zip(specs).zip(bodies.read()).map(|((sketch, spec), body)| {
            let view = body.ok().and_then(|body| to_view(sketch, &spec, &body));
            view.unwrap_or_else(|| damaged_view(sketch))
        });
        Ok(views.collect())
    }

    /// Changes something, and returns once that is durable.
    async fn change<T: Send>(
        &self,
        bytes: impl FnOnce(&State) -> usize + Send,
        change: impl FnOnce(&mut State, &mut crate::log::record::Frame<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let shell = &self.engine.shell;
        let (answer, end): (T, Position) = shell.command(ADMINISTER, 0, |core| {
            core.reserve_more(bytes(&core.state))?;
            let (answer, end) = core.effect(change);
            Ok((answer?, end))
        })?;
        shell.commit.durable(shell, end, ADMINISTER).await?;
        Ok(answer)
    }

    fn wake(&self, queue: &QueueName) {
        let mut core = self.engine.shell.lock();
        if let Ok(index) = core.state.index_of(queue, ADMINISTER) {
            core.ready(index).notify(usize::MAX);
        }
    }
}

fn to_view(sketch: &Sketch, spec: &QueueSpec, bytes: &Bytes) -> Option<TaskView> {
    let (body, sequence) = (Body::read(bytes)?, sketch.sequence);
    let task = Task {
        id: body.id,
        queue: sketch.queue.clone(),
        kind: String::from(body.kind).into(),
        payload: body.payload_of(bytes),
        headers: body.headers(),
        priority: body.priority,
        ordering_key: body.ordering_key.map(Into::into),
        partition: spec.router.route(body.ordering_key, sequence, spec.partitions),
        sequence,
        deliveries: sketch.deliveries,
        attempt: sketch.attempt,
        enqueued_at: body.enqueued_at,
        last_error: sketch.last_error.clone(),
        dead_letter: sketch.moved.clone(),
    };
    Some(view(sketch, task))
}

/// A task whose body cannot be read is shown, and named as what it is.
fn damaged_view(sketch: &Sketch) -> TaskView {
    let task = Task {
        id: TaskId::from_bytes([0; 16]),
        queue: sketch.queue.clone(),
        kind: "tidegate.damaged".into(),
        payload: Bytes::new(),
        headers: Default::default(),
        priority: 0,
        ordering_key: None,
        partition: 0,
        sequence: sketch.sequence,
        deliveries: sketch.deliveries,
        attempt: sketch.attempt,
        enqueued_at: Timestamp::default(),
        last_error: Some(format!(
            "its payload is damaged on the disk ({:?} of the log)",
            sketch.body
        )),
        dead_letter: sketch.moved.clone(),
    };
    view(sketch, task)
}

fn view(sketch: &Sketch, task: Task) -> TaskView {
    let dead_letter = match sketch.condition {
        Condition::Dead => sketch.dead.clone(),
        _ => sketch.moved.clone(),
    };
    TaskView { task, state: sketch.condition, until: sketch.until, dead_letter }
}

#[async_trait]
impl Inspect for EngineDriver {
    async fn queues(&self) -> Result<Vec<QueueName>> {
        self.look(|core| Ok(core.state.queue_names())).await
    }

    async fn spec(&self, queue: &QueueName) -> Result<QueueSpec> {
        self.look(|core| core.state.spec(queue)).await
    }

    async fn stats(&self, queue: &QueueName) -> Result<QueueStats> {
        self.look(|core| core.state.stats(queue)).await
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<TaskView>> {
        self.look_at_tasks(|state| state.peek(queue, limit)).await
    }

    async fn list(&self, queue: &QueueName, options: &ListOptions) -> Result<Vec<TaskView>> {
        self.look_at_tasks(|state| state.list(queue, options)).await
    }

    async fn get(&self, queue: &QueueName, id: TaskId) -> Result<Option<TaskView>> {
        let views = self.look_at_tasks(|state| state.candidates(queue, id)).await?;
        Ok(views.into_iter().find(|view| view.task.id == id))
    }

    async fn dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<Vec<TaskView>> {
        self.look_at_tasks(|state| state.dead(queue, filter)).await
    }

    async fn members(&self, queue: &QueueName) -> Result<Vec<Member>> {
        self.look(|core| core.state.spec(queue).map(|_| Vec::new())).await
    }
}

#[async_trait]
impl Admin for EngineDriver {
    async fn update(&self, spec: &QueueSpec) -> Result<QueueSpec> {
        self.change(|_| spec_bytes_max(spec), |state, frame| state.update(spec, frame)).await
    }

    async fn delete(&self, queue: &QueueName) -> Result<()> {
        self.wake(queue);
        self.change(|_| DEAD_BYTES, |state, frame| state.delete(queue, frame)).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        self.change(|_| DEAD_BYTES, |state, frame| state.purge(queue, frame)).await
    }

    async fn purge_dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        let bytes = |state: &State| DEAD_BYTES * (state.dead_count(queue) + 1);
        self.change(bytes, |state, frame| state.purge_dead(queue, filter, frame)).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<()> {
        let bytes = |state: &State| state.spec(queue).map_or(0, |spec| spec_bytes_max(&spec));
        self.change(bytes, |state, frame| state.pause(queue, paused, frame)).await?;
        self.wake(queue);
        Ok(())
    }

    async fn redrive(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        let bytes = |state: &State| DEAD_BYTES * (state.dead_count(queue) + 1);
        self.change(bytes, |state, frame| state.redrive(queue, filter, frame)).await
    }
}
