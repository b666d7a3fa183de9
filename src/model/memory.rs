//! The memory of a process, by what it is used for.

/// What mappings of an address space are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MemoryKind {
    /// The heap that the kernel knows, `[heap]`.
    Heap,
    /// Private memory without a file: large blocks, arenas of threads, and all memory of most other allocators.
    Anonymous,
    /// Stacks of threads.
    Stacks,
    /// Programs, libraries and other private mappings of files.
    Files,
    /// Memory and files that are shared with other processes.
    Shared,
    /// Sampled objects in holdup's region.
    Holdup,
    /// Pages of the kernel, such as `[vdso]`.
    Kernel,
}

impl MemoryKind {
    /// Every kind.
    pub(crate) const ALL: [Self; 7] =
        [Self::Heap, Self::Anonymous, Self::Stacks, Self::Files, Self::Shared, Self::Holdup, Self::Kernel];

    /// The word in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Anonymous => "anonymous",
            Self::Stacks => "stacks",
            Self::Files => "files",
            Self::Shared => "shared",
            Self::Holdup => "holdup",
            Self::Kernel => "kernel",
        }
    }

    /// The words in tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Heap => "heap ([heap])",
            Self::Anonymous => "anonymous",
            Self::Stacks => "thread stacks",
            Self::Files => "files",
            Self::Shared => "shared",
            Self::Holdup => "holdup's region",
            Self::Kernel => "kernel pages",
        }
    }
}

/// Sums over mappings. All but their number are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryUse {
    pub(crate) mappings: u64,
    /// Addresses.
    pub(crate) size: u64,
    /// Pages in memory.
    pub(crate) resident: u64,
    /// The same, with each shared page divided among those who share it.
    pub(crate) proportional: u64,
    /// Written pages in memory that nobody shares. They cannot be dropped.
    pub(crate) dirty: u64,
    /// Pages on a swap device.
    pub(crate) swapped: u64,
}

impl MemoryUse {
    /// Adds the sums of others.
    pub(crate) fn add(&mut self, other: Self) {
        self.mappings += other.mappings;
        self.size += other.size;
        self.resident += other.resident;
        self.proportional += other.proportional;
        self.dirty += other.dirty;
        self.swapped += other.swapped;
    }
}

/// The memory of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessMemory {
    /// In the order of [`MemoryKind::ALL`].
    kinds: [MemoryUse; MemoryKind::ALL.len()],
}

impl ProcessMemory {
    /// Adds to a kind.
    pub(crate) fn add(&mut self, kind: MemoryKind, of: MemoryUse) {
        if let Some(known) = self.kinds.get_mut(kind as usize) {
            known.add(of);
        }
    }

    /// The sums of a kind.
    pub(crate) fn of(&self, kind: MemoryKind) -> MemoryUse {
        self.kinds.get(kind as usize).copied().unwrap_or_default()
    }

    /// The sums of all kinds.
    pub(crate) fn total(&self) -> MemoryUse {
        let mut total = MemoryUse::default();
        self.kinds.iter().for_each(|of| total.add(*of));
        total
    }
}

/// The memory of a process over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryHistory {
    pub(crate) pid: u32,
    pub(crate) program: String,
    pub(crate) first: ProcessMemory,
    pub(crate) last: ProcessMemory,
    /// The time between the two.
    pub(crate) elapsed: std::time::Duration,
    /// The process ended, or runs another program.
    pub(crate) gone: bool,
}
