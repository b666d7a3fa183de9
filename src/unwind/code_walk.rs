//! Follows code without running it: how far the stack pointer is from the return address at an instruction.
//!
//! Every path is followed, with the stack pointer and rbp as distances from what they were at the start. Callees are not
//! entered, because they return with the same two registers. A callee that never returns lets a path run into code that the
//! processor never reaches from there. So there may be several results, and the caller proves one of them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::effect::Effect;
use super::instruction::decode;
use crate::sys::Process;

/// Instructions that are followed at most.
const MAX_STEPS: usize = 4096;

/// Words on the stack that are remembered at most. Functions push up to six registers, and their arguments.
const MAX_PUSHED: usize = 32;

/// Results that are kept at most.
const MAX_FRAMES: usize = 8;

/// The longest instruction in bytes.
const LONGEST: usize = 15;

const PAGE: u64 = 4096;

/// A register at the start of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Register {
    Stack,
    Base,
}

/// An address at a distance from a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) from: Register,
    pub(super) distance: i64,
}

impl Slot {
    fn at(from: Register, distance: i64) -> Self {
        Self { from, distance }
    }

    fn plus(self, distance: i64) -> Option<Self> {
        Some(Self { distance: self.distance.checked_add(distance)?, ..self })
    }
}

/// How to leave a function at an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Where the return address is, from the registers at that instruction.
    pub(super) return_slot: Slot,
    pub(super) base: CallerBase,
}

/// The caller's rbp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallerBase {
    /// rbp has not changed.
    Current,
    Saved(Slot),
    Unknown,
}

/// How code goes on from an instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exits {
    pub(super) frames: Vec<Frame>,
    /// Every path was followed to its end.
    pub(super) complete: bool,
    /// The code calls nothing, returns nowhere and ends in `hlt`, as the first function of a thread does in musl.
    pub(super) never_returns: bool,
}

/// A value that code can put into rbp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Value {
    Address(Slot),
    Word(Slot),
    Unknown,
}

/// The registers before an instruction.
#[derive(Clone, Debug)]
struct State {
    stack: Option<Slot>,
    base: Value,
    /// Words that were pushed since the start and are still on the stack.
    pushed: Vec<(Slot, Value)>,
}

impl State {
    fn start() -> Self {
        Self {
            stack: Some(Slot::at(Register::Stack, 0)),
            base: Value::Address(Slot::at(Register::Base, 0)),
            pushed: Vec::new(),
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Push { base } => {
                let value = if base { self.base } else { Value::Unknown };
                self.move_stack(self.stack.and_then(|stack| stack.plus(-8)));
                if let Some(stack) = self.stack.filter(|_| self.pushed.len() < MAX_PUSHED) {
                    self.pushed.push((stack, value));
                }
            }
            Effect::Pop { base } => {
                let value = self.stack.map_or(Value::Unknown, |stack| self.word(stack));
                if base {
                    self.base = value;
                }
                self.move_stack(self.stack.and_then(|stack| stack.plus(8)));
            }
            Effect::Adjust(distance) => self.move_stack(self.stack.and_then(|stack| stack.plus(distance))),
            Effect::BaseFromStack(distance) => {
                let address = self.stack.and_then(|stack| stack.plus(distance));
                self.base = address.map_or(Value::Unknown, Value::Address);
            }
            Effect::StackFromBase(distance) => {
                let Value::Address(base) = self.base else { return self.move_stack(None) };
                self.move_stack(base.plus(distance));
            }
            Effect::Leave => {
                self.apply(Effect::StackFromBase(0));
                self.apply(Effect::Pop { base: true });
            }
            Effect::WriteBase => self.base = Value::Unknown,
            Effect::WriteStack => self.stack = None,
            _ => {}
        }
    }

    /// Words below the stack pointer are gone.
    fn move_stack(&mut self, stack: Option<Slot>) {
        self.stack = stack;
        if let Some(stack) = stack {
            self.pushed.retain(|(slot, _)| slot.from != stack.from || slot.distance >= stack.distance);
        }
    }

