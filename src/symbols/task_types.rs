//! What type of task a function of Tokio belongs to, as far as symbols tell.
//!
//! Mangled as by newer compilers (v0), the symbol of the function that polls a task has the types of future and scheduler
//! in it. Mangled as by older ones it has not, but that of the function that drops such a task, or the part of it that
//! holds the future, has: it is called from the others, within a few calls. Calls are told by their targets, which must be
//! where a function begins.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use object::{Object, ObjectSymbol, ReadRef, SymbolKind};

use super::names::{closing, readable};
use crate::images::{Image, Reader};
use crate::model::type_name::{arguments, unwrapped};
use crate::sys::Process;

/// Calls from a task's function to the one that drops it.
const MAX_CALLS: usize = 4;

/// Functions that are looked at for one task.
const MAX_FUNCTIONS: usize = 64;

/// Of a function's code, so much is searched for calls.
const MAX_CODE: u64 = 64 * 1024;

/// Types of tasks that are held against each other.
const MAX_TYPES: usize = 4096;

/// Part of the symbol of a function that polls tasks of one type, in both ways of mangling.
const POLL: &str = "7runtime4task3raw4poll";

/// Symbols that are kept.
const MAX_SYMBOLS: usize = 2_000_000;

/// The types of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskType {
    /// The name of the future, as a developer writes it.
    pub(crate) future: String,
    /// The type of the scheduler, as the compiler writes it.
    pub(crate) scheduler: String,
    /// Nothing tells it from others that are dropped in the same way, of which the linker may have kept one.
    pub(crate) uncertain: bool,
}

impl TaskType {
    /// The name of the future, with what is not certain of it.
    pub(crate) fn told(&self) -> String {
        let or = if self.uncertain { ", or one that is dropped in the same way" } else { "" };
        format!("{}{or}", self.future)
    }
}

/// What the calls of a task's functions tell.
struct Found {
    ty: TaskType,
    /// They call the code of its future.
    polled: bool,
}

/// The functions of a program, by their symbols.
#[derive(Debug, Default)]
pub(crate) struct TaskFunctions {
    process: Option<Process>,
    bias: u64,
    /// By their addresses in the file: their sizes, and all their names.
    functions: HashMap<u64, (u64, Vec<String>)>,
    /// How many of the functions that poll tasks lead to each type, by what drops it.
    dropped: OnceLock<HashMap<(String, String), usize>>,
}

impl TaskFunctions {
    /// Those of a program that runs.
    pub(crate) fn of(process: Process, image: &Image) -> Self {
        let functions = image.read(ReadFunctions).unwrap_or_default();
        Self { process: Some(process), bias: image.bias, functions, dropped: OnceLock::new() }
    }

    /// The type of the tasks that these functions belong to, given by their addresses in memory. `None` where nothing tells.
    pub(crate) fn task_type(&self, functions: &[u64]) -> Option<TaskType> {
        let starts: Vec<u64> = functions.iter().map(|address| self.in_file(*address)).collect();
        let by_poll = starts.iter().filter_map(|start| only(self.named(*start).filter_map(poll_types)));
        only(by_poll).or_else(|| {
            let Found { mut ty, polled } = self.by_calls(&starts)?;
            ty.uncertain = !polled && (ty.uncertain || self.is_shared(&ty));
            Some(ty)
        })
    }

    /// Whether several types of tasks lead to the code that drops this one: the compiler has kept one piece for all of them, with the
    /// name of one.
    fn is_shared(&self, ty: &TaskType) -> bool {
        let dropped = self.dropped.get_or_init(|| {
            let polls = |names: &[String]| names.iter().any(|name| name.contains(POLL));
            let polls = self.functions.iter().filter(|(_, (_, names))| polls(names));
            let mut dropped = HashMap::new();
            for found in polls.take(MAX_TYPES).filter_map(|(start, _)| self.by_calls(&[*start])) {
                *dropped.entry((found.ty.future, found.ty.scheduler)).or_default() += 1;
            }
            dropped
        });
        dropped.get(&(ty.future.clone(), ty.scheduler.clone())).is_some_and(|types| *types > 1)
    }

    /// An address in memory, as the file has it.
    pub(crate) fn in_file(&self, address: u64) -> u64 {
        address.wrapping_sub(self.bias)
    }

    fn named(&self, address: u64) -> impl Iterator<Item = &str> {
        self.functions.get(&address).into_iter().flat_map(|(_, names)| names).map(String::as_str)
    }

