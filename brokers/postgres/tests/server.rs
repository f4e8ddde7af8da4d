//! What the suite does not ask: many sessions at one key, one bound and one dedup key; transactions of
//! callers; lost connections; and the schema.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod suite {
    pub(crate) mod attempts;
    pub(crate) mod callers;
    pub(crate) mod connections;
    pub(crate) mod counts;
    pub(crate) mod dead_rows;
    pub(crate) mod large;
    pub(crate) mod pooled;
    pub(crate) mod races;
    pub(crate) mod schema;
    pub(crate) mod settles;
    pub(crate) mod slots;
    pub(crate) mod stage;
    pub(crate) mod together;
}
