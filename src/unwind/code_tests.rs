//! This test program has unwind tables for its own code. They are the truth for what the code itself shows.

use std::ops::Range;

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, NativeEndian, Register as Dwarf, UnwindContext, UnwindSection as _,
};
use object::read::ReadRef;
use object::{Object, ObjectSection};

use super::call::Call;
use super::code_walk::{self, CallerBase, Frame, Register, Slot};
use super::effect::Effect;
use super::instruction::decode;
use crate::images::{Images, ObjectReader};
use crate::sys::Process;

/// The registers of the System V ABI's tables.
const RSP: Dwarf = Dwarf(7);

/// A function of this program, and the distance to the return address at some of its instructions.
struct Function {
    code: Range<u64>,
    distances: Vec<(u64, i64)>,
}

struct ReadTables {
    bias: u64,
}

impl ObjectReader for ReadTables {
    type Output = Vec<Function>;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Vec<Function> {
        let text = file.section_by_name(".text").expect("code");
        let text = text.address()..text.address() + text.size();
        let section = file.section_by_name(".eh_frame").expect("tables");
        let bases = BaseAddresses::default().set_eh_frame(section.address());
        let bytes = section.data().expect("tables");
        let table = EhFrame::new(bytes, NativeEndian);
        let mut entries = table.entries(&bases);
        let mut functions = Vec::new();
        while let Some(entry) = entries.next().expect("an entry") {
            let CieOrFde::Fde(partial) = entry else { continue };
            let fde = partial.parse(EhFrame::cie_from_offset).expect("an entry");
            if !text.contains(&fde.initial_address()) {
                continue;
            }
            let mut context = UnwindContext::new();
            let mut rows = fde.rows(&table, &bases, &mut context).expect("rows");
            let mut distances = Vec::new();
            while let Some(row) = rows.next_row().expect("a row") {
                if let CfaRule::RegisterAndOffset { register: RSP, offset } = row.cfa() {
                    distances.push((row.start_address().wrapping_add(self.bias), offset - 8));
                }
            }
            let start = fde.initial_address().wrapping_add(self.bias);
            functions.push(Function { code: start..start + fde.len(), distances });
        }
        functions
    }
}

/// Some of this program's functions, spread over all of them.
fn functions(count: usize) -> Vec<Function> {
    let mut images = Images::of(Process::own());
    images.load_new().expect("/proc is mounted");
    let program = images.program().expect("this program");
    let all = program.read(ReadTables { bias: program.bias }).expect("this program's file");
    let every = (all.len() / count).max(1);
    all.into_iter().step_by(every).collect()
}

fn code_of(function: &Function) -> Vec<u8> {
    let mut code = vec![0; usize::try_from(function.code.end - function.code.start).expect("a length")];
    assert_eq!(Process::own().read_memory(function.code.start, &mut code), code.len());
    code
}

#[test]
fn instructions_end_where_functions_end() {
    let (mut whole, mut total) = (0, 0);
    for function in functions(4000) {
        let code = code_of(&function);
        let mut at = 0;
        while let Some(instruction) = code.get(at..).filter(|rest| !rest.is_empty()).and_then(decode) {
            at += usize::try_from(instruction.length).expect("a length");
        }
        total += 1;
        whole += usize::from(at == code.len());
    }
    assert!(total >= 1000 && whole * 1000 >= total * 999, "{whole} of {total} functions");
}

#[test]
fn code_shows_what_the_tables_say() {
    let (mut right, mut wrong, mut unknown) = (0, 0, 0);
    for function in functions(2000) {
        let code = code_of(&function);
        for (instruction, distance) in &function.distances {
            let at = usize::try_from(instruction - function.code.start).expect("inside");
            // Nothing reaches a trap, and LLVM's tables are wrong there.
            if code.get(at..).and_then(decode).is_some_and(|next| next.effect == Effect::Trap) {
                continue;
            }
            // At each call the stack is aligned to 16 bytes. LLVM's tables say otherwise after a call that never returns.
            if !matches!(Call::before(Process::own(), *instruction), Call::None) && distance % 16 != 8 {
                continue;
            }
            let ways = code_walk::ways_to(Process::own(), function.code.start, Some(&function.code), *instruction);
            match ways.as_slice() {
                [way] if way.return_slot == (Slot { from: Register::Stack, distance: *distance }) => right += 1,
                [way] => {
                    wrong += 1;
                    eprintln!("{:x?} at {instruction:x}: {way:?}, not {distance}", function.code);
                }
                _ => unknown += 1,
            }
        }
    }
    assert!(wrong == 0 && right >= 1000 && right * 10 >= unknown, "{right} right, {wrong} wrong, {unknown} unknown");
}

