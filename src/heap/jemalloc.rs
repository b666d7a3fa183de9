//! The profile of the heap that jemalloc takes itself, from the text that its `prof.dump` writes.
//!
//! ```text
//! heap_v2/524288                       the mean distance between two samples
//!   t*: 27: 8126464 [0: 0]             all threads: live objects and bytes [allocated objects and bytes]
//! @ 0x55d0b06e6f3c 0x55d0b06a1b7c      a stack, innermost first
//!   t*: 3: 1048576 [0: 0]
//!   t1: 3: 1048576 [0: 0]              one thread
//! MAPPED_LIBRARIES:                    the mappings of the process
//! ```

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::ledger::rounded;
use super::snapshot::{NO_STACK, View};
use crate::model::profile::{Labels, MAX_VALUES};
use crate::model::stack::{Address, CaptureMethod, RawStack};
use crate::profilers::Collection;

/// Writes the profile of the program's jemalloc as text.
#[derive(Clone)]
pub(crate) struct JemallocProfile(Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>);

impl fmt::Debug for JemallocProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JemallocProfile")
    }
}

impl JemallocProfile {
    pub(crate) fn new(dump: impl Fn() -> io::Result<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(dump))
    }

    /// The present.
    ///
    /// # Errors
    /// If the program cannot write it, or if it is no such text.
    pub(crate) fn now(&self) -> io::Result<Dump> {
        let text = (self.0)()?;
        Dump::parse(&String::from_utf8_lossy(&text)).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "jemalloc's profile does not begin with heap_v2; prof.dump writes it",
            )
        })
    }
}

/// Objects and bytes of a stack's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sampled {
    objects: u64,
    bytes: u64,
}

impl Sampled {
    /// What they stand for: an object of this size was sampled with the probability 1 − exp(−size/mean).
    fn estimate(self, mean: f64) -> (f64, f64) {
        let (objects, bytes) = (self.objects as f64, self.bytes as f64);
        let chance = -(-bytes / objects / mean).exp_m1();
        if objects > 0.0 && chance > 0.0 { (objects / chance, bytes / chance) } else { (objects, bytes) }
    }
}

/// The samples of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    live: Sampled,
    allocated: Sampled,
}

/// A profile of jemalloc.
#[derive(Debug)]
pub(crate) struct Dump {
    /// Bytes between two samples on average.
    mean: u64,
    stacks: HashMap<Vec<Address>, Counts>,
}

impl Dump {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mean = lines.next()?.strip_prefix("heap_v2/")?.trim().parse().ok()?;
        let mut stacks: HashMap<Vec<Address>, Counts> = HashMap::new();
        let mut stack = None;
        for line in lines.take_while(|line| !line.starts_with("MAPPED_LIBRARIES")) {
            if let Some(addresses) = line.strip_prefix('@') {
                stack = Some(addresses.split_whitespace().map_while(address).collect());
            } else if let Some(counts) = line.trim_start().strip_prefix("t*:").and_then(counts)
                && let Some(stack) = stack.take()
            {
                stacks.insert(stack, counts);
            }
        }
        Some(Self { mean, stacks })
    }

    /// Whether it has what was allocated and freed since.
    pub(crate) fn has_allocated(&self) -> bool {
        self.stacks.values().any(|counts| counts.allocated.objects > 0)
    }

    /// The profile of a view, without names. With an earlier one, what was gained since.
    pub(crate) fn profile(&self, view: View, before: Option<&Self>) -> Collection {
        let mut collection = Collection::new(view.kind(), None, view.values());
        collection.draw(view.drawn());
        // What is gone from the later one was freed.
        let gone = before.into_iter().flat_map(|before| before.stacks.keys());
        let gone = gone.filter(|stack| !self.stacks.contains_key(*stack));
        for addresses in self.stacks.keys().chain(gone) {
            let now = self.values(view, addresses);
            let earlier = before.map_or([0; MAX_VALUES], |before| before.values(view, addresses));
            let gained = std::array::from_fn(|at| now[at] - earlier[at]);
            if gained != [0; MAX_VALUES] {
                // jemalloc does not say whether it reached the thread's first function.
                let (addresses, complete) = (addresses.clone(), true);
                let stack = RawStack { addresses, method: CaptureMethod::Passive, complete };
                collection.add_sum(&stack, NO_STACK, Labels::default(), gained);
            }
        }
        collection.end(Duration::ZERO);
        self.notes(view).into_iter().for_each(|note| collection.note(note));
        collection
    }

    fn values(&self, view: View, addresses: &[Address]) -> [i64; MAX_VALUES] {
        let counts = self.stacks.get(addresses).copied().unwrap_or_default();
        let estimate = |sampled: Sampled| {
            let (objects, bytes) = sampled.estimate(self.mean as f64);
            (rounded(objects), rounded(bytes))
        };
        let (allocated, live) = (estimate(counts.allocated), estimate(counts.live));
        let samples = |sampled: Sampled| i64::try_from(sampled.objects).unwrap_or(i64::MAX);
        match view {
            View::Go { .. } => [allocated.0, allocated.1, live.0, live.1],
            View::Allocated => [samples(counts.allocated), allocated.0, allocated.1, 0],
            _ => [samples(counts.live), live.0, live.1, 0],
        }
    }

    fn notes(&self, view: View) -> Vec<String> {
        let mut notes = vec![format!(
            "jemalloc took this profile, and not holdup: one sample per {} bytes of allocations on average; n samples are within ±196/√n % of the truth, 95 times of 100",
            self.mean
        )];
        if matches!(view, View::Go { .. }) && !self.has_allocated() {
            notes.push("jemalloc counts only what lives; with prof_accum:true it counts all allocations".to_owned());
        }
        notes
    }
}

