//! x86-64 instructions: their lengths, and what they do to the stack pointer, to rbp and to the flow of control.
//!
//! Intel's manual, volume 2: chapter 2 (prefixes, ModRM, SIB, VEX) and appendix A (opcode maps). An instruction that is not
//! understood is not decoded. One that may write a register in a way not listed here counts as writing it.

use super::effect::{BASE, Effect, STACK, writes};
use super::operands::{Bytes, Operands, Place, Prefixes};

/// An instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) length: u64,
    pub(super) effect: Effect,
}

/// Decodes the first instruction; `None` if it is not understood.
pub(super) fn decode(code: &[u8]) -> Option<Instruction> {
    let mut bytes = Bytes { code, at: 0 };
    let effect = Prefixes::read(&mut bytes)?.decode(&mut bytes)?;
    Some(Instruction { length: bytes.at as u64, effect })
}

impl Prefixes {
    fn decode(self, bytes: &mut Bytes<'_>) -> Option<Effect> {
        let opcode = bytes.next()?;
        match opcode {
            0x0f => self.decode_0f(bytes),
            0xc4 | 0xc5 | 0x62 if self.rex.is_none() => self.decode_vector(opcode, bytes),
            _ => self.decode_one_byte(opcode, bytes),
        }
    }

    fn decode_one_byte(self, opcode: u8, bytes: &mut Bytes<'_>) -> Option<Effect> {
        let word = !self.operand16;
        // Without REX, the encodings 4 to 7 of a byte are ah, ch, dh and bh.
        let is_byte = |byte: bool| byte && self.rex.is_none();
        Some(match opcode {
            0x00..=0x3f => self.decode_arithmetic(opcode, bytes)?,
            0x50..=0x57 if word => Effect::Push { base: self.extend(1, opcode & 7) == BASE },
            0x58..=0x5f if word => match self.extend(1, opcode & 7) {
                STACK => Effect::WriteStack,
                register => Effect::Pop { base: register == BASE },
            },
            0x68 if word => pushes(bytes.signed(4)?),
            0x6a if word => pushes(bytes.signed(1)?),
            0x63 | 0x8a | 0x8b => {
                let operands = self.operands(bytes)?;
                match (opcode, operands.register, operands.place) {
                    (0x8b, STACK, Place::Register(BASE)) => Effect::StackFromBase(0),
                    (0x8b, BASE, Place::Register(STACK)) => Effect::BaseFromStack(0),
                    (_, register, _) => {
                        if is_byte(opcode == 0x8a) {
                            Effect::None
                        } else {
                            writes(register)
                        }
                    }
                }
            }
            0x69 => self.register_and_immediate(bytes, self.immediate())?,
            0x6b => self.register_and_immediate(bytes, 1)?,
            0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf | 0x98 | 0x99 | 0x9b | 0x9e | 0x9f | 0xd7 | 0xec..=0xef => {
                Effect::None
            }
            0xf1 | 0xcc => Effect::Trap,
            0xf5 | 0xf8..=0xfd => Effect::None,
            0x70..=0x7f | 0xe0..=0xe3 => Effect::Branch(bytes.signed(1)?),
            0x80 | 0x81 | 0x83 => self.decode_immediate_arithmetic(opcode, bytes)?,
            0x84 | 0x85 | 0x8e => ignored(self.operands(bytes)?),
            0x86 | 0x87 => {
                let operands = self.operands(bytes)?;
                let place =
                    if let Place::Register(register) = operands.place { writes(register) } else { Effect::None };
                if is_byte(opcode == 0x86) {
                    Effect::None
                } else if place == Effect::None {
                    writes(operands.register)
                } else {
                    place
                }
            }
            0x88 | 0x8c => self.writes_place(bytes, is_byte(opcode == 0x88), 0)?,
            0x89 => {
                let operands = self.operands(bytes)?;
                match (operands.register, operands.place) {
                    (BASE, Place::Register(STACK)) => Effect::StackFromBase(0),
                    (STACK, Place::Register(BASE)) => Effect::BaseFromStack(0),
                    (_, Place::Register(register)) => writes(register),
                    _ => Effect::None,
                }
            }
            0x8d => {
                let operands = self.operands(bytes)?;
                match (operands.register, operands.place) {
                    (STACK, Place::At(STACK, distance)) => Effect::Adjust(distance),
                    (STACK, Place::At(BASE, distance)) => Effect::StackFromBase(distance),
                    (BASE, Place::At(STACK, distance)) => Effect::BaseFromStack(distance),
                    (register, _) => writes(register),
                }
            }
            0x8f if word => {
                let operands = self.operands(bytes)?;
                match operands.place {
                    Place::Register(STACK) => Effect::WriteStack,
                    Place::Register(register) if operands.group == 0 => Effect::Pop { base: register == BASE },
                    _ if operands.group == 0 => Effect::Pop { base: false },
                    _ => return None,
                }
            }
            0x90..=0x97 => writes(self.extend(1, opcode & 7)),
            0x9c if word => Effect::Push { base: false },
            0x9d if word => Effect::Pop { base: false },
            0xa0..=0xa3 => skips(bytes.signed(if self.address32 { 4 } else { 8 })?),
            0xa8 => skips(bytes.signed(1)?),
            0xa9 => skips(bytes.signed(self.immediate())?),
            0xb0..=0xb7 => {
                bytes.signed(1)?;
                if is_byte(true) { Effect::None } else { writes(self.extend(1, opcode & 7)) }
            }
            0xb8..=0xbf => {
                bytes.signed(if self.wide() { 8 } else { self.immediate() })?;
                writes(self.extend(1, opcode & 7))
            }
            0xc0 | 0xc1 => self.writes_place(bytes, is_byte(opcode == 0xc0), 1)?,
            0xc6 => self.writes_place(bytes, is_byte(true), 1)?,
            0xc7 => self.writes_place(bytes, false, self.immediate())?,
            0xd0..=0xd3 => self.writes_place(bytes, is_byte(opcode & 1 == 0), 0)?,
            0xd8..=0xdf => ignored(self.operands(bytes)?),
            // A number after `ret` is removed from the caller's stack, which no System V function does.
            0xc3 => Effect::Return,
            0xc9 if word => Effect::Leave,
            0xcd => skips(bytes.signed(1)?),
            0xe8 => {
                bytes.signed(4)?;
                Effect::Call
            }
            0xe9 => Effect::Jump(bytes.signed(4)?),
            0xeb => Effect::Jump(bytes.signed(1)?),
            0xf4 => Effect::Halt,
            0xf6 | 0xf7 => self.decode_unary(opcode, bytes, is_byte(opcode == 0xf6))?,
            0xfe | 0xff => self.decode_ff(opcode, bytes, is_byte(opcode == 0xfe))?,
            _ => return None,
        })
    }