#[test]
fn ways_out_contain_the_distance_of_the_tables() {
    let (mut found, mut total) = (0, 0);
    for function in functions(2000) {
        for (instruction, distance) in &function.distances {
            let exits = code_walk::exits(Process::own(), *instruction, None, |_| false);
            let slot = Slot { from: Register::Stack, distance: *distance };
            total += 1;
            found += usize::from(exits.frames.iter().any(|frame| frame.return_slot == slot));
        }
    }
    assert!(total >= 1000 && found * 100 >= total * 90, "{found} of {total}");
}

/// The way out found from an instruction to the ends, and the one from the start to it. `at` is the instruction's position.
fn both_ways(code: &[u8], at: usize) -> (Vec<Frame>, Vec<Frame>) {
    let start = code.as_ptr().expose_provenance() as u64;
    let (range, instruction) = (start..start + code.len() as u64, start + at as u64);
    let exits = code_walk::exits(Process::own(), instruction, Some(&range), |_| false);
    (exits.frames, code_walk::ways_to(Process::own(), start, Some(&range), instruction))
}

const fn slot(from: Register, distance: i64) -> Slot {
    Slot { from, distance }
}

#[test]
fn a_leaf_has_its_return_address_at_the_stack_pointer() {
    // mov eax, 35; syscall; ret
    let code = [0xb8, 0x23, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xc3];
    let frame = Frame { return_slot: slot(Register::Stack, 0), base: CallerBase::Current };
    assert_eq!(both_ways(&code, 7), (vec![frame], vec![frame]));
}

#[test]
fn pushed_registers_and_room_for_variables_are_counted() {
    // push rbp; mov rbp, rdi; sub rsp, 0x50; syscall; mov rdi, rax; call …; add rsp, 0x50; pop rbp; ret
    let code = [
        0x55, 0x48, 0x89, 0xfd, 0x48, 0x83, 0xec, 0x50, 0x0f, 0x05, 0x48, 0x89, 0xc7, 0xe8, 0, 0, 0, 0, 0x48, 0x83,
        0xc4, 0x50, 0x5d, 0xc3,
    ];
    let saved = CallerBase::Saved(slot(Register::Stack, 0x50));
    let frame = Frame { return_slot: slot(Register::Stack, 0x58), base: saved };
    assert_eq!(both_ways(&code, 10), (vec![frame], vec![frame]));
}

#[test]
fn arguments_on_the_stack_and_jumps_back_are_followed() {
    // push rbx; sub rsp, 8; push 8; call …; pop rcx; pop rsi; test rbx, rbx; je +2; pop rbx; ret; push 0; pop rax; jmp -6
    let code = [
        0x53, 0x48, 0x83, 0xec, 0x08, 0x6a, 0x08, 0xe8, 0, 0, 0, 0, 0x59, 0x5e, 0x48, 0x85, 0xdb, 0x74, 0x02, 0x5b,
        0xc3, 0x6a, 0x00, 0x58, 0xeb, 0xf9,
    ];
    let frame = Frame { return_slot: slot(Register::Stack, 0x18), base: CallerBase::Current };
    assert_eq!(both_ways(&code, 12), (vec![frame], vec![frame]));
}

