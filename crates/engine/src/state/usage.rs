//! How much of each segment is still needed, so that the oldest can be cleaned, and which pages of
//! the log hold no live body any more, so that their memory can be given back.

use std::collections::BTreeMap;

use crate::position::Position;

/// Bytes of a page: the unit in which bodies are kept in memory.
pub(crate) const PAGE_BYTES: usize = 1 << 18;

/// What lives where.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    segments: BTreeMap<u32, SegmentUsage>,
    live_bytes: u64,
    /// Pages that held a live body and hold none now.
    emptied: Vec<(u32, u32)>,
}

#[derive(Debug, Default)]
struct SegmentUsage {
    live: u32,
    /// Live bodies by the page in which they begin.
    pages: Vec<u32>,
}

impl Usage {
    /// A body lies here.
    pub(crate) fn attach(&mut self, body: Position, len: u32) {
        self.live_bytes += u64::from(len);
        let segment = self.segments.entry(body.segment()).or_default();
        segment.live += 1;
        let page = body.offset() as usize / PAGE_BYTES;
        if segment.pages.len() <= page {
            segment.pages.resize(page + 1, 0);
        }
        if let Some(count) = segment.pages.get_mut(page) {
            *count += 1;
        }
    }

    /// The body that lay here is no longer needed.
    pub(crate) fn detach(&mut self, body: Position, len: u32) {
        self.live_bytes = self.live_bytes.saturating_sub(u64::from(len));
        let Some(segment) = self.segments.get_mut(&body.segment()) else { return };
        segment.live = segment.live.saturating_sub(1);
        let page = body.offset() as usize / PAGE_BYTES;
        let Some(count) = segment.pages.get_mut(page) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.emptied.push((body.segment(), page as u32));
        }
    }

    /// Whether a page holds no live body.
    pub(crate) fn is_page_empty(&self, segment: u32, page: u32) -> bool {
        let count = self.segments.get(&segment).and_then(|s| s.pages.get(page as usize));
        count.is_none_or(|count| *count == 0)
    }

    /// Pages that were emptied since this was last asked.
    pub(crate) fn take_emptied(&mut self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.emptied)
    }

    pub(crate) fn has_emptied(&self) -> bool {
        !self.emptied.is_empty()
    }

    /// Live bodies in a segment.
    pub(crate) fn live_in(&self, segment: u32) -> u32 {
        self.segments.get(&segment).map_or(0, |segment| segment.live)
    }

    /// Bytes of all live bodies.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// A segment is gone.
    pub(crate) fn forget(&mut self, segment: u32) {
        self.segments.remove(&segment);
    }
}
