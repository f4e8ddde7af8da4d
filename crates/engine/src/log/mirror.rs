//! The newest part of the log in memory, a page at a time, so that a task that is soon received is
//! not read from the disk. A page is given back when no live body begins in it, or when it is the
//! oldest and the budget is used up.

use std::collections::BTreeMap;

use crate::position::Position;
use crate::state::usage::PAGE_BYTES;

/// Pages kept for use again.
const POOL_PAGES: usize = 16;

/// The pages, by segment and by their place in it.
#[derive(Debug)]
pub(crate) struct Mirror {
    segments: BTreeMap<u32, Vec<Option<Page>>>,
    pages: usize,
    pool: Vec<Box<[u8]>>,
    budget_pages: usize,
}

#[derive(Debug)]
struct Page {
    bytes: Box<[u8]>,
    /// The part that is filled.
    from: u32,
    to: u32,
}

impl Mirror {
    pub(crate) fn new(budget_bytes: u64) -> Self {
        let budget_pages = (budget_bytes / PAGE_BYTES as u64).max(2) as usize;
        Self { segments: BTreeMap::new(), pages: 0, pool: Vec::new(), budget_pages }
    }

    /// Copies what was appended to the log at `at`.
    pub(crate) fn append(&mut self, at: Position, mut bytes: &[u8]) {
        let mut offset = at.offset() as usize;
        while !bytes.is_empty() {
            let (page, start) = (offset / PAGE_BYTES, offset % PAGE_BYTES);
            let count = bytes.len().min(PAGE_BYTES - start);
            let (now, later) = bytes.split_at(count);
            self.fill(at.segment(), page, start, now);
            bytes = later;
            offset += count;
        }
    }

    fn fill(&mut self, segment: u32, number: usize, start: usize, bytes: &[u8]) {
        if self.page(segment, number).is_none() {
            self.make_page(segment, number, start);
        }
        let pages = self.segments.get_mut(&segment);
        let Some(Some(page)) = pages.and_then(|pages| pages.get_mut(number)) else { return };
        if let Some(place) = page.bytes.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(bytes);
            page.to = (start + bytes.len()) as u32;
        }
    }

    fn make_page(&mut self, segment: u32, number: usize, start: usize) {
        while self.pages >= self.budget_pages && self.forget_oldest() {}
        let fresh = || vec![0; PAGE_BYTES].into_boxed_slice();
        let bytes = self.pool.pop().unwrap_or_else(fresh);
        let pages = self.segments.entry(segment).or_default();
        if pages.len() <= number {
            pages.resize_with(number + 1, || None);
        }
        if let Some(place) = pages.get_mut(number) {
            *place = Some(Page { bytes, from: start as u32, to: start as u32 });
            self.pages += 1;
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((segment, pages)) = self.segments.iter().next() else { return false };
        let (segment, oldest) = (*segment, pages.iter().position(Option::is_some));
        match oldest {
            Some(number) => self.forget(segment, number as u32),
            None => drop(self.segments.remove(&segment)),
        }
        true
    }

    /// Forgets a page.
    pub(crate) fn forget(&mut self, segment: u32, number: u32) {
        let Some(pages) = self.segments.get_mut(&segment) else { return };
        let Some(page) = pages.get_mut(number as usize).and_then(Option::take) else { return };
        self.pages -= 1;
        if self.pool.len() < POOL_PAGES {
            self.pool.push(page.bytes);
        }
        if pages.iter().all(Option::is_none) {
            self.segments.remove(&segment);
        }
    }

    fn page(&self, segment: u32, number: usize) -> Option<&Page> {
        self.segments.get(&segment)?.get(number)?.as_ref()
    }

    /// Appends `len` bytes that lie at `at`, if they are all here.
    pub(crate) fn read(&self, at: Position, len: usize, to: &mut Vec<u8>) -> bool {
        let before = to.len();
        let (mut offset, mut left) = (at.offset() as usize, len);
        while left > 0 {
            let (number, start) = (offset / PAGE_BYTES, offset % PAGE_BYTES);
            let count = left.min(PAGE_BYTES - start);
            let page = self.page(at.segment(), number);
            let here = page.filter(|p| p.from as usize <= start && start + count <= p.to as usize);
            let Some(bytes) = here.and_then(|page| page.bytes.get(start..start + count)) else {
                to.truncate(before);
                return false;
            };
            to.extend_from_slice(bytes);
            left -= count;
            offset += count;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mirror: &Mirror, at: Position, len: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        mirror.read(at, len, &mut bytes).then_some(bytes)
    }

    #[test]
    fn what_crosses_pages_is_read_back() {
        let mut mirror = Mirror::new(1 << 30);
        let bytes: Vec<u8> = (0..PAGE_BYTES * 2).map(|n| (n % 251) as u8).collect();
        mirror.append(Position::new(3, 100), &bytes);
        assert_eq!(read(&mirror, Position::new(3, 100), bytes.len()), Some(bytes.clone()));
        assert_eq!(read(&mirror, Position::new(3, 110), 20), Some(bytes[10..30].to_vec()));
        assert_eq!(read(&mirror, Position::new(3, 99), 2), None);
        assert_eq!(read(&mirror, Position::new(4, 100), 1), None);
        mirror.forget(3, 1);
        assert_eq!(read(&mirror, Position::new(3, 100), bytes.len()), None);
        assert_eq!(read(&mirror, Position::new(3, 110), 20), Some(bytes[10..30].to_vec()));
    }

    #[test]
    fn the_oldest_pages_make_room() {
        let mut mirror = Mirror::new(2 * PAGE_BYTES as u64);
        for page in 0..4 {
            mirror.append(Position::new(1, (page * PAGE_BYTES) as u32), &[1; 10]);
        }
        assert_eq!(read(&mirror, Position::new(1, PAGE_BYTES as u32), 10), None);
        assert!(read(&mirror, Position::new(1, 2 * PAGE_BYTES as u32), 10).is_some());
        assert!(read(&mirror, Position::new(1, 3 * PAGE_BYTES as u32), 10).is_some());
    }
}
