//! The type of a task, by the symbols of the functions that poll it.
//!
//! With v0 mangling, the symbol of the function that polls a task contains the types of its future and scheduler. With legacy
//! mangling it does not. But the symbol of the function that drops the task, or the part that holds its future, contains
//! them. The task's other functions reach it within a few calls. A call counts if its target is the start of a function.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use object::{Object, ObjectSymbol, ReadRef, SymbolKind};

use super::names::{closing, readable};
use crate::images::{Image, ObjectReader};
use crate::model::type_name::{arguments, unwrapped};
use crate::sys::Process;
use crate::tokio_internals::symbols;

/// The depth of calls that are followed.
const MAX_CALLS: usize = 4;

/// Functions that are searched for one task.
const MAX_FUNCTIONS: usize = 64;

/// Bytes of a function's code that are searched for calls.
const MAX_CODE_BYTES: u64 = 64 * 1024;

/// Types of tasks that are compared.
const MAX_TYPES: usize = 4096;

/// Symbols that are read.
const MAX_SYMBOLS: usize = 2_000_000;

/// The types of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskType {
    /// The readable name of the future.
    pub(crate) future: String,
    /// The type of the scheduler, as the compiler writes it.
    pub(crate) scheduler: String,
    /// Other types may share the code that drops this one, because the linker merges identical code.
    pub(crate) uncertain: bool,
}

impl TaskType {
    /// The name of the future, with a note if it is uncertain.
    pub(crate) fn label(&self) -> String {
        let or = if self.uncertain { ", or one that is dropped in the same way" } else { "" };
        format!("{}{or}", self.future)
    }
}

/// The type of a task by the calls of its functions.
struct CallEvidence {
    ty: TaskType,
    /// Whether they call the code of its future.
    polled: bool,
}

/// The functions of a program, by their symbols.
#[derive(Debug, Default)]
pub(crate) struct TaskFunctions {
    process: Option<Process>,
    bias: u64,
    /// Sizes and names by address in the file.
    functions: HashMap<u64, (u64, Vec<String>)>,
    /// For each type, how many functions that poll tasks lead to the code that drops it.
    dropped: OnceLock<HashMap<(String, String), usize>>,
}

impl TaskFunctions {
    /// The functions of a running program.
    pub(crate) fn of(process: Process, image: &Image) -> Self {
        let functions = image.read(ReadFunctions).unwrap_or_default();
        Self { process: Some(process), bias: image.bias, functions, dropped: OnceLock::new() }
    }

    /// The type of the tasks that these functions, given by their addresses in memory, belong to; `None` if unknown.
    pub(crate) fn task_type(&self, functions: &[u64]) -> Option<TaskType> {
        let starts: Vec<u64> = functions.iter().map(|address| self.in_file(*address)).collect();
        let by_poll = starts.iter().filter_map(|start| only(self.named(*start).filter_map(poll_types)));
        only(by_poll).or_else(|| {
            let CallEvidence { mut ty, polled } = self.by_calls(&starts)?;
            ty.uncertain = !polled && (ty.uncertain || self.is_shared(&ty));
            Some(ty)
        })
    }

    /// Whether several types of tasks lead to the code that drops this one. The linker has then kept one function for all of
    /// them, under one name.
    fn is_shared(&self, ty: &TaskType) -> bool {
        let dropped = self.dropped.get_or_init(|| {
            let polls = |names: &[String]| names.iter().any(|name| name.contains(symbols::RAW_POLL));
            let polls = self.functions.iter().filter(|(_, (_, names))| polls(names));
            let mut dropped = HashMap::new();
            for found in polls.take(MAX_TYPES).filter_map(|(start, _)| self.by_calls(&[*start])) {
                *dropped.entry((found.ty.future, found.ty.scheduler)).or_default() += 1;
            }
            dropped
        });
        dropped.get(&(ty.future.clone(), ty.scheduler.clone())).is_some_and(|types| *types > 1)
    }

