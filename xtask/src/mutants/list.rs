//! The bugs: one small change of the engine each, of the kind that has cost others their users'
//! data.

/// A bug that is put into the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    /// The file, from the root of the workspace.
    pub(crate) file: &'static str,
    /// The text that is replaced. It stands in the file once.
    pub(crate) find: &'static str,
    pub(crate) put: &'static str,
}

const fn mutant(
    name: &'static str,
    file: &'static str,
    find: &'static str,
    put: &'static str,
) -> Mutant {
    Mutant { name, file, find, put }
}

const COMMIT: &str = "crates/engine/src/commit.rs";
const ENGINE: &str = "crates/engine/src/engine.rs";
const FRAME: &str = "crates/engine/src/log/frame.rs";
const JANITOR: &str = "crates/engine/src/janitor.rs";
const LOG: &str = "crates/engine/src/log/mod.rs";
const RECOVERY: &str = "crates/engine/src/log/recovery.rs";
const SESSION: &str = "crates/engine/src/session.rs";
const SETTLE: &str = "crates/engine/src/state/settle.rs";
const SPARES: &str = "crates/engine/src/log/spares.rs";

const RECEIVE: &str = "crates/engine/src/state/receive.rs";
const SEGMENT: &str = "crates/engine/src/log/segment.rs";

