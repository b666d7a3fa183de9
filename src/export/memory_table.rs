//! The memory of a process by kind, as a table and as JSON.

use std::time::Duration;

use serde::Serialize;

use super::profile::summary::amount;
use super::tables::line;
use crate::model::memory::{MemoryHistory, MemoryKind, MemoryUse, ProcessMemory};
use crate::model::profile::Unit;

/// `512.3 MiB resident, 480.1 MiB proportional, 0 B swapped`.
pub(crate) fn summary(memory: &ProcessMemory) -> String {
    let total = memory.total();
    format!(
        "{} resident, {} proportional, {} swapped",
        bytes(total.resident),
        bytes(total.proportional),
        bytes(total.swapped)
    )
}

/// `12.0 s  512.3 MiB resident, …`: a look at the memory at a time since the first one.
pub(crate) fn look(at: Duration, memory: &ProcessMemory) -> String {
    format!("{:>6.1} s  {}", at.as_secs_f64(), summary(memory))
}

/// The table by kind. Kinds without mappings are left out. After some time, a column has the growth.
pub(crate) fn text(history: &MemoryHistory) -> String {
    let MemoryHistory { pid, program, first, last, elapsed, .. } = history;
    // A name must not contain escape sequences.
    let program: String = program.chars().filter(|c| !c.is_control()).collect();
    let mut text = String::new();
    line(&mut text, format_args!("{program} (process {pid}): {}", summary(last)));
    let grows = !elapsed.is_zero();
    let grown = if grows { format!(" {:>11}", "growth") } else { String::new() };
    line(
        &mut text,
        format_args!(
            "{:<16} {:>8} {:>10} {:>10}{grown} {:>12} {:>10} {:>10}",
            "kind", "mappings", "addresses", "resident", "proportional", "dirty", "swapped"
        ),
    );
    let mut row = |title: &str, before: MemoryUse, now: MemoryUse| {
        let grown = if grows { format!(" {:>11}", growth(before, now)) } else { String::new() };
        line(
            &mut text,
            format_args!(
                "{title:<16} {:>8} {:>10} {:>10}{grown} {:>12} {:>10} {:>10}",
                now.mappings,
                bytes(now.size),
                bytes(now.resident),
                bytes(now.proportional),
                bytes(now.dirty),
                bytes(now.swapped)
            ),
        );
    };
    for kind in MemoryKind::ALL {
        let (before, now) = (first.of(kind), last.of(kind));
        if now.mappings > 0 || before.mappings > 0 {
            row(kind.title(), before, now);
        }
    }
    row("total", first.total(), last.total());
    if grows {
        let minutes = elapsed.as_secs_f64() / 60.0;
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "for people, to three digits")]
        let per_minute = (held(last.total()).saturating_sub(held(first.total())) as f64 / minutes) as i64;
        let sign = if per_minute > 0 { "+" } else { "" };
        line(
            &mut text,
            format_args!(
                "growth over {:.1} s: {sign}{} a minute",
                elapsed.as_secs_f64(),
                amount(per_minute, Unit::Bytes)
            ),
        );
    }
    text
}

/// What is in memory or on a swap device. Memory that is swapped out has not shrunk.
fn held(of: MemoryUse) -> i64 {
    i64::try_from(of.resident.saturating_add(of.swapped)).unwrap_or(i64::MAX)
}

fn growth(before: MemoryUse, now: MemoryUse) -> String {
    let grown = held(now).saturating_sub(held(before));
    if grown > 0 { format!("+{}", amount(grown, Unit::Bytes)) } else { amount(grown, Unit::Bytes) }
}

fn bytes(bytes: u64) -> String {
    amount(i64::try_from(bytes).unwrap_or(i64::MAX), Unit::Bytes)
}

/// The same as JSON, with every look.
pub(crate) fn json(history: &MemoryHistory, looks: &[(Duration, ProcessMemory)]) -> serde_json::Result<String> {
    let looks = looks.iter().map(|(at, memory)| LookJson {
        seconds: at.as_secs_f64(),
        total: memory.total().into(),
        kinds: MemoryKind::ALL.iter().map(|kind| (kind.as_str(), memory.of(*kind).into())).collect(),
    });
    serde_json::to_string_pretty(&HistoryJson {
        schema: 1,
        pid: history.pid,
        program: &history.program,
        ended: history.gone,
        looks: looks.collect(),
    })
}

#[derive(Serialize)]
struct HistoryJson<'h> {
    /// Increases when the meaning of a field changes.
    schema: u32,
    pid: u32,
    program: &'h str,
    /// The process ended, or runs another program.
    ended: bool,
    looks: Vec<LookJson>,
}

#[derive(Serialize)]
struct LookJson {
    seconds: f64,
    total: UseJson,
    kinds: std::collections::BTreeMap<&'static str, UseJson>,
}

#[derive(Serialize)]
struct UseJson {
    mappings: u64,
    address_bytes: u64,
    resident_bytes: u64,
    proportional_bytes: u64,
    dirty_bytes: u64,
    swapped_bytes: u64,
}

impl From<MemoryUse> for UseJson {
    fn from(of: MemoryUse) -> Self {
        Self {
            mappings: of.mappings,
            address_bytes: of.size,
            resident_bytes: of.resident,
            proportional_bytes: of.proportional,
            dirty_bytes: of.dirty,
            swapped_bytes: of.swapped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> MemoryHistory {
        let memory = |resident: u64, swapped: u64| {
            let mut memory = ProcessMemory::default();
            let heap =
                MemoryUse { mappings: 1, size: 64 << 20, resident, proportional: resident, dirty: resident, swapped };
            memory.add(MemoryKind::Heap, heap);
            memory.add(
                MemoryKind::Files,
                MemoryUse { mappings: 9, size: 1 << 20, resident: 512, ..MemoryUse::default() },
            );
            memory
        };
        MemoryHistory {
            pid: 7,
            program: "shop\x1b".to_owned(),
            first: memory(10 << 20, 0),
            last: memory(9 << 20, 3 << 20),
            elapsed: Duration::from_secs(30),
            gone: false,
        }
    }

    #[test]
    fn growth_counts_what_was_swapped_out() {
        let text = text(&history());
        assert!(
            text.starts_with("shop (process 7): 9.0 MiB resident, 9.0 MiB proportional, 3.0 MiB swapped\n"),
            "{text}"
        );
        let heap: Vec<&str> = text.lines().nth(2).expect("a row").split_whitespace().collect();
        assert_eq!(heap[..9], ["heap", "([heap])", "1", "64.0", "MiB", "9.0", "MiB", "+2.0", "MiB"], "{text}");
        assert!(text.ends_with("growth over 30.0 s: +4.0 MiB a minute\n"), "{text}");
        assert!(!text.contains("anonymous"), "kinds without mappings are left out: {text}");
    }

    #[test]
    fn one_look_has_no_growth() {
        let once = MemoryHistory { elapsed: Duration::ZERO, ..history() };
        assert!(!text(&once).contains("growth"), "{}", text(&once));
        let json: serde_json::Value =
            serde_json::from_str(&json(&once, &[(Duration::ZERO, once.last)]).expect("it is JSON")).expect("read");
        assert_eq!(json["looks"][0]["kinds"]["heap"]["swapped_bytes"], 3 << 20);
        assert_eq!(json["looks"][0]["total"]["mappings"], 10);
    }
}