    /// `add`, `or`, `adc`, `sbb`, `and`, `sub`, `xor` and `cmp` of two operands.
    fn decode_arithmetic(self, opcode: u8, bytes: &mut Bytes<'_>) -> Option<Effect> {
        let compares = opcode >= 0x38;
        let is_byte = opcode & 1 == 0 && self.rex.is_none();
        Some(match opcode & 7 {
            4 => skips(bytes.signed(1)?),
            5 => skips(bytes.signed(self.immediate())?),
            low @ 0..=3 => {
                let operands = self.operands(bytes)?;
                match operands.place {
                    _ if compares || is_byte => Effect::None,
                    _ if low >= 2 => writes(operands.register),
                    Place::Register(register) => writes(register),
                    _ => Effect::None,
                }
            }
            _ => return None,
        })
    }

    /// The same with a number in the instruction.
    fn decode_immediate_arithmetic(self, opcode: u8, bytes: &mut Bytes<'_>) -> Option<Effect> {
        let operands = self.operands(bytes)?;
        let number = bytes.signed(if opcode == 0x81 { self.immediate() } else { 1 })?;
        let is_byte = opcode == 0x80 && self.rex.is_none();
        Some(match (operands.group, operands.place) {
            (7, _) => Effect::None,
            (0, Place::Register(STACK)) if self.wide() => Effect::Adjust(number),
            (5, Place::Register(STACK)) if self.wide() => Effect::Adjust(number.checked_neg()?),
            (_, Place::Register(register)) if !is_byte => writes(register),
            _ => Effect::None,
        })
    }

    /// `test`, `not`, `neg`, `mul`, `div`.
    fn decode_unary(self, opcode: u8, bytes: &mut Bytes<'_>, is_byte: bool) -> Option<Effect> {
        let operands = self.operands(bytes)?;
        if operands.group <= 1 {
            bytes.signed(if opcode == 0xf6 { 1 } else { self.immediate() })?;
        }
        Some(match operands.place {
            Place::Register(register) if matches!(operands.group, 2 | 3) && !is_byte => writes(register),
            _ => Effect::None,
        })
    }

    /// `inc`, `dec`, `call`, `jmp`, `push`.
    fn decode_ff(self, opcode: u8, bytes: &mut Bytes<'_>, is_byte: bool) -> Option<Effect> {
        let operands = self.operands(bytes)?;
        Some(match (opcode, operands.group, operands.place) {
            (_, 0 | 1, Place::Register(register)) if !is_byte => writes(register),
            (_, 0 | 1, _) => Effect::None,
            (0xff, 2, _) => Effect::Call,
            (0xff, 4, Place::Relative(distance)) => Effect::JumpThrough(distance),
            (0xff, 4, _) => Effect::JumpAnywhere,
            (0xff, 6, place) if !self.operand16 => Effect::Push { base: place == Place::Register(BASE) },
            _ => return None,
        })
    }

    fn register_and_immediate(self, bytes: &mut Bytes<'_>, size: usize) -> Option<Effect> {
        let operands = self.operands(bytes)?;
        bytes.signed(size)?;
        Some(writes(operands.register))
    }

    fn writes_place(self, bytes: &mut Bytes<'_>, is_byte: bool, number: usize) -> Option<Effect> {
        let operands = self.operands(bytes)?;
        if number > 0 {
            bytes.signed(number)?;
        }
        Some(match operands.place {
            Place::Register(register) if !is_byte => writes(register),
            _ => Effect::None,
        })
    }
}

fn pushes(_number: i64) -> Effect {
    Effect::Push { base: false }
}

fn skips(_number: i64) -> Effect {
    Effect::None
}

fn ignored(_operands: Operands) -> Effect {
    Effect::None
}
