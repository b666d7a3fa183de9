//! Checks that a report names the victims of a stall, and no other tasks.

use super::MARGIN_NS;
use crate::report::ReportedStall;
use crate::truth::TrueStall;

/// Limit of uncertain tasks in a report.
const MAX_UNSURE: usize = 1;

/// The error in the victims of a report, in words. Empty if there is none; `None` if truth or report have no victims.
///
/// Every task that was ready 2 ms before the end must be reported. Every reported task must have been ready before the
/// end, except for one that the tool marks as uncertain.
pub(super) fn wrong(stall: &TrueStall, said: &ReportedStall) -> Option<String> {
    let (truth, said) = (stall.victims.as_ref()?, said.victims.as_ref()?);
    let end = stall.start_ns.saturating_add(stall.duration_ns);
    let due = truth.iter().filter(|victim| victim.ready_ns.saturating_add(MARGIN_NS) <= end);
    let missing: Vec<_> =
        due.map(|victim| victim.task).filter(|task| said.iter().all(|victim| victim.task != *task)).collect();
    let unsure = said.iter().filter(|victim| !victim.certain).count();
    let invented = said.iter().filter(|victim| victim.certain || unsure > MAX_UNSURE).map(|victim| victim.task);
    let invented: Vec<_> = invented.filter(|task| truth.iter().all(|victim| victim.task != *task)).collect();
    let mut words = Vec::new();
    for (what, tasks) in [("did not report waiting tasks:", missing), ("reported tasks that did not wait:", invented)] {
        if !tasks.is_empty() {
            words.push(format!("{what} {tasks:?}"));
        }
    }
    Some(words.join("; "))
}