    /// The address in the file of an address in memory.
    pub(crate) fn in_file(&self, address: u64) -> u64 {
        address.wrapping_sub(self.bias)
    }

    fn named(&self, address: u64) -> impl Iterator<Item = &str> {
        self.functions.get(&address).into_iter().flat_map(|(_, names)| names).map(String::as_str)
    }

    fn by_calls(&self, starts: &[u64]) -> Option<CallEvidence> {
        let (mut visited, mut next): (HashSet<u64>, Vec<u64>) = (HashSet::new(), starts.to_vec());
        let (mut tasks, mut stages, mut called) = (Vec::new(), Vec::new(), HashSet::new());
        for _ in 0..=MAX_CALLS {
            for function in std::mem::take(&mut next) {
                if visited.len() >= MAX_FUNCTIONS || !visited.insert(function) {
                    continue;
                }
                for target in self.calls(function) {
                    for symbol in self.named(target) {
                        match dropped(symbol) {
                            Some(Dropped::Task(types)) => tasks.push(types),
                            Some(Dropped::Stage(future)) => stages.push(future),
                            None if symbol.contains(symbols::TASK) => next.push(target),
                            None => drop(called.insert(symbol)),
                        }
                    }
                }
            }
        }
        // The linker may merge the code that drops several types, but never the code that polls them.
        let polled =
            |future: &str| called.iter().any(|symbol| demangled(symbol).is_some_and(|name| readable(&name) == future));
        if let Some(ty) = only(tasks.into_iter()) {
            let polled = polled(&ty.future);
            return Some(CallEvidence { ty, polled });
        }
        let future = only(stages.into_iter())?;
        let polled = polled(&future);
        let uses = |part: &str| called.iter().any(|symbol| symbol.contains("scheduler") && symbol.contains(part));
        let scheduler = match (uses("multi_thread"), uses("current_thread")) {
            (true, false) => "multi_thread",
            (false, true) => "current_thread",
            _ => "",
        };
        let ty = TaskType { future, scheduler: scheduler.to_owned(), uncertain: true };
        Some(CallEvidence { ty, polled })
    }

    /// The functions that a function calls or jumps to.
    fn calls(&self, function: u64) -> Vec<u64> {
        let Some((size, _)) = self.functions.get(&function) else { return Vec::new() };
        let Some(process) = self.process else { return Vec::new() };
        let mut code = vec![0; usize::try_from((*size).min(MAX_CODE_BYTES)).unwrap_or(0)];
        let length = process.read_memory(function.wrapping_add(self.bias), &mut code);
        let code = code.get(..length).unwrap_or_default();
        let relative = |position: usize| -> Option<u64> {
            let bytes = code.get(position..position.checked_add(4)?)?;
            let distance = i32::from_le_bytes(bytes.try_into().ok()?);
            let next = function.wrapping_add(position as u64 + 4);
            Some(next.wrapping_add_signed(i64::from(distance)))
        };
        let target = |position: usize| match code.get(position..)? {
            // call and jmp
            [0xe8 | 0xe9, ..] => relative(position + 1),
            // call and jmp through a word in memory
            [0xff, 0x15 | 0x25, ..] => {
                let word = process.read_word(relative(position + 2)?.wrapping_add(self.bias))?;
                Some(word.wrapping_sub(self.bias))
            }
            _ => None,
        };
        (0..code.len()).filter_map(target).filter(|target| self.functions.contains_key(target)).collect()
    }
}

/// The value that all items equal; `None` if they differ or there are none.
fn only<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

fn demangled(symbol: &str) -> Option<String> {
    Some(format!("{:#}", rustc_demangle::try_demangle(symbol).ok()?))
}

fn poll_types(symbol: &str) -> Option<TaskType> {
    if !symbol.contains(symbols::RAW_POLL) {
        return None;
    }
    types_in(demangled(symbol)?.strip_prefix(symbols::DEMANGLED_RAW_POLL)?)
}

/// The value that a function drops.
#[derive(Debug, PartialEq, Eq)]
enum Dropped {
    /// A whole task, or the box that contains it.
    Task(TaskType),
    /// The part of a task that holds the future with this name.
    Stage(String),
}

