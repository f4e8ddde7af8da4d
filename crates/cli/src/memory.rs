//! Where the program's memory comes from.

use mimalloc::MiMalloc;

/// Tasks are made on one thread and freed on another, on which the C library's allocator takes a lock.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Keeps the allocator's memory in pages of the usual size. WHY: it asks for huge ones, which are there as a
/// whole once a byte of them is touched. 10,000 receives that wait took 25,998 bytes each with them and 16,645
/// without (`cargo xtask idle-polls`).
pub fn use_small_pages() {
    #[cfg(target_os = "linux")]
    let _costs_memory = rustix::thread::disable_transparent_huge_pages(true);
}
