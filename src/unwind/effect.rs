//! What an instruction does to the stack pointer, to rbp and to the flow of control.

/// The encodings of the two registers.
pub(super) const STACK: u8 = 4;
pub(super) const BASE: u8 = 5;

/// What an instruction does. Distances of jumps count from the end of the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Neither register is written, and the next instruction follows.
    None,
    /// A word is pushed; it may be rbp.
    Push {
        base: bool,
    },
    /// A word is popped, into rbp or elsewhere.
    Pop {
        base: bool,
    },
    /// A number is added to the stack pointer.
    Adjust(i64),
    /// `mov rbp, rsp` or `lea rbp, [rsp + n]`.
    BaseFromStack(i64),
    /// `mov rsp, rbp` or `lea rsp, [rbp + n]`.
    StackFromBase(i64),
    /// `mov rsp, rbp; pop rbp`.
    Leave,
    /// rbp gets a value that is not followed.
    WriteBase,
    /// The stack pointer gets a value that is not followed.
    WriteStack,
    /// A call. The callee returns with the same stack pointer and rbp, or not at all.
    Call,
    Jump(i64),
    /// A jump to the address in the word at this distance.
    JumpThrough(i64),
    /// A jump to an address that is not known.
    JumpAnywhere,
    Branch(i64),
    Return,
    /// `hlt`, which no user program may execute: it marks a place that is never reached.
    Halt,
    /// Another instruction that does not go on: `ud2`, `int3`.
    Trap,
}

/// A register gets a value that is not followed.
pub(super) fn writes(register: u8) -> Effect {
    match register {
        STACK => Effect::WriteStack,
        BASE => Effect::WriteBase,
        _ => Effect::None,
    }
}
