//! One who looks at queues and changes them while others work.

use std::sync::Arc;

use fastrand::Rng;
use tidegate_conformance::history::{Outcome, What};
use tidegate_core::{DeadFilter, ListOptions};

use super::book::name;
use super::scenario::{FADING, JUDGED, MOVING, ORDERED, PLAIN, queue};
use super::stage::{Failure, Stage};

/// An administrator.
pub(crate) struct Admin {
    stage: Arc<Stage>,
    /// Whether it purges: then what is missing of a queue cannot be told any more, and it does not
    /// redrive, so that nothing that was purged may come back.
    purges: bool,
    rng: Rng,
}

impl Admin {
    pub(crate) fn new(stage: Arc<Stage>, purges: bool, rng: Rng) -> Self {
        Self { stage, purges, rng }
    }

    /// Works until something fails or the process ends.
    pub(crate) async fn run(mut self) {
        loop {
            if let Err(failure) = self.step().await {
                return self.stage.failed("admin", &failure);
            }
            self.stage.pause(&mut self.rng, 60).await;
        }
    }

    async fn step(&mut self) -> Result<(), Failure> {
        let to = *self.rng.choice(&[PLAIN, ORDERED, MOVING, FADING]).unwrap_or(&PLAIN);
        match self.rng.u8(0..10) {
            0..3 => self.look(to).await,
            3..5 => self.pause(to).await,
            5..8 if self.purges => self.purge(to).await,
            5..8 => self.redrive(to).await,
            _ => {
                let filter = DeadFilter { limit: Some(1), ..DeadFilter::default() };
                self.stage.broker.admin()?.purge_dead(&queue(FADING)?, &filter).await.map(drop)
            }
        }
    }

    /// What is shown must outlive any crash.
    async fn look(&mut self, to: &str) -> Result<(), Failure> {
        let options = ListOptions { state: None, after: None, limit: 100 };
        let views = self.stage.broker.inspect()?.list(&queue(to)?, &options).await?;
        // WHY: one whose body cannot be read is listed without its id.
        let told = views.iter().filter(|view| *view.task.id.as_bytes() != [0; 16]);
        for view in told {
            self.stage.book.witness(&name(view.task.id));
            self.stage.book.note_sequence(view.task.id, view.task.sequence);
        }
        Ok(())
    }

    /// Lets a queue rest, and sometimes goes on before it has rested.
    async fn pause(&mut self, to: &'static str) -> Result<(), Failure> {
        let admin = self.stage.broker.admin()?;
        let to_queue = queue(to)?;
        admin.pause(&to_queue, true).await?;
        self.stage.book.paused(to);
        self.stage.pause(&mut self.rng, 40).await;
        self.stage.book.resuming(to);
        admin.pause(&to_queue, false).await
    }

    async fn redrive(&mut self, to: &str) -> Result<(), Failure> {
        let what = What::Redriven { queue: to.into() };
        let begun = self.stage.book.begin("admin", vec![what.clone()]);
        let limit = self.rng.bool().then(|| self.rng.usize(1..4));
        let filter = DeadFilter { limit, ..DeadFilter::default() };
        self.stage.broker.admin()?.redrive(&queue(to)?, &filter).await?;
        self.stage.book.end(&begun, vec![(Outcome::Ok, what)]);
        Ok(())
    }

    async fn purge(&mut self, to: &str) -> Result<(), Failure> {
        let what = What::Purged { queue: to.into() };
        let begun = self.stage.book.begin("admin", vec![what.clone()]);
        if JUDGED.contains(&to) {
            self.stage.book.pages().issued.retain(|issued| issued.queue != to);
        }
        self.stage.broker.admin()?.purge(&queue(to)?).await?;
        self.stage.book.end(&begun, vec![(Outcome::Ok, what)]);
        Ok(())
    }
}