    fn by_calls(&self, starts: &[u64]) -> Option<Found> {
        let (mut seen, mut next): (HashSet<u64>, Vec<u64>) = (HashSet::new(), starts.to_vec());
        let (mut tasks, mut stages, mut called) = (Vec::new(), Vec::new(), HashSet::new());
        for _ in 0..=MAX_CALLS {
            for function in std::mem::take(&mut next) {
                if seen.len() >= MAX_FUNCTIONS || !seen.insert(function) {
                    continue;
                }
                for target in self.calls(function) {
                    for symbol in self.named(target) {
                        match dropped(symbol) {
                            Some(Dropped::Task(types)) => tasks.push(types),
                            Some(Dropped::Stage(future)) => stages.push(future),
                            None if symbol.contains("7runtime4task") => next.push(target),
                            None => drop(called.insert(symbol)),
                        }
                    }
                }
            }
        }
        // The linker may have made one of the code that drops several types, but never of that which polls them.
        let polled =
            |future: &str| called.iter().any(|symbol| demangled(symbol).is_some_and(|name| readable(&name) == future));
        if let Some(ty) = only(tasks.into_iter()) {
            let polled = polled(&ty.future);
            return Some(Found { ty, polled });
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
        Some(Found { ty, polled })
    }

    /// The functions that a function calls, or jumps to at its end.
    fn calls(&self, function: u64) -> Vec<u64> {
        let Some((size, _)) = self.functions.get(&function) else { return Vec::new() };
        let Some(process) = self.process else { return Vec::new() };
        let mut code = vec![0; usize::try_from((*size).min(MAX_CODE)).unwrap_or(0)];
        let length = process.read_memory(function.wrapping_add(self.bias), &mut code);
        let code = code.get(..length).unwrap_or_default();
        let relative = |position: usize| -> Option<u64> {
            let bytes = code.get(position..position.checked_add(4)?)?;
            let distance = i32::from_le_bytes(bytes.try_into().ok()?);
            let behind = function.wrapping_add(position as u64 + 4);
            Some(behind.wrapping_add_signed(i64::from(distance)))
        };
        let target = |position: usize| match code.get(position..)? {
            // call and jmp
            [0xe8 | 0xe9, ..] => relative(position + 1),
            // The same through a word in memory.
            [0xff, 0x15 | 0x25, ..] => {
                let word = process.read_word(relative(position + 2)?.wrapping_add(self.bias))?;
                Some(word.wrapping_sub(self.bias))
            }
            _ => None,
        };
        (0..code.len()).filter_map(target).filter(|target| self.functions.contains_key(target)).collect()
    }
}

/// What all of them are; `None` where they differ, or there are none.
fn only<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

fn demangled(symbol: &str) -> Option<String> {
    Some(format!("{:#}", rustc_demangle::try_demangle(symbol).ok()?))
}

fn poll_types(symbol: &str) -> Option<TaskType> {
    if !symbol.contains(POLL) {
        return None;
    }
    types_in(demangled(symbol)?.strip_prefix("tokio::runtime::task::raw::poll::<")?)
}

/// What a function drops.
#[derive(Debug, PartialEq, Eq)]
enum Dropped {
    /// A whole task, or the box that it lies in.
    Task(TaskType),
    /// The part of a task that holds its future, of this name.
    Stage(String),
}

fn dropped(symbol: &str) -> Option<Dropped> {
    const TASK: &str = "tokio::runtime::task::core::";
    if !symbol.contains("drop_in_place") && !symbol.contains("drop_glue") {
        return None;
    }
    let name = demangled(symbol)?;
    let (before, inside) = name.split_once(TASK)?;
    let whole = ["drop_in_place<", "drop_glue<", "Box<"].iter().any(|end| before.ends_with(end));
    if let Some(inside) = inside.strip_prefix("Cell<").filter(|_| whole) {
        return types_in(inside).map(Dropped::Task);
    }
    let inside = inside.strip_prefix("Stage<").or_else(|| inside.strip_prefix("CoreStage<")).filter(|_| whole)?;
    Some(Dropped::Stage(readable(unwrapped(inside.get(..closing(inside)?)?))))
}

/// The two types that text begins with, up to the bracket that closes them.
fn types_in(text: &str) -> Option<TaskType> {
    let mut types = arguments(text.get(..closing(text)?)?);
    let (future, scheduler) = (types.next()?, types.next()?);
    Some(TaskType { future: readable(unwrapped(future)), scheduler: scheduler.to_owned(), uncertain: false })
}

struct ReadFunctions;

impl Reader for ReadFunctions {
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
    fn types_are_in_the_symbols_of_both_ways_of_mangling() {
        let v0 = "_RINvNtNtNtCsjMJbvuyXNWE_5tokio7runtime4task3raw4pollNCNvCs2g2qvAd2obi_8awaiting10holds_lock0\
                  INtNtCslNYArtu3iFV_5alloc4sync3ArcNtNtNtB6_9scheduler14current_thread6HandleEEBS_";
        let found = poll_types(v0).expect("it names both");
        assert_eq!(found.future, "awaiting::holds_lock");
        assert!(found.scheduler.contains("current_thread"), "{}", found.scheduler);
        // A symbol that is cut is none.
        assert_eq!(poll_types(&v0[..40]), None);
        let legacy = |name: &str| format!("_ZN4core3ptr{}{name}17h0123456789abcdefE", name.len());
        let types = "tokio..runtime..task..core..Cell$LT$app..nested..$u7b$$u7b$closure$u7d$$u7d$$C$alloc..sync..Arc$LT$app..Handle$GT$$GT$";
        let (future, scheduler) = ("app::nested".to_owned(), "alloc::sync::Arc<app::Handle>".to_owned());
        let found = TaskType { future, scheduler, uncertain: false };
        let boxed = legacy(&format!("drop_in_place$LT$alloc..boxed..Box$LT${types}$GT$$GT$"));
        assert_eq!(dropped(&boxed), Some(Dropped::Task(found)));
        let holder = legacy(&format!("drop_in_place$LT$app..Holds$LT${types}$GT$$GT$"));
        assert_eq!(dropped(&holder), None, "it drops something that has one");
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
