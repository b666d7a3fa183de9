//! Opcodes of more than one byte: the maps 0F, 0F 38 and 0F 3A, and what VEX and EVEX make of them.
//!
//! Intel's manual, volume 2, chapter 2 (VEX, EVEX) and appendix A (opcode maps).

use super::effect::{Effect, writes};
use super::operands::{Bytes, Place, Prefixes};

impl Prefixes {
    pub(super) fn decode_0f(self, bytes: &mut Bytes<'_>) -> Option<Effect> {
        let opcode = bytes.next()?;
        Some(match opcode {
            0x05 | 0x06 | 0x08 | 0x09 | 0x30..=0x33 | 0x77 | 0xa2 => Effect::None,
            0x0b => Effect::Trap,
            0xb9 | 0xff => {
                self.operands(bytes)?;
                Effect::Trap
            }
            0x38 | 0x3a => self.decode_0f38(opcode == 0x3a, bytes)?,
            0x80..=0x8f => Effect::Branch(bytes.signed(4)?),
            0xc8..=0xcf => writes(self.extend(1, opcode & 7)),
            0x04
            | 0x07
            | 0x0a
            | 0x0c
            | 0x0e
            | 0x0f
            | 0x20..=0x27
            | 0x34..=0x37
            | 0x39
            | 0x3b..=0x3f
            | 0x78
            | 0x79
            | 0xa0
            | 0xa1
            | 0xa6..=0xaa => return None,
            _ => {
                let operands = self.operands(bytes)?;
                if has_number_0f(opcode) {
                    bytes.signed(1)?;
                }
                let place =
                    || if let Place::Register(register) = operands.place { writes(register) } else { Effect::None };
                match opcode {
                    // The register field is a general register and is written.
                    0x02
                    | 0x03
                    | 0x2c
                    | 0x2d
                    | 0x40..=0x4f
                    | 0x50
                    | 0xaf
                    | 0xb2
                    | 0xb4..=0xb8
                    | 0xbc..=0xbf
                    | 0xc5
                    | 0xd7 => writes(operands.register),
                    0x90..=0x9f | 0xb0 if self.rex.is_none() => Effect::None,
                    0x00
                    | 0x01
                    | 0x7e
                    | 0x90..=0x9f
                    | 0xa4
                    | 0xa5
                    | 0xab..=0xae
                    | 0xb0
                    | 0xb1
                    | 0xb3
                    | 0xba
                    | 0xbb
                    | 0xc7 => {
                        // `movq xmm, xmm` has the prefix F3, which the wait states of `rdrand` have too.
                        if opcode == 0x7e && self.repeat { Effect::None } else { place() }
                    }
                    0xc0 | 0xc1 => {
                        if place() == Effect::None {
                            writes(operands.register)
                        } else {
                            place()
                        }
                    }
                    _ => Effect::None,
                }
            }
        })
    }

    fn decode_0f38(self, has_number: bool, bytes: &mut Bytes<'_>) -> Option<Effect> {
        let opcode = bytes.next()?;
        let operands = self.operands(bytes)?;
        if has_number {
            bytes.signed(1)?;
        }
        Some(match (has_number, opcode, operands.place) {
            (false, 0xf0 | 0xf1 | 0xf6, _) => writes(operands.register),
            (true, 0x14..=0x17, Place::Register(register)) => writes(register),
            _ => Effect::None,
        })
    }

    /// VEX and EVEX. General registers are written by few of these instructions.
    pub(super) fn decode_vector(self, escape: u8, bytes: &mut Bytes<'_>) -> Option<Effect> {
        let first = bytes.next()?;
        let (map, extensions, second) = match escape {
            0xc5 => (1, first & 0x80, first),
            0xc4 => (first & 0x1f, first & 0xe0, bytes.next()?),
            _ => {
                let second = bytes.next()?;
                bytes.next()?;
                (first & 7, first & 0xe0, second)
            }
        };
        let vvvv = (!second >> 3) & 0xf;
        let opcode = bytes.next()?;
        if map == 1 && opcode == 0x77 {
            return Some(Effect::None);
        }
        // The bits are stored inverted: R, X, B as in REX. With two bytes only R is there.
        let rex = if escape == 0xc5 { (!extensions & 0x80) >> 5 } else { (!extensions & 0xe0) >> 5 };
        let operands = Self { rex: Some(0x40 | rex), ..self }.operands(bytes)?;
        match map {
            1 if has_number_0f(opcode) => skips(bytes.signed(1)?),
            3 => skips(bytes.signed(1)?),
            1 | 2 | 5 | 6 => Effect::None,
            _ => return None,
        };
        Some(match (map, opcode, operands.place) {
            (1, 0x2c | 0x2d | 0x50 | 0xc5 | 0xd7 | 0x93, _) | (2, 0xf5 | 0xf7, _) | (3, 0xf0, _) => {
                writes(operands.register)
            }
            (2, 0xf2 | 0xf6, _) if escape != 0x62 => {
                if writes(vvvv) == Effect::None {
                    writes(operands.register)
                } else {
                    writes(vvvv)
                }
            }
            (2, 0xf3, _) if escape != 0x62 => writes(vvvv),
            (1, 0x7e, Place::Register(register)) | (3, 0x14..=0x17, Place::Register(register)) => writes(register),
            _ => Effect::None,
        })
    }
}

/// Whether an instruction of the second map ends in a byte.
fn has_number_0f(opcode: u8) -> bool {
    matches!(opcode, 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6)
}

fn skips(_number: i64) -> Effect {
    Effect::None
}
