//! What a history shows.

use std::fmt;

/// The name of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Judgement {
    /// A task was acknowledged and is nowhere.
    Lost,
    /// A task came out that nobody sent.
    Unexpected,
    /// Two leases of one task held at the same time.
    LeaseOverlap,
    /// A settle or extend was carried out with a token older than the newest delivery.
    StaleAccept,
    /// A task was handed out after its complete was acknowledged.
    Resurrected,
    /// A task was handed out before its time.
    Early,
    /// A task was handed out before one of its key that was sent earlier was over.
    FifoInversion,
    /// Two tasks were made with one dedup key while it was held.
    DedupEscape,
    /// A task went to the dead letters and is not among them.
    DlqLost,
    /// The broker's counts are not those of what it holds.
    CountDrift,
    /// Reported, not invalid: a send without an answer was carried out.
    Recovered,
    /// Reported, not invalid: a task was handed out again, and why that was.
    DuplicatedDelivery,
}

impl Judgement {
    /// Whether no broker that keeps the contract can show it.
    pub const fn is_invalid(self) -> bool {
        !matches!(self, Self::Recovered | Self::DuplicatedDelivery)
    }

    /// Its name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Unexpected => "unexpected",
            Self::LeaseOverlap => "lease-overlap",
            Self::StaleAccept => "stale-accept",
            Self::Resurrected => "resurrected",
            Self::Early => "early",
            Self::FifoInversion => "fifo-inversion",
            Self::DedupEscape => "dedup-escape",
            Self::DlqLost => "dlq-lost",
            Self::CountDrift => "count-drift",
            Self::Recovered => "recovered",
            Self::DuplicatedDelivery => "duplicated-delivery",
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that a history shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is called.
    pub judgement: Judgement,
    /// The task, or the queue for counts.
    pub about: String,
    /// What was seen, with times.
    pub why: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.judgement, self.about, self.why)
    }
}

/// All that a history shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many events were judged.
    pub events: usize,
    /// How many tasks they were about.
    pub tasks: usize,
    /// What was found, invalid or only reported.
    pub found: Vec<Finding>,
    /// What could not be judged, and what is missing for it.
    pub undecided: Vec<String>,
}

impl Findings {
    /// Whether nothing was found that a sound broker cannot show.
    pub fn is_valid(&self) -> bool {
        !self.found.iter().any(|finding| finding.judgement.is_invalid())
    }

    /// Those of one name.
    pub fn of(&self, judgement: Judgement) -> impl Iterator<Item = &Finding> {
        self.found.iter().filter(move |finding| finding.judgement == judgement)
    }

    pub(super) fn add(
        &mut self,
        judgement: Judgement,
        about: impl Into<String>,
        why: impl Into<String>,
    ) {
        self.found.push(Finding { judgement, about: about.into(), why: why.into() });
    }
}

/// How many findings are written out; the rest is counted.
const SHOWN_MAX: usize = 20;

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (invalid, reported): (Vec<_>, Vec<_>) =
            self.found.iter().partition(|finding| finding.judgement.is_invalid());
        writeln!(
            f,
            "{} events of {} tasks: {} invalid, {} reported, {} undecided",
            self.events,
            self.tasks,
            invalid.len(),
            reported.len(),
            self.undecided.len()
        )?;
        for finding in invalid.iter().take(SHOWN_MAX) {
            writeln!(f, "  {finding}")?;
        }
        if invalid.len() > SHOWN_MAX {
            writeln!(f, "  and {} more", invalid.len() - SHOWN_MAX)?;
        }
        self.undecided.iter().try_for_each(|what| writeln!(f, "  undecided: {what}"))
    }
}
