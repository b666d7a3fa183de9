//! The peak in a file as a profile, without names.

use super::saved::SavedPeak;
use crate::heap::ledger::rounded;
use crate::heap::sampling::Sampling;
use crate::heap::snapshot::{NO_STACK, View, what_numbers_are, what_stacks_lack};
use crate::model::stack::{Address, CaptureMethod, RawStack};
use crate::profilers::Collection;
use crate::sys::heap::HeapTotals;

impl SavedPeak {
    /// The profile of the peak, as the process itself would have shown it.
    pub(crate) fn collection(&self) -> Collection {
        let mut collection = Collection::new("peak", None, View::Peak.values());
        for site in self.sites() {
            let stack = RawStack {
                addresses: site.addresses.into_iter().map(Address).collect(),
                method: CaptureMethod::Signal,
                complete: site.complete,
            };
            collection.add_sum(&stack, NO_STACK, site.labels, site.sums.values());
        }
        collection.lose(self.lost);
        let [allocated_bytes, allocations, freed_bytes, frees] = self.counted;
        let totals = HeapTotals { allocated_bytes, allocations, freed_bytes, frees };
        let mut notes = what_numbers_are(Sampling::of_mean(self.mean), totals);
        notes.extend(what_stacks_lack(self.stackless, self.is_full));
        let (sites, sums) = self.left_out;
        if sites > 0 {
            notes.push(format!(
                "{sites} more stacks with {} bytes in {} samples found no room in the file",
                rounded(sums.bytes),
                sums.samples
            ));
        }
        notes.into_iter().for_each(|note| collection.note(note));
        collection
    }
}
