//! This test program has unwind tables for its own code. They are the truth for what the code itself tells.

use std::ops::Range;

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, NativeEndian, Register as Dwarf, UnwindContext, UnwindSection as _,
};
use object::read::ReadRef;
use object::{Object, ObjectSection};

use super::code_walk::{self, Register, Slot};
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
    eprintln!("{whole} of {total}");
    assert!(total >= 1000 && whole * 1000 >= total * 999, "{whole} of {total} functions");
}

#[test]
fn code_tells_what_the_tables_say() {
    let (mut right, mut wrong, mut unknown) = (0, 0, 0);
    for function in functions(2000) {
        for (instruction, distance) in &function.distances {
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
    eprintln!("{right} right, {wrong} wrong, {unknown} unknown");
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
    eprintln!("{found} of {total}");
    assert!(total >= 1000 && found * 100 >= total * 90, "{found} of {total}");
}