    /// A word on the stack. The part below the first stack pointer was empty at the start.
    fn word(&self, slot: Slot) -> Value {
        let pushed = self.pushed.iter().rev().find(|(at, _)| *at == slot);
        match (pushed, slot) {
            (Some((_, value)), _) => *value,
            (None, Slot { from: Register::Stack, distance: ..0 }) => Value::Unknown,
            (None, slot) => Value::Word(slot),
        }
    }

    /// How to leave the function where it returns.
    fn at_exit(&self) -> Option<Frame> {
        let return_slot = self.stack.filter(|slot| slot.from == Register::Base || slot.distance >= 0)?;
        let base = match self.base {
            Value::Address(Slot { from: Register::Base, distance: 0 }) => CallerBase::Current,
            Value::Word(slot) => CallerBase::Saved(slot),
            Value::Address(_) | Value::Unknown => CallerBase::Unknown,
        };
        Some(Frame { return_slot, base })
    }

    /// How to leave the function in the middle, if this walk started at its first instruction.
    fn inside(&self) -> Option<Frame> {
        let first = |slot: Slot| (slot.from == Register::Stack && slot.distance <= 0).then_some(-slot.distance);
        let (now, depth) = match (self.stack, self.base) {
            (Some(stack), _) => (Register::Stack, first(stack)?),
            (None, Value::Address(base)) => (Register::Base, first(base)?),
            _ => return None,
        };
        let callers = Value::Address(Slot::at(Register::Base, 0));
        let saved = self.pushed.iter().find(|(slot, value)| *value == callers && slot.from == Register::Stack);
        let base = match saved {
            _ if self.base == callers => CallerBase::Current,
            Some((slot, _)) => CallerBase::Saved(Slot::at(now, depth.checked_add(slot.distance)?)),
            None => CallerBase::Unknown,
        };
        Some(Frame { return_slot: Slot::at(now, depth), base })
    }
}

/// How to leave a function at `instruction`, found on the ways to its ends. `function` is its code, if that is known. A jump
/// to another function, which `is_function` knows, is an end too: that function returns for this one.
pub(super) fn exits(
    process: Process,
    instruction: u64,
    function: Option<&Range<u64>>,
    is_function: impl Fn(u64) -> bool,
) -> Exits {
    let mut walk = Walk::from(process, instruction);
    let mut found = Exits { complete: true, ..Exits::default() };
    let (mut halts, mut calls) = (false, false);
    while let Some((address, state)) = walk.next() {
        let leaves = |address: u64| function.map_or_else(|| is_function(address), |code| !code.contains(&address));
        if address != instruction && function.is_some_and(|code| !code.contains(&address)) {
            // Only a call that never returns stands before the end of a function.
            continue;
        }
        let Some((effect, next)) = walk.decode(address) else {
            found.complete = false;
            continue;
        };
        let is_end = match effect {
            Effect::Return | Effect::JumpThrough(_) => true,
            Effect::Jump(distance) => leaves(next.wrapping_add_signed(distance)),
            _ => false,
        };
        halts |= effect == Effect::Halt;
        calls |= effect == Effect::Call;
        found.complete &= effect != Effect::JumpAnywhere;
        if is_end {
            match state.at_exit() {
                Some(frame) => add(&mut found.frames, frame),
                None => found.complete = false,
            }
        } else {
            walk.follow(effect, next, state, |_| None);
        }
    }
    found.complete &= walk.steps < MAX_STEPS;
    found.never_returns = halts && !calls && found.complete && found.frames.is_empty();
    found
}

/// How to leave a function at `instruction`, found on the ways from its start. Jumps may lead through other functions, unless
/// the function's code is known.
pub(super) fn ways_to(process: Process, start: u64, code: Option<&Range<u64>>, instruction: u64) -> Vec<Frame> {
    let mut walk = Walk::from(process, start);
    let mut frames = Vec::new();
    while let Some((address, state)) = walk.next() {
        if address == instruction {
            frames.extend(state.inside().filter(|_| frames.len() < MAX_FRAMES));
            continue;
        }
        if code.is_some_and(|code| !code.contains(&address)) {
            continue;
        }
        if let Some((effect, next)) = walk.decode(address) {
            walk.follow(effect, next, state, |place| process.read_word(place));
        }
    }
    let found = frames;
    let mut frames = Vec::new();
    found.into_iter().for_each(|frame| add(&mut frames, frame));
    frames
}