/// All of them, by what they break: durability first, then recovery, cleaning, and the state.
pub(crate) const ALL: &[Mutant] = &[
    mutant(
        "acknowledge before the sync",
        COMMIT,
        "Durability::Always => self.synced() >= needed",
        "Durability::Always => self.written() >= needed",
    ),
    mutant(
        "retry a failed sync",
        COMMIT,
        "if let Err(error) = segment.file.sync() {",
        "if let Err(error) = segment.file.sync().or_else(|_| segment.file.sync()) {",
    ),
    mutant(
        "go on after a failed sync",
        COMMIT,
        "self.fail(format!(\"syncing segment {} of the log: {error}\", segment.id));\n                \
         return self.poison.check(Operation::Settle).map(|()| false);",
        "tracing::warn!(%error);",
    ),
    mutant(
        "go on after a failed write",
        COMMIT,
        "self.fail(format!(\"writing segment {} of the log: {error}\", segment.id));\n                \
         return self.poison.check(doing);",
        "tracing::warn!(%error);",
    ),
    mutant(
        "call synced what was appended during the sync",
        COMMIT,
        "        self.synced.store(end.as_u64(), Ordering::SeqCst);",
        "        let end = shell.lock().log.end();\n        \
         self.synced.store(end.as_u64(), Ordering::SeqCst);",
    ),
    mutant(
        "sync only the last of two segments",
        COMMIT,
        "for segment in &segments {",
        "for segment in segments.iter().rev().take(1) {",
    ),
    mutant(
        "hand out a task before its enqueue is durable",
        SESSION,
        "        shell.commit.durable(shell, grant.depends, RECEIVE).await?;\n",
        "",
    ),
    mutant(
        "hand out a lease before its record is written",
        SESSION,
        "        shell.commit.written_by(shell, written, RECEIVE).await?;\n",
        "        let _ = written;\n",
    ),
    mutant(
        "hand out a successor before its predecessor's end is durable",
        SETTLE,
        "self.remove(index, at, depends);\n                Condition::Done",
        "self.remove(index, at, Position::START);\n                Condition::Done",
    ),
    mutant(
        "answer a duplicate before the original is durable",
        "crates/engine/src/shell.rs",
        "        if log.end() != before {\n            self.effects_end = log.end();\n        }\n",
        "        if log.end() == before {\n            return (answer, Position::START);\n        }\n        \
         self.effects_end = log.end();\n",
    ),
    mutant(
        "skip the sync of the directory after a rename",
        SPARES,
        "        self.sync_dir()?;\n        let Spare",
        "        let Spare",
    ),
    mutant(
        "skip the sync of the directories that were made",
        ENGINE,
        "skip(1).filter(|_| synced)",
        "skip(1).filter(|_| false && synced)",
    ),
    mutant(
        "skip the sync of a new epoch",
        ENGINE,
        "    shell.commit.sync_for(&shell)?;\n    Ok(shell)",
        "    let end = shell.lock().log.end();\n    shell.commit.write(&shell, end, Operation::Open)?;\n    \
         Ok(shell)",
    ),
    mutant(
        "claim in a frame that the frame before it is synced",
        LOG,
        "Header::new(kind, lsn, now, self.synced_lsn, body)",
        "Header::new(kind, lsn, now, lsn.saturating_sub(1), body)",
    ),
    mutant(
        "no salt: a frame of the file's former life counts",
        SEGMENT,
        "crc32c::crc32c_append(crc32c::crc32c(&self.log), &self.id.to_le_bytes())",
        "crc32c::crc32c(&self.log)",
    ),
    mutant(
        "do not check a frame's body",
        FRAME,
        "body.filter(|body| masked(crc32c::crc32c(body)) == header.body_crc)",
        "body",
    ),
    mutant(
        "do not check a frame's header",
        FRAME,
        "if crc != header_crc(covered, salt).to_le_bytes() {",
        "if false && crc != header_crc(covered, salt).to_le_bytes() {",
    ),
    mutant(
        "take frames after a gap of unsynced ones for the log",
        RECOVERY,
        "if expected > self.ends.synced_lsn && self",
        "if expected > self.ends.synced_lsn + 3 && self",
    ),
    mutant(
        "leave frames behind the end where they are",
        ENGINE,
        "        erase_ghosts(&recovered)?;\n",
        "        let _ = erase_ghosts;\n",
    ),
    mutant(
        "do not write the unsynced tail again",
        ENGINE,
        "        rewrite_unsynced(&recovered)?;\n",
        "        let _ = rewrite_unsynced;\n",
    ),
    mutant(
        "give up a segment on the word of a frame that does not count",
        RECOVERY,
        "replay.finish(log, &files, state.numbers().floor)",
        "{ let floor = replay.ends.floor; replay.finish(log, &files, floor) }",
    ),
    mutant(
        "clean before the copies are durable",
        JANITOR,
        "outlive a power cut that takes what was written before it.\n        self.sync().await?;",
        "outlive a power cut that takes what was written before it.",
    ),
    mutant(
        "use a file again before the log gives it up",
        JANITOR,
        "        self.sync().await?;\n        let mut core = self.shell.lock();\n        for _ in",
        "        let mut core = self.shell.lock();\n        for _ in",
    ),
    mutant(
        "use a file again while somebody reads it",
        JANITOR,
        "Arc::strong_count(segment) == 1",
        "Arc::strong_count(segment) >= 1",
    ),
    mutant(
        "pass over what could not be copied",
        JANITOR,
        "                    self.cleaning = None;\n                    return Err(error);",
        "                    return Err(error);",
    ),
    mutant(
        "do not copy dedup entries",
        "crates/engine/src/log/clean.rs",
        "Record::Dedup { queue, key, .. } => vec![Candidate::Dedup { queue, key: key.into() }],\n",
        "",
    ),
    mutant(
        "do not compare the fence",
        SETTLE,
        "slot.is_some_and(|slot| slot.fence == fence && !slot.settled)",
        "slot.is_some_and(|slot| !slot.settled)",
    ),
    mutant("settle the same delivery twice", SETTLE, "        slot.settled = true;\n", ""),
    mutant(
        "a release counts as an attempt",
        SETTLE,
        "                    slot.uncounted = slot.uncounted.saturating_add(1);\n",
        "                    let _ = slot;\n",
    ),
    mutant(
        "hand out a task again with the fence it had",
        RECEIVE,
        "        slot.fence = fence;\n",
        "        slot.fence = if slot.deliveries > 1 { slot.fence } else { fence };\n",
    ),
    mutant(
        "one more task than the capacity",
        "crates/engine/src/state/enqueue.rs",
        "if queue.spec.capacity.room(live) == 0 {",
        "if live > 0 && queue.spec.capacity.room(live - 1) == 0 {",
    ),
    mutant(
        "a dedup key that has ended still holds",
        "crates/engine/src/state/time.rs",
        "self.dedup_ends.first().filter(|(until, ..)| *until <= now)",
        "self.dedup_ends.first().filter(|(until, ..)| *until < now)",
    ),
    mutant(
        "a purge that is not written",
        "crates/engine/src/state/administer.rs",
        "frame.put_purged",
        "let _ = |frame: &mut Frame<'_>| frame.put_purged",
    ),
    mutant(
        "hand out a task that came back before its own send is durable",
        RECEIVE,
        "grant.depends = grant.depends.max(sent);",
        "let _ = sent;",
    ),
    mutant(
        "take a header without its body for a frame behind the end",
        "crates/engine/src/log/window.rs",
        "if self.frame(at)?.is_some() {",
        "if self.frame(at)?.is_some() || at > 0 {",
    ),
    mutant(
        "keep spares that a log without syncs may have had beyond its end",
        ENGINE,
        "recovered.was_closed || !recovered.relaxed",
        "recovered.was_closed || recovered.relaxed || !recovered.relaxed",
    ),
    mutant(
        "take a segment's header for lost when one bit of it flipped",
        SEGMENT,
        ".or_else(|| Self::mend(bytes))",
        "",
    ),
    mutant(
        "clean a segment whose last frames are not written yet",
        JANITOR,
        "self.shell.commit.write(self.shell, written, Operation::Administer)?;",
        "let _ = written;",
    ),
    mutant(
        "take two flipped bits of a header for one",
        SEGMENT,
        "None => flip(&mut tried, bit),",
        "None => {}",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cargo;

    #[test]
    fn every_mutant_can_be_put_in() {
        for Mutant { name, file, find, put } in ALL {
            let text = std::fs::read_to_string(cargo::root().join(file)).unwrap();
            assert_eq!(text.matches(find).count(), 1, "{name}: its place in {file}");
            assert_ne!(find, put, "{name}");
        }
    }

    #[test]
    fn every_mutant_has_a_name_of_its_own() {
        let names: BTreeSet<_> = ALL.iter().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
