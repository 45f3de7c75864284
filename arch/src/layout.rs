//! What lies where in the memory that prun maps into every tracee: one description for the tracer, the trampoline
//! and later the translator that lives in the guest.
//!
//! One region at [`crate::WINDOW`], the same in every tracee of a session: first the code page (read and execute), then
//! the slots, which a tracee can only read. A tracee's thread owns one slot at a time. The code that may make system
//! calls without being stopped (see the filter) is mapped apart, at [`crate::resident::AT`].

/// Changes whenever anything below does.
pub const VERSION: u32 = 4;
/// Granularity of parts. A kernel's pages may be larger ones: what is mapped begins at multiples of [`LARGEST_PAGE`].
pub const PAGE: u64 = 4096;
/// The largest pages that a kernel can be built with (`CONFIG_ARM64_64K_PAGES`).
pub const LARGEST_PAGE: u64 = 0x1_0000;

/// Bytes of the code page, which holds the trampoline and the place where tasks are parked. Calls from it are stopped
/// like any other.
pub const CODE_LEN: u64 = PAGE;
/// Offset in the shared file of the pages of [`crate::resident`], which tracees map elsewhere, privately.
pub const RESIDENT: u64 = PAGE;
/// Bytes of those pages.
pub const RESIDENT_LEN: u64 = 2 * crate::resident::PART;
/// Offset of the first slot.
pub const SLOTS: u64 = 0x10_0000;
/// Bytes of one slot: the registers of a call in flight and two translated paths. Only pages written to cost memory.
pub const SLOT_LEN: u64 = 5 * PAGE;
/// Slots in the region: threads that one session can have at a time.
pub const SLOT_COUNT: u64 = 8_192;
/// Offset of the scratch area for argument vectors that are too long for a slot.
pub const SCRATCH: u64 = SLOTS + SLOT_LEN * SLOT_COUNT;
/// Bytes of the scratch area: more than the 6 MiB that execve(2) takes.
pub const SCRATCH_LEN: u64 = 16 << 20;
/// Bytes of the whole region.
pub const LEN: u64 = SCRATCH + SCRATCH_LEN;

/// Slots that 32-bit programs have the memory for.
pub const LOW_SLOT_COUNT: u64 = 4_096;
/// Offset of the scratch area in their window.
pub const LOW_SCRATCH: u64 = SLOTS + SLOT_LEN * LOW_SLOT_COUNT;
/// Bytes of their window.
pub const LOW_LEN: u64 = LOW_SCRATCH + SCRATCH_LEN;

const _: () = assert!(
    crate::WINDOW.is_multiple_of(LARGEST_PAGE)
        && SLOTS.is_multiple_of(LARGEST_PAGE)
        && SCRATCH.is_multiple_of(LARGEST_PAGE)
);

/// Whether a window is that of 32-bit programs.
pub const fn is_low(window: u64) -> bool {
    window >> 32 == 0
}

/// Head of a slot; what follows it is free for paths and structures.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SlotHead {
    /// The guest's argument registers, which the trampoline puts back.
    pub args: [u64; 6],
    /// Where the guest goes on.
    pub ret: u64,
    /// Keeps what follows aligned to 64 bytes.
    pub pad: u64,
}

/// Offset in a slot of the bytes that calls may use.
pub const SLOT_DATA: u64 = size_of::<SlotHead>() as u64;
