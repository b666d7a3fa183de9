//! Functions without unwind tables and frame pointers, as musl's are. Each sleeps in a system call of its own.
#![allow(dead_code, reason = "each program uses its own part")]

use std::time::Duration;

/// The kernel's `timespec`. It writes the rest of an interrupted sleep into it.
#[repr(C)]
pub(crate) struct Rest {
    seconds: i64,
    nanoseconds: i64,
}

// Without directives for tables (`.cfi_startproc`), assembly has none. -4 is EINTR.
std::arch::global_asm!(
    ".text",
    // The return address is at the stack pointer, as in musl's `__syscall_cp_asm`.
    ".type tableless_leaf, @function",
    "tableless_leaf:",
    "    mov rsi, rdi",
    "2:  mov eax, 35",
    "    syscall",
    "    cmp eax, -4",
    "    je 2b",
    "    ret",
    ".size tableless_leaf, . - tableless_leaf",
    // Registers are pushed, and rbp gets another value, as in musl's `syscall`.
    ".type tableless_pushes, @function",
    "tableless_pushes:",
    "    push rbp",
    "    push rbx",
    "    mov rbp, rdi",
    "    mov rsi, rdi",
    "    sub rsp, 0x18",
    "2:  mov eax, 35",
    "    syscall",
    "    cmp eax, -4",
    "    je 2b",
    "    add rsp, 0x18",
    "    pop rbx",
    "    pop rbp",
    "    ret",
    ".size tableless_pushes, . - tableless_pushes",
    // A large frame and two ways out. No symbol says that this is a function.
    "tableless_wide:",
    "    sub rsp, 0x200",
    "    mov rsi, rdi",
    "2:  mov eax, 35",
    "    syscall",
    "    test eax, eax",
    "    jnz 3f",
    "    add rsp, 0x200",
    "    ret",
    "3:  cmp eax, -4",
    "    je 2b",
    "    mov eax, 1",
    "    add rsp, 0x200",
    "    ret",
    // One function without a table calls another, and a third never returns.
    ".type tableless_nested, @function",
    "tableless_nested:",
    "    push r12",
    "    sub rsp, 0x10",
    "    test rdi, rdi",
    "    jz 3f",
    "    push 0",
    "    push 0",
    "    call tableless_leaf",
    "    pop rcx",
    "    pop rcx",
    "    add rsp, 0x10",
    "    pop r12",
    "    ret",
    "3:  call tableless_crash",
    ".size tableless_nested, . - tableless_nested",
    "tableless_crash:",
    "    hlt",
    // The distance to the return address is in a register: nothing on the stack or in the code tells it.
    ".type tableless_aligned, @function",
    "tableless_aligned:",
    "    push rbx",
    "    mov rbx, rsp",
    "    and rsp, -64",
    "    mov rsi, rdi",
    "2:  mov eax, 35",
    "    syscall",
    "    cmp eax, -4",
    "    je 2b",
    "    mov rsp, rbx",
    "    pop rbx",
    "    ret",
    ".size tableless_aligned, . - tableless_aligned",
);

unsafe extern "C" {
    fn tableless_leaf(rest: *mut Rest);
    fn tableless_pushes(rest: *mut Rest);
    fn tableless_wide(rest: *mut Rest);
    fn tableless_nested(rest: *mut Rest);
    fn tableless_aligned(rest: *mut Rest);
}

fn rest(time: Duration) -> Rest {
    Rest { seconds: time.as_secs().cast_signed(), nanoseconds: time.subsec_nanos().into() }
}

#[inline(never)]
pub(crate) fn calls_leaf(time: Duration) {
    // SAFETY: the function sleeps, and writes nothing but the rest of its sleep.
    unsafe { tableless_leaf(&raw mut *Box::new(rest(time))) };
    std::hint::black_box(());
}

#[inline(never)]
pub(crate) fn calls_pushes(time: Duration) {
    // SAFETY: the function sleeps, and writes nothing but the rest of its sleep.
    unsafe { tableless_pushes(&raw mut *Box::new(rest(time))) };
    std::hint::black_box(());
}

#[inline(never)]
pub(crate) fn calls_wide(time: Duration) {
    // SAFETY: the function sleeps, and writes nothing but the rest of its sleep.
    unsafe { tableless_wide(&raw mut *Box::new(rest(time))) };
    std::hint::black_box(());
}

#[inline(never)]
pub(crate) fn calls_nested(time: Duration) {
    // SAFETY: the functions sleep, and write nothing but the rest of their sleep.
    unsafe { tableless_nested(&raw mut *Box::new(rest(time))) };
    std::hint::black_box(());
}

#[inline(never)]
pub(crate) fn calls_aligned(time: Duration) {
    // SAFETY: the function sleeps, and writes nothing but the rest of its sleep.
    unsafe { tableless_aligned(&raw mut *Box::new(rest(time))) };
    std::hint::black_box(());
}
