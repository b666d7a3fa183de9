//! Whether tasks wait in the same way: everything except times, the tasks waited for, and file descriptors.

use std::hash::{BuildHasher, Hash, Hasher};

use crate::model::address_hash::{AddressHasher, BuildAddressHasher};
use crate::model::census::{Await, TaskNow, WaitsFor};

/// The same for tasks that wait in the same way. A text for each of a million tasks would cost more than to read them.
pub(super) fn hash(task: &TaskNow) -> u64 {
    let mut hasher = BuildAddressHasher::default().build_hasher();
    (task.state, task.cancelled, &task.future, &task.unknown).hash(&mut hasher);
    add(&mut hasher, task.path.as_ref());
    hasher.finish()
}

fn add(hasher: &mut AddressHasher, node: Option<&Await>) {
    let Some(node) = node else { return };
    (&node.future, &node.place, &node.note, node.children.len()).hash(hasher);
    match &node.waits_for {
        Some(WaitsFor::Permits { address, .. }) => address.hash(hasher),
        Some(WaitsFor::Message { what, .. }) => what.hash(hasher),
        _ => {}
    }
    node.children.iter().for_each(|child| add(hasher, Some(child)));
}

/// Whether two tasks wait in the same way.
pub(super) fn is_same(one: &TaskNow, other: &TaskNow) -> bool {
    let is_path_same = match (&one.path, &other.path) {
        (Some(one), Some(other)) => is_same_path(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    (one.state, one.cancelled, &one.future, &one.unknown)
        == (other.state, other.cancelled, &other.future, &other.unknown)
        && is_path_same
}

fn is_same_path(one: &Await, other: &Await) -> bool {
    let is_reason_same = match (&one.waits_for, &other.waits_for) {
        (Some(WaitsFor::Permits { address, .. }), Some(WaitsFor::Permits { address: other, .. })) => address == other,
        (Some(WaitsFor::Other(what)), Some(WaitsFor::Other(other)))
        | (Some(WaitsFor::Message { what, .. }), Some(WaitsFor::Message { what: other, .. })) => what == other,
        (Some(one), Some(other)) => std::mem::discriminant(one) == std::mem::discriminant(other),
        (one, other) => one.is_none() && other.is_none(),
    };
    (&one.future, &one.place, &one.note) == (&other.future, &other.place, &other.note)
        && is_reason_same
        && one.children.len() == other.children.len()
        && one.children.iter().zip(&other.children).all(|(one, other)| is_same_path(one, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::census::{SourcePlace, TaskState};
    use crate::model::task::TaskId;

    fn task(id: u64, waits_for: WaitsFor, line: u32) -> TaskNow {
        let leaf = Await { future: "leaf".into(), waits_for: Some(waits_for), ..Await::default() };
        let place = Some(SourcePlace { file: "src/main.rs".into(), line });
        let path = Await { future: "app::waits".into(), place, children: vec![leaf], ..Await::default() };
        TaskNow {
            id: Some(TaskId(id)),
            state: TaskState::Idle,
            path: Some(path),
            ..TaskNow::unread(0, "app::waits".to_owned())
        }
    }

    #[test]
    fn times_tasks_and_descriptors_do_not_matter() {
        let timer = |in_ms| WaitsFor::Timer { in_ms };
        let end = |id| WaitsFor::Task(TaskId(id));
        let io = |fd| WaitsFor::Io { fd: Some(fd), what: None };
        let permit = |address, wanted| WaitsFor::Permits {
            address,
            wanted,
            missing: Some(1),
            free: Some(0),
            holders: Vec::new(),
        };
        for (one, other) in [(timer(1), timer(2)), (end(1), end(2)), (io(1), io(2)), (permit(8, 1), permit(8, 2))] {
            let (one, other) = (task(1, one, 7), task(2, other, 7));
            assert!(is_same(&one, &other) && hash(&one) == hash(&other), "{one:?}");
        }
        let other = |text: &str| WaitsFor::Other(text.to_owned());
        for (one, other) in [
            (task(1, timer(1), 7), task(2, timer(1), 8)),
            (task(1, timer(1), 7), task(2, end(1), 7)),
            (task(1, permit(8, 1), 7), task(2, permit(16, 1), 7)),
            (task(1, other("a"), 7), task(2, other("b"), 7)),
            (task(1, timer(1), 7), TaskNow { path: None, ..task(2, timer(1), 7) }),
            (task(1, timer(1), 7), TaskNow { cancelled: true, ..task(2, timer(1), 7) }),
        ] {
            assert!(!is_same(&one, &other), "{one:?}");
        }
    }
}