/// Whether an instruction comes after a start in a straight line.
pub(super) fn is_right_after(process: Process, start: u64, instruction: u64) -> bool {
    let mut code = Code { process, pages: HashMap::new() };
    let mut address = start;
    while address < instruction {
        let Some(decoded) = code.at(address).and_then(|(bytes, length)| decode(bytes.get(..length)?)) else {
            return false;
        };
        if matches!(decoded.effect, Effect::Jump(_) | Effect::JumpAnywhere | Effect::JumpThrough(_) | Effect::Return) {
            return false;
        }
        address += decoded.length;
    }
    address == instruction
}

/// Two ways with one return address and different values of rbp leave rbp unknown.
fn add(frames: &mut Vec<Frame>, frame: Frame) {
    let is_full = frames.len() >= MAX_FRAMES;
    match frames.iter_mut().find(|known| known.return_slot == frame.return_slot) {
        Some(known) if known.base != frame.base => known.base = CallerBase::Unknown,
        None if !is_full => frames.push(frame),
        _ => {}
    }
}

/// The instructions that are still to be followed.
struct Walk {
    code: Code,
    open: Vec<(u64, State)>,
    seen: HashSet<(u64, Option<Slot>, Value)>,
    steps: usize,
}

impl Walk {
    fn from(process: Process, address: u64) -> Self {
        let code = Code { process, pages: HashMap::new() };
        Self { code, open: vec![(address, State::start())], seen: HashSet::new(), steps: 0 }
    }

    fn next(&mut self) -> Option<(u64, State)> {
        loop {
            let (address, state) = self.open.pop()?;
            if self.steps == MAX_STEPS {
                return None;
            }
            if self.seen.insert((address, state.stack, state.base)) {
                self.steps += 1;
                return Some((address, state));
            }
        }
    }

    /// The effect of an instruction and the address after it.
    fn decode(&mut self, address: u64) -> Option<(Effect, u64)> {
        let (bytes, length) = self.code.at(address)?;
        let decoded = decode(bytes.get(..length)?)?;
        Some((decoded.effect, address.checked_add(decoded.length)?))
    }

    /// Continues after an instruction. `word` reads the target of a jump through memory.
    fn follow(&mut self, effect: Effect, next: u64, mut state: State, word: impl Fn(u64) -> Option<u64>) {
        state.apply(effect);
        let target = |distance: i64| next.wrapping_add_signed(distance);
        match effect {
            Effect::Jump(distance) => self.open.push((target(distance), state)),
            Effect::JumpThrough(distance) => self.open.extend(word(target(distance)).zip(Some(state))),
            Effect::Branch(distance) => {
                self.open.push((target(distance), state.clone()));
                self.open.push((next, state));
            }
            Effect::Return | Effect::JumpAnywhere | Effect::Halt | Effect::Trap => {}
            _ => self.open.push((next, state)),
        }
    }
}

/// Code, read page by page.
struct Code {
    process: Process,
    pages: HashMap<u64, Vec<u8>>,
}

impl Code {
    /// The bytes at an address, and how many of them there are.
    fn at(&mut self, address: u64) -> Option<([u8; LONGEST], usize)> {
        let mut bytes = [0; LONGEST];
        let mut length = 0;
        while length < LONGEST {
            let at = address.checked_add(length as u64)?;
            let page = self.page(at / PAGE);
            let rest = page.get(usize::try_from(at % PAGE).ok()?..).unwrap_or_default();
            let read = rest.len().min(LONGEST - length);
            if read == 0 {
                break;
            }
            bytes.get_mut(length..length + read)?.copy_from_slice(rest.get(..read)?);
            length += read;
        }
        Some((bytes, length))
    }

    fn page(&mut self, number: u64) -> &[u8] {
        let process = self.process;
        self.pages.entry(number).or_insert_with(|| {
            let mut bytes = vec![0; PAGE as usize];
            let read = process.read_memory(number * PAGE, &mut bytes);
            bytes.truncate(read);
            bytes
        })
    }
}
