//! Undocumented details of the C library.

/// Bytes of a thread's control block that contain the thread's id. glibc keeps it at offset 720, musl at 48.
///
/// Test: `process::remote::thread_pointer::tests::a_stack_pointer_leads_to_the_control_block`.
pub(crate) const CONTROL_BLOCK_BYTES: usize = 0x800;
