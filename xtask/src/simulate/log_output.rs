//! What the engine says in its log output: there, damage must be named.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Hears errors on the thread it is made the default of.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogOutput {
    damage: Arc<Mutex<Vec<Damage>>>,
}

/// Frames that were named as damaged: from this number, up to but not including the other.
#[derive(Clone, Copy, Debug, Default)]
struct Damage {
    from_frame: u64,
    to_frame: u64,
}

impl LogOutput {
    /// Whether a frame was named as damaged since this was last asked to forget.
    pub(crate) fn names(&self, frame: u64) -> bool {
        let damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        damage.iter().any(|damage| (damage.from_frame..damage.to_frame).contains(&frame))
    }

    pub(crate) fn forget(&self) {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Visit for Damage {
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "from_frame" => self.from_frame = value,
            "to_frame" => self.to_frame = value,
            _ => {}
        }
    }
}

impl Subscriber for LogOutput {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn event(&self, event: &Event<'_>) {
        let mut damage = Damage::default();
        event.record(&mut damage);
        if damage.to_frame > 0 {
            self.damage.lock().unwrap_or_else(PoisonError::into_inner).push(damage);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