fn dropped(symbol: &str) -> Option<Dropped> {
    if !symbol.contains("drop_in_place") && !symbol.contains("drop_glue") {
        return None;
    }
    let name = demangled(symbol)?;
    let (before, inside) = name.split_once(symbols::TASK_PARTS)?;
    let whole = ["drop_in_place<", "drop_glue<", "Box<"].iter().any(|end| before.ends_with(end));
    if let Some(inside) = inside.strip_prefix(symbols::TASK_CELL).filter(|_| whole) {
        return types_in(inside).map(Dropped::Task);
    }
    let stage = symbols::TASK_STAGES.iter().find_map(|part| inside.strip_prefix(part));
    let inside = stage.filter(|_| whole)?;
    Some(Dropped::Stage(readable(unwrapped(inside.get(..closing(inside)?)?))))
}

/// The two types at the start of a text, up to the bracket that closes them.
fn types_in(text: &str) -> Option<TaskType> {
    let mut types = arguments(text.get(..closing(text)?)?);
    let (future, scheduler) = (types.next()?, types.next()?);
    Some(TaskType { future: readable(unwrapped(future)), scheduler: scheduler.to_owned(), uncertain: false })
}

struct ReadFunctions;

impl ObjectReader for ReadFunctions {
    type Output = HashMap<u64, (u64, Vec<String>)>;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Self::Output {
        let mut functions = Self::Output::new();
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text).take(MAX_SYMBOLS) {
            if let Ok(name) = symbol.name() {
                let (size, names) = functions.entry(symbol.address()).or_default();
                *size = symbol.size().max(*size);
                names.push(name.to_owned());
            }
        }
        functions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_in_the_symbols_of_both_manglings() {
        let v0 = "_RINvNtNtNtCsjMJbvuyXNWE_5tokio7runtime4task3raw4pollNCNvCs2g2qvAd2obi_8awaiting10holds_lock0\
                  INtNtCslNYArtu3iFV_5alloc4sync3ArcNtNtNtB6_9scheduler14current_thread6HandleEEBS_";
        let found = poll_types(v0).expect("it names both");
        assert_eq!(found.future, "awaiting::holds_lock");
        assert!(found.scheduler.contains("current_thread"), "{}", found.scheduler);
        // A truncated symbol is invalid.
        assert_eq!(poll_types(&v0[..40]), None);
        let legacy = |name: &str| format!("_ZN4core3ptr{}{name}17h0123456789abcdefE", name.len());
        let types = "tokio..runtime..task..core..Cell$LT$app..nested..$u7b$$u7b$closure$u7d$$u7d$$C$alloc..sync..Arc$LT$app..Handle$GT$$GT$";
        let (future, scheduler) = ("app::nested".to_owned(), "alloc::sync::Arc<app::Handle>".to_owned());
        let found = TaskType { future, scheduler, uncertain: false };
        let boxed = legacy(&format!("drop_in_place$LT$alloc..boxed..Box$LT${types}$GT$$GT$"));
        assert_eq!(dropped(&boxed), Some(Dropped::Task(found)));
        let holder = legacy(&format!("drop_in_place$LT$app..Holds$LT${types}$GT$$GT$"));
        assert_eq!(dropped(&holder), None, "it drops a value that contains a task");
        let stage = legacy(
            "drop_in_place$LT$tokio..runtime..task..core..Stage$LT$app..nested..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$",
        );
        assert_eq!(dropped(&stage), Some(Dropped::Stage("app::nested".to_owned())));
        let found = types_in("a::F<fn(u8) -> (b::C, u8)>, d::S<T>> and more").expect("two types");
        assert_eq!((found.future.as_str(), found.scheduler.as_str()), ("a::F", "d::S<T>"));
        for broken in ["", "<", ">", "a,b", "a>", "<<,>>"] {
            assert_eq!(types_in(broken), None, "{broken}");
        }
    }
}
