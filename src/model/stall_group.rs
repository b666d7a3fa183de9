//! Stalls grouped by the user's function: one group for one mistake, with its lines and causes inside.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::cause::{CauseClass, title};
use super::cause_object::CauseObject;
use super::holds::Counted;
use super::stall::{Stall, StallEntry, StallId, Stalls};

/// The name of a closure or an async body. What it does counts as its function's.
const CLOSURE: &str = "::{closure}";

/// The stalls of one function of the user's, whatever line, cause and caller. Long polls that are no stalls are groups of
/// their own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StallGroup {
    /// The function of the culprit, without closures. `None` for stalls without a culprit.
    pub function: Option<Arc<str>>,
    /// What they are counted as.
    pub counted_as: Counted,
    /// The number of stalls, those that still run included.
    pub count: u64,
    /// The number of stalls that still run.
    pub running: u64,
    /// The sum of their durations.
    pub total: Duration,
    /// The part of the time of all listed stalls, from 0 to 1; of other long polls, the part of those that count alike.
    pub share: f64,
    /// The longest duration.
    pub longest: Duration,
    /// When the first one was noticed.
    pub first_noticed_at: SystemTime,
    /// When the last one was noticed.
    pub last_noticed_at: SystemTime,
    /// Its lines and causes. Those that took most time come first.
    pub parts: Vec<GroupPart>,
    /// The ids of its entries in [`Stalls::entries`](super::stall::Stalls::entries), in their order.
    pub stalls: Vec<StallId>,
}

/// The stalls of a group with the same line and cause.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupPart {
    /// `file:line` of the culprit. `None` without line tables.
    pub location: Option<String>,
    /// The cause.
    pub cause: CauseClass,
    /// Its objects.
    pub objects: Vec<CauseObject>,
    /// The number of stalls.
    pub count: u64,
    /// The sum of their durations.
    pub total: Duration,
    /// The longest duration.
    pub longest: Duration,
}

impl GroupPart {
    /// The words of its cause in reports.
    #[must_use]
    pub fn title(&self) -> String {
        title(self.cause, &self.objects)
    }
}

impl Stalls {
    /// The stalls by the user's function, whatever their line and cause. Those that took most time come first, and other
    /// long polls come after stalls.
    ///
    /// ```
    /// let watch = holdup::Watch::builder().start()?;
    /// for group in watch.stalls().groups() {
    ///     let function = group.function.as_deref().unwrap_or("unknown");
    ///     println!("{function}: {} stalls, {:?}, {:.0} %", group.count, group.total, group.share * 100.0);
    /// }
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[must_use]
    pub fn groups(&self) -> Vec<StallGroup> {
        groups_of(&self.entries)
    }
}

/// Groups entries, and puts stalls first, then those that took most time.
fn groups_of(entries: &[StallEntry]) -> Vec<StallGroup> {
    let mut groups: Vec<StallGroup> = Vec::new();
    let mut known: HashMap<(Counted, Option<&str>), usize> = HashMap::new();
    let mut totals: HashMap<Counted, Duration> = HashMap::new();
    for entry in entries {
        let key = key_of(&entry.stall);
        *totals.entry(key.0).or_default() += entry.total;
        let position = *known.entry(key).or_insert(groups.len());
        match groups.get_mut(position) {
            Some(group) => group.add(entry),
            None => groups.push(StallGroup::of(key, entry)),
        }
    }
    for group in &mut groups {
        let all = totals.get(&group.counted_as).copied().unwrap_or_default();
        group.share = if all.is_zero() { 0.0 } else { group.total.as_secs_f64() / all.as_secs_f64() };
        group.parts.sort_by_key(|part| std::cmp::Reverse(part.total));
    }
    groups.sort_by_key(|group| (group.counted_as, std::cmp::Reverse(group.total)));
    groups
}

/// Sorts entries as their groups, and inside a group those that run first, then those that took most time.
pub(crate) fn sort_by_group(entries: &mut [StallEntry]) {
    entries.sort_by_key(|entry| (entry.stall.ended, std::cmp::Reverse(entry.total), entry.stall.id));
    let groups = groups_of(entries);
    let rank_of = |(rank, group): (usize, &StallGroup)| ((group.counted_as, group.function.clone()), rank);
    let ranks: HashMap<(Counted, Option<Arc<str>>), usize> = groups.iter().enumerate().map(rank_of).collect();
    entries.sort_by_key(|entry| {
        let (counted_as, function) = key_of(&entry.stall);
        ranks.get(&(counted_as, function.map(Arc::from))).copied()
    });
}

/// What the stalls of a group have in common.
fn key_of(stall: &Stall) -> (Counted, Option<&str>) {
    (stall.counted_as(), function_of(stall))
}

/// The user's function, without the closures in it.
fn function_of(stall: &Stall) -> Option<&str> {
    let function = &*stall.culprit.as_ref()?.frame.function;
    Some(function.split_once(CLOSURE).map_or(function, |(outer, _)| outer))
}

impl StallGroup {
    fn of((counted_as, function): (Counted, Option<&str>), entry: &StallEntry) -> Self {
        let mut group = Self {
            function: function.map(Arc::from),
            counted_as,
            count: 0,
            running: 0,
            total: Duration::ZERO,
            share: 0.0,
            longest: Duration::ZERO,
            first_noticed_at: entry.first_noticed_at,
            last_noticed_at: entry.stall.noticed_at,
            parts: Vec::new(),
            stalls: Vec::new(),
        };
        group.add(entry);
        group
    }

    fn add(&mut self, entry: &StallEntry) {
        self.count += entry.count;
        self.running += u64::from(!entry.stall.ended);
        self.total += entry.total;
        self.longest = self.longest.max(entry.longest);
        self.first_noticed_at = self.first_noticed_at.min(entry.first_noticed_at);
        self.last_noticed_at = self.last_noticed_at.max(entry.stall.noticed_at);
        self.stalls.push(entry.stall.id);
        self.add_part(entry);
    }

