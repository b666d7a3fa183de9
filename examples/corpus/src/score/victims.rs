//! Whether a report names the tasks that waited behind a stall, and no others.

use super::MARGIN_NS;
use crate::report::ReportedStall;
use crate::truth::TrueStall;

/// Tasks that a report may be unsure of.
const MAX_UNSURE: usize = 1;

/// What is wrong with the victims of a report, in words: empty where nothing is. `None` where truth or report tell none.
///
/// Every task that was ready 2 ms before the end must be told. Every one that is told must have been ready before the end,
/// but for one that the tool says it is not sure of.
pub(super) fn wrong(stall: &TrueStall, said: &ReportedStall) -> Option<String> {
    let (truth, said) = (stall.victims.as_ref()?, said.victims.as_ref()?);
    let end = stall.start_ns.saturating_add(stall.duration_ns);
    let due = truth.iter().filter(|victim| victim.ready_ns.saturating_add(MARGIN_NS) <= end);
    let missing: Vec<_> =
        due.map(|victim| victim.task).filter(|task| said.iter().all(|told| told.task != *task)).collect();
    let unsure = said.iter().filter(|told| !told.certain).count();
    let invented = said.iter().filter(|told| told.certain || unsure > MAX_UNSURE).map(|told| told.task);
    let invented: Vec<_> = invented.filter(|task| truth.iter().all(|victim| victim.task != *task)).collect();
    let mut words = Vec::new();
    for (what, tasks) in [("did not tell that tasks waited:", missing), ("told of tasks that did not wait:", invented)]
    {
        if !tasks.is_empty() {
            words.push(format!("{what} {tasks:?}"));
        }
    }
    Some(words.join("; "))
}