#[test]
fn an_aligned_stack_is_left_by_the_frame_pointer_or_not_at_all() {
    // push rbp; mov rbp, rsp; and rsp, -16; sub rsp, 0x20; syscall; leave; ret
    let code = [0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xe4, 0xf0, 0x48, 0x83, 0xec, 0x20, 0x0f, 0x05, 0xc9, 0xc3];
    let frame = Frame { return_slot: slot(Register::Base, 8), base: CallerBase::Saved(slot(Register::Base, 0)) };
    assert_eq!(both_ways(&code, 14), (vec![frame], vec![frame]));
    // push rbx; mov rbx, rsp; and rsp, -16; syscall; mov rsp, rbx; pop rbx; ret
    let code = [0x53, 0x48, 0x89, 0xe3, 0x48, 0x83, 0xe4, 0xf0, 0x0f, 0x05, 0x48, 0x89, 0xdc, 0x5b, 0xc3];
    assert_eq!(both_ways(&code, 10), (vec![], vec![]));
}

#[test]
fn code_after_a_call_that_never_returns_is_no_way_out() {
    // push rbx; call …; mov rdi, rax; call …; and behind the function: ret
    let code = [0x53, 0xe8, 0, 0, 0, 0, 0x48, 0x89, 0xc7, 0xe8, 0, 0, 0, 0, 0xc3];
    let frame = Frame { return_slot: slot(Register::Stack, 8), base: CallerBase::Current };
    assert_eq!(both_ways(&code[..14], 6), (vec![], vec![frame]));
    let start = code.as_ptr().expose_provenance() as u64;
    let unknown_end = code_walk::exits(Process::own(), start + 6, None, |_| false);
    assert_eq!(
        unknown_end.frames.first().map(|frame| frame.return_slot),
        Some(slot(Register::Stack, 0)),
        "a wrong one"
    );
}

#[test]
fn the_first_function_of_a_thread_never_returns() {
    // call r9; mov edi, eax; xor eax, eax; mov al, 60; syscall; hlt
    let code = [0x41, 0xff, 0xd1, 0x89, 0xc7, 0x31, 0xc0, 0xb0, 0x3c, 0x0f, 0x05, 0xf4];
    let never_returns = |code: &[u8], at: u64| {
        let start = code.as_ptr().expose_provenance() as u64;
        code_walk::exits(Process::own(), start + at, None, |_| false).never_returns
    };
    assert!(never_returns(&code, 3));
    assert!(!never_returns(&code, 0), "it calls something");
    let is_after = |code: &[u8], at: u64| {
        let start = code.as_ptr().expose_provenance() as u64;
        code_walk::is_right_after(Process::own(), start, start + at)
    };
    assert!(is_after(&code, 11) && !is_after(&code, 10), "in the middle of an instruction");
}

#[test]
fn writes_of_the_two_registers_are_seen() {
    for (code, effect) in [
        (&[0x48, 0x8d, 0x64, 0x24, 0xf8][..], Effect::Adjust(-8)),
        (&[0x48, 0x81, 0xec, 0x00, 0x02, 0x00, 0x00], Effect::Adjust(-0x200)),
        (&[0x48, 0x8d, 0x65, 0xe8], Effect::StackFromBase(-0x18)),
        (&[0x48, 0x8d, 0x6c, 0x24, 0x10], Effect::BaseFromStack(0x10)),
        (&[0x48, 0x8b, 0x6c, 0x24, 0x10], Effect::WriteBase),
        (&[0x41, 0x89, 0xed], Effect::None),
        (&[0x48, 0x39, 0xe5], Effect::None),
        (&[0xc5, 0xf9, 0x7e, 0xc5], Effect::WriteBase),
        (&[0x66, 0x0f, 0x6f, 0xec], Effect::None),
        (&[0xff, 0x25, 0x10, 0x00, 0x00, 0x00], Effect::JumpThrough(0x10)),
        (&[0xf3, 0x0f, 0x1e, 0xfa], Effect::None),
    ] {
        let decoded = decode(code).expect("it is known");
        assert_eq!((decoded.length, decoded.effect), (code.len() as u64, effect), "{code:x?}");
    }
    assert_eq!(decode(&[0x06]), None, "invalid in 64-bit code");
    assert_eq!(decode(&[0x48, 0x81, 0xec, 0x00]), None, "cut");
}
