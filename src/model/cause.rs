//! Causes: why a worker was stuck, with the evidence and the advice.

pub use super::cause_class::{CauseClass, ParseCauseError};
use super::cause_object::CauseObject;
use super::evidence::Evidence;

/// Why a worker was stuck, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cause {
    /// What it was doing.
    pub class: CauseClass,
    /// What exactly it waited for, or where it was. Empty if the class says all that is known; [`CauseObject::Drop`] may
    /// follow another object.
    pub objects: Vec<CauseObject>,
    /// The numbers that support it.
    pub evidence: Evidence,
}

impl Cause {
    /// A cause with its evidence.
    #[must_use]
    pub fn new(class: CauseClass, evidence: Evidence) -> Self {
        Self { class, objects: Vec::new(), evidence }
    }

    /// The words in reports, such as `writing to a full pipe on standard output` or `sleeping, in a drop`.
    #[must_use]
    pub fn title(&self) -> String {
        title(self.class, &self.objects)
    }

    /// What to do about it: the advice for its objects, or else for its class.
    ///
    /// ```
    /// use holdup::stall::{Cause, CauseClass, CauseObject, Evidence};
    ///
    /// let mut cause = Cause::new(CauseClass::Lock, Evidence::default());
    /// assert_eq!((cause.title().as_str(), cause.advice().as_str()), ("waiting for a lock", CauseClass::Lock.advice()));
    /// cause.objects = vec![CauseObject::PythonLock];
    /// assert_eq!(cause.title(), "waiting for Python's interpreter lock");
    /// assert!(cause.advice().contains("Python::detach"));
    /// ```
    #[must_use]
    pub fn advice(&self) -> String {
        let first = match self.objects.first() {
            None | Some(CauseObject::Drop) => self.class.advice(),
            Some(object) => object.advice(),
        };
        let drop = self.objects.contains(&CauseObject::Drop).then(|| CauseObject::Drop.advice());
        [Some(first), drop].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// The title of a class with its objects.
pub(crate) fn title(class: CauseClass, objects: &[CauseObject]) -> String {
    let is_named = objects.first().is_some_and(|object| !object.is_place());
    let class = (!is_named).then(|| class.title());
    class.into_iter().chain(objects.iter().map(|object| object.title())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_decides_title_and_advice() {
        use CauseObject::{Drop, PipeRead, Sqlite};
        let cause = |class, objects: &[CauseObject]| Cause {
            objects: objects.to_vec(),
            ..Cause::new(class, Evidence::default())
        };
        let texts = |cause: &Cause| (cause.title(), cause.advice());
        let drop = Drop.advice();
        for (class, objects, title, advice) in [
            (CauseClass::File, &[][..], "waiting for a file", CauseClass::File.advice().to_owned()),
            (CauseClass::File, &[PipeRead], "reading from an empty pipe", PipeRead.advice().to_owned()),
            (
                CauseClass::File,
                &[PipeRead, Drop],
                "reading from an empty pipe, in a drop",
                format!("{} {drop}", PipeRead.advice()),
            ),
            (CauseClass::Computing, &[Sqlite], "computing, in a call of SQLite", Sqlite.advice().to_owned()),
            (CauseClass::Sleeping, &[Drop], "sleeping, in a drop", format!("{} {drop}", CauseClass::Sleeping.advice())),
        ] {
            assert_eq!(texts(&cause(class, objects)), (title.to_owned(), advice));
        }
    }
}
