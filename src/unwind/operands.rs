//! The parts of an instruction around its opcode: prefixes, operands and numbers.
//!
//! Intel's manual, volume 2, chapter 2: prefixes, ModRM and SIB.

pub(super) struct Bytes<'c> {
    pub(super) code: &'c [u8],
    pub(super) at: usize,
}

impl Bytes<'_> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.code.get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// A signed number of so many bytes.
    pub(super) fn signed(&mut self, bytes: usize) -> Option<i64> {
        let mut word = [0; 8];
        let read = self.code.get(self.at..self.at + bytes)?;
        word.get_mut(..bytes)?.copy_from_slice(read);
        self.at += bytes;
        let unused = 64 - 8 * u32::try_from(bytes).ok()?;
        Some(i64::from_le_bytes(word).checked_shl(unused).unwrap_or(0) >> unused.min(63))
    }
}

#[derive(Clone, Copy, Default)]
pub(super) struct Prefixes {
    pub(super) operand16: bool,
    pub(super) address32: bool,
    pub(super) repeat: bool,
    pub(super) rex: Option<u8>,
}

/// The second operand's place, and the register field.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// The register field, extended.
    pub(super) register: u8,
    /// The register field as an extension of the opcode.
    pub(super) group: u8,
    pub(super) place: Place,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    Register(u8),
    /// Memory at a base register and a distance, without an index.
    At(u8, i64),
    /// Memory at a distance from the end of the instruction.
    Relative(i64),
    Elsewhere,
}

impl Prefixes {
    pub(super) fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        let mut found = Self::default();
        loop {
            match bytes.peek()? {
                0x66 => found.operand16 = true,
                0x67 => found.address32 = true,
                0xf2 | 0xf3 => found.repeat = true,
                0xf0 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65 => {}
                rex @ 0x40..=0x4f => {
                    found.rex = Some(rex);
                    bytes.next()?;
                    return Some(found);
                }
                _ => return Some(found),
            }
            bytes.next()?;
        }
    }

    pub(super) fn wide(self) -> bool {
        self.rex.is_some_and(|rex| rex & 8 != 0)
    }

    /// The size of a number in the instruction that has the size of its operands.
    pub(super) fn immediate(self) -> usize {
        if self.operand16 && !self.wide() { 2 } else { 4 }
    }

    pub(super) fn extend(self, bit: u8, low: u8) -> u8 {
        if self.rex.is_some_and(|rex| rex & bit != 0) { low | 8 } else { low }
    }

    pub(super) fn operands(self, bytes: &mut Bytes<'_>) -> Option<Operands> {
        let modrm = bytes.next()?;
        let (mode, group, low) = (modrm >> 6, (modrm >> 3) & 7, modrm & 7);
        let operands = |place| Operands { register: self.extend(4, group), group, place };
        if mode == 3 {
            return Some(operands(Place::Register(self.extend(1, low))));
        }
        let (base, indexed) = if low == 4 {
            let sib = bytes.next()?;
            // Index 4 without its extension means none.
            ((sib & 7), self.extend(2, (sib >> 3) & 7) != 4)
        } else {
            (low, false)
        };
        let place = match mode {
            0 if low == 5 => return Some(operands(Place::Relative(bytes.signed(4)?))),
            0 if base == 5 => {
                bytes.signed(4)?;
                Place::Elsewhere
            }
            0 => Place::At(self.extend(1, base), 0),
            1 => Place::At(self.extend(1, base), bytes.signed(1)?),
            _ => Place::At(self.extend(1, base), bytes.signed(4)?),
        };
        Some(operands(if indexed { Place::Elsewhere } else { place }))
    }
}
