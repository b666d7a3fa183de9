//! x86-64 instructions: their lengths, and what they do to the stack pointer, to rbp and to the flow of control.
//!
//! Intel's manual, volume 2: chapter 2 (prefixes, ModRM, SIB, VEX) and appendix A (opcode maps). An instruction that is not
//! understood is not decoded, and one that may write a register in a way not listed here counts as writing it.

/// The encodings of the two registers.
const STACK: u8 = 4;
const BASE: u8 = 5;

/// An instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) length: u64,
    pub(super) effect: Effect,
}

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

/// Decodes the first instruction; `None` if it is not understood.
pub(super) fn decode(code: &[u8]) -> Option<Instruction> {
    let mut bytes = Bytes { code, at: 0 };
    let effect = Prefixes::read(&mut bytes)?.decode(&mut bytes)?;
    Some(Instruction { length: bytes.at as u64, effect })
}

struct Bytes<'c> {
    code: &'c [u8],
    at: usize,
}

impl Bytes<'_> {
    fn peek(&self) -> Option<u8> {
        self.code.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// A signed number of so many bytes.
    fn signed(&mut self, bytes: usize) -> Option<i64> {
        let mut word = [0; 8];
        let read = self.code.get(self.at..self.at + bytes)?;
        word.get_mut(..bytes)?.copy_from_slice(read);
        self.at += bytes;
        let unused = 64 - 8 * u32::try_from(bytes).ok()?;
        Some(i64::from_le_bytes(word).checked_shl(unused).unwrap_or(0) >> unused.min(63))
    }
}

#[derive(Clone, Copy, Default)]
struct Prefixes {
    operand16: bool,
    address32: bool,
    repeat: bool,
    rex: Option<u8>,
}

/// The second operand's place, and the register field.
#[derive(Clone, Copy)]
struct Operands {
    /// The register field, extended.
    register: u8,
    /// The register field as an extension of the opcode.
    group: u8,
    place: Place,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Register(u8),
    /// Memory at a base register and a distance, without an index.
    At(u8, i64),
    /// Memory at a distance from the end of the instruction.
    Relative(i64),
    Elsewhere,
}

impl Prefixes {
    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
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

    fn wide(self) -> bool {
        self.rex.is_some_and(|rex| rex & 8 != 0)
    }

    /// The size of a number in the instruction that has the size of its operands.
    fn immediate(self) -> usize {
        if self.operand16 && !self.wide() { 2 } else { 4 }
    }

    fn extend(self, bit: u8, low: u8) -> u8 {
        if self.rex.is_some_and(|rex| rex & bit != 0) { low | 8 } else { low }
    }

    fn operands(self, bytes: &mut Bytes<'_>) -> Option<Operands> {
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

    fn decode_0f(self, bytes: &mut Bytes<'_>) -> Option<Effect> {
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
    fn decode_vector(self, escape: u8, bytes: &mut Bytes<'_>) -> Option<Effect> {
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

/// Whether an instruction of the second map ends in a byte.
fn has_number_0f(opcode: u8) -> bool {
    matches!(opcode, 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6)
}

fn writes(register: u8) -> Effect {
    match register {
        STACK => Effect::WriteStack,
        BASE => Effect::WriteBase,
        _ => Effect::None,
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
