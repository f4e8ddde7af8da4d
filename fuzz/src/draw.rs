//! Choices out of bytes: every byte is one, so that a fuzzer's small changes are small changes of what
//! is chosen.

pub struct Draw<'a>(pub &'a [u8]);

impl<'a> Draw<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A number below `limit`; 0 when there are no more bytes.
    pub fn below(&mut self, limit: u8) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first % limit
    }

    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    pub fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| draw(self))
    }

    pub fn some<T>(&mut self, most: u8, draw: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..=self.below(most)).map(|_| draw(self)).collect()
    }

    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.below(choices.len() as u8))]
    }

    /// The next bytes as they are, at most so many.
    pub fn bytes(&mut self, most: u8) -> &'a [u8] {
        let count = usize::from(self.below(most)).min(self.0.len());
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }
}
