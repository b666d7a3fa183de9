//! The call instruction before a return address.

use crate::sys::Process;

/// The call instruction before a return address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    None,
    /// The target is in a register or in memory.
    Indirect,
    /// `E8`: the target is in the instruction, relative to the return address.
    Direct {
        target: u64,
    },
}

impl Call {
    pub(super) fn before(process: Process, return_address: u64) -> Self {
        let mut code = [0; 7];
        let Some(start) = return_address.checked_sub(code.len() as u64) else { return Self::None };
        if process.read_memory(start, &mut code) != code.len() {
            return Self::None;
        }
        Self::at_end_of(process, code, return_address)
    }

    /// Intel's manual, volume 2, CALL: `E8 rel32` and `FF /2` with its addressing forms of two to seven bytes.
    fn at_end_of(process: Process, code: [u8; 7], return_address: u64) -> Self {
        let [_, before, opcode, a, b, c, d] = code;
        let place = return_address.wrapping_add_signed(i64::from(i32::from_le_bytes([a, b, c, d])));
        if opcode == 0xe8 {
            return Self::Direct { target: place };
        }
        if let (0xff, 0x15, Some(target)) = (before, opcode, process.read_word(place)) {
            return Self::Direct { target };
        }
        let indirect = |length: usize| {
            let (opcode, modrm) = (code[7 - length], code[8 - length]);
            opcode == 0xff && (modrm >> 3) & 7 == 2
        };
        if (2..=7).any(indirect) { Self::Indirect } else { Self::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_distinguished_from_other_code() {
        let own = Process::own();
        let direct = [0x90, 0x90, 0xe8, 0xfb, 0xff, 0xff, 0xff];
        assert_eq!(Call::at_end_of(own, direct, 0x1000), Call::Direct { target: 0x0ffb });
        let through_register = [0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0];
        assert_eq!(Call::at_end_of(own, through_register, 0x1000), Call::Indirect);
        let through_memory = [0x90, 0xff, 0x15, 0x10, 0x20, 0x00, 0x00];
        assert_eq!(Call::at_end_of(own, through_memory, 0x1000), Call::Indirect);
        assert_eq!(Call::at_end_of(own, [0x90; 7], 0x1000), Call::None);
    }
}