    fn add_part(&mut self, entry: &StallEntry) {
        let location = entry.stall.culprit.as_ref().and_then(|culprit| culprit.frame.location());
        let (cause, objects) = (entry.stall.cause.class, &entry.stall.cause.objects);
        let is_equal =
            |part: &&mut GroupPart| part.location == location && part.cause == cause && part.objects == *objects;
        let known = self.parts.iter_mut().find(is_equal);
        let (count, total, longest) = (entry.count, entry.total, entry.longest);
        match known {
            Some(part) => {
                part.count += count;
                part.total += total;
                part.longest = part.longest.max(longest);
            }
            None => self.parts.push(GroupPart { location, cause, objects: objects.clone(), count, total, longest }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cause::CauseClass::{Computing, Lock, Sleeping};
    use crate::model::holds::Holds;

    fn entry(id: u64, function: &str, line: u32, class: CauseClass, ms: u64) -> StallEntry {
        let mut stall = Stall::example(function, Duration::from_millis(ms), class);
        stall.id = StallId(id);
        stall.ended = true;
        stall.noticed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(id);
        if let Some(culprit) = &mut stall.culprit {
            culprit.frame.file = Some("src/api.rs".into());
            culprit.frame.line = Some(line);
        }
        StallEntry::new(stall)
    }

    /// Nine kinds of stalls, of three mistakes.
    fn nine() -> Vec<StallEntry> {
        vec![
            entry(1, "api::nap", 7, Sleeping, 10),
            entry(2, "api::nap", 8, Sleeping, 20),
            entry(3, "api::nap::{closure}", 8, Sleeping, 30),
            entry(4, "api::hash", 20, Computing, 100),
            entry(5, "api::hash", 21, Computing, 50),
            entry(6, "api::hash::{closure}::{closure}", 22, Computing, 50),
            entry(7, "api::save", 30, Lock, 40),
            entry(8, "api::save", 30, Sleeping, 60),
            entry(9, "api::save", 30, Lock, 40),
        ]
    }

    #[test]
    fn nine_kinds_of_three_mistakes_are_three_groups_by_lost_time() {
        let groups = groups_of(&nine());
        let shown: Vec<_> = groups.iter().map(|group| (group.function.as_deref(), group.total.as_millis())).collect();
        assert_eq!(shown, [(Some("api::hash"), 200), (Some("api::save"), 140), (Some("api::nap"), 60)]);
        assert_eq!(groups.iter().map(|group| group.count).collect::<Vec<_>>(), [3, 3, 3]);
        assert!((groups[0].share - 0.5).abs() < 1e-9 && (groups[2].share - 0.15).abs() < 1e-9);
        let seen = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!((groups[1].first_noticed_at, groups[1].last_noticed_at), (seen(7), seen(9)));
        assert_eq!(groups[1].longest, Duration::from_millis(60));
    }

    #[test]
    fn lines_and_causes_are_inside_the_group() {
        let groups = groups_of(&nine());
        let parts: Vec<_> =
            groups[1].parts.iter().map(|part| (part.cause, part.count, part.total.as_millis())).collect();
        assert_eq!(parts, [(Lock, 2, 80), (Sleeping, 1, 60)]);
        assert_eq!(groups[2].parts[0].location.as_deref(), Some("src/api.rs:8"), "the line that took most");
    }

    #[test]
    fn objects_are_told_apart_inside_the_group() {
        let mut entries = vec![entry(1, "api::log", 7, Lock, 10), entry(2, "api::log", 7, Lock, 20)];
        entries[1].stall.cause.objects = vec![CauseObject::OutputLock];
        let titles: Vec<_> = groups_of(&entries)[0].parts.iter().map(GroupPart::title).collect();
        assert_eq!(titles, ["waiting for the lock of standard output or error", "waiting for a lock"]);
    }

    #[test]
    fn entries_are_in_the_order_of_their_groups_and_what_runs_comes_first() {
        let mut entries = nine();
        entries[1].stall.ended = false;
        sort_by_group(&mut entries);
        let ids: Vec<u64> = entries.iter().map(|entry| entry.stall.id.0).collect();
        assert_eq!(ids, [4, 5, 6, 8, 7, 9, 2, 3, 1]);
        let groups = groups_of(&entries);
        assert_eq!(groups[2].stalls, [StallId(2), StallId(3), StallId(1)]);
        assert_eq!((groups[2].running, groups[0].running), (1, 0));
    }

    #[test]
    fn what_holds_no_task_is_a_group_of_its_own_after_the_stalls() {
        let mut entries = vec![entry(1, "api::load", 1, Sleeping, 900), entry(2, "api::load", 1, Sleeping, 20)];
        entries[0].stall.holds = Holds::StartUp;
        let groups = groups_of(&entries);
        let shown: Vec<_> = groups.iter().map(|group| (group.counted_as, group.count, group.share)).collect();
        assert_eq!(shown, [(Counted::Stall, 1, 1.0), (Counted::StartUp, 1, 1.0)]);
        sort_by_group(&mut entries);
        assert_eq!(entries[0].stall.id, StallId(2));
    }

    #[test]
    fn stalls_without_a_culprit_are_one_group() {
        let mut entries = vec![entry(1, "a", 1, Sleeping, 10), entry(2, "b", 1, Lock, 20)];
        entries.iter_mut().for_each(|entry| entry.stall.culprit = None);
        let groups = groups_of(&entries);
        assert_eq!((groups.len(), groups[0].count, groups[0].function.as_deref()), (1, 2, None));
        assert!(groups_of(&[]).is_empty());
    }
}