/// All of jemalloc's addresses are return addresses.
fn address(text: &str) -> Option<Address> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()?.checked_sub(1).map(Address)
}

/// Reads ` 3: 1048576 [5: 2097152]`.
fn counts(text: &str) -> Option<Counts> {
    let (live, allocated) = text.split_once('[')?;
    let sampled = |text: &str| {
        let (objects, bytes) = text.trim().split_once(':')?;
        Some(Sampled { objects: objects.trim().parse().ok()?, bytes: bytes.trim().parse().ok()? })
    };
    Some(Counts { live: sampled(live)?, allocated: sampled(allocated.trim_end().strip_suffix(']')?)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stack::{Frame, Origin};

    const TEXT: &str = "heap_v2/524288\n  t*: 5: 2097152 [9: 4194304]\n  t0: 5: 2097152 [9: 4194304]\n\
        @ 0x10 0x20\n  t*: 4: 256 [8: 512]\n  t0: 4: 256 [8: 512]\n@ 0x30\n  t*: 1: 67108864 [1: 67108864]\n\
        MAPPED_LIBRARIES:\n55d0-55d1 r--p 00000000 08:01 1 /usr/bin/shop\n@ 0x99\n  t*: 1: 1 [1: 1]\n";

    #[test]
    fn a_text_is_read_and_scaled() {
        let dump = Dump::parse(TEXT).expect("it is one");
        assert_eq!((dump.mean, dump.stacks.len()), (524_288, 2));
        // Four samples of 64 bytes stand for four distances; a large object for itself.
        let small = dump.values(View::Live, &[Address(0xf), Address(0x1f)]);
        assert_eq!((small[0], (small[2] as f64 / (4.0 * 524_288.0) - 1.0).abs() < 0.001), (4, true), "{small:?}");
        let large = [1, 67_108_864];
        assert_eq!(
            dump.values(View::Go { draws_allocated: false }, &[Address(0x2f)]),
            [large[0], large[1], large[0], large[1]]
        );
        assert!(dump.has_allocated());
    }

    #[test]
    fn what_a_later_text_gains_may_be_negative() {
        let later = TEXT.replace("t*: 1: 67108864 [", "t*: 2: 134217728 [").replace("@ 0x10 0x20", "@ 0x10 0x21");
        let (before, after) = (Dump::parse(TEXT).expect("it is one"), Dump::parse(&later).expect("it is one"));
        let name = |address: Address| Arc::from([Frame::new(format!("{address:?}"), Origin::User)]);
        let gained = after.profile(View::Live, Some(&before)).resolve("shop", 1, Vec::new(), name);
        let mut samples: Vec<i64> = gained.samples.iter().map(|sample| sample.values[0]).collect();
        samples.sort_unstable();
        assert_eq!(samples, [-4, 1, 4]);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "heap profile: 1: 2 [3: 4] @ heapprofile", "heap_v2/", "heap_v2/x\n", "\u{1f}\u{8b}"] {
            assert!(Dump::parse(text).is_none(), "{text:?}");
        }
        let odd = "heap_v2/1\n@ 0x1 zz\n  t*: 1: 2\n@\n  t*: a: 2 [0: 0]\n@ 0x2\n  t*: 1: 2 [0: 0]\n  t*: 9: 9 [9: 9]";
        let dump = Dump::parse(odd).expect("its first line is right");
        assert_eq!(dump.values(View::Live, &[Address(1)])[0], 1);
    }
}
