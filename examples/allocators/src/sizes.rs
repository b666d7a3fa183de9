//! Random sizes.

/// The xorshift generator of Marsaglia.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 to below 1.
    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Sizes between two bounds. Their logarithms are equally likely.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// What it is.
    pub name: &'static str,
    from: f64,
    to: f64,
}

/// Five mixes of sizes.
pub const MIXES: [Mix; 5] = [
    Mix { name: "16 B – 256 B", from: 16.0, to: 256.0 },
    Mix { name: "16 B – 8 KiB", from: 16.0, to: 8192.0 },
    Mix { name: "4 KiB – 64 KiB", from: 4096.0, to: 65_536.0 },
    Mix { name: "16 B – 8 MiB", from: 16.0, to: 8_388_608.0 },
    Mix { name: "1 MiB – 8 MiB", from: 1_048_576.0, to: 8_388_608.0 },
];

impl Mix {
    /// A size.
    pub fn size(self, random: &mut Random) -> usize {
        (self.from * (self.to / self.from).powf(random.uniform())) as usize
    }

    /// Sizes with this sum at least.
    pub fn sizes(self, random: &mut Random, sum: usize) -> Vec<u32> {
        let mut sizes = Vec::new();
        let mut left = sum;
        while left > 0 {
            let size = self.size(random);
            sizes.push(u32::try_from(size).unwrap_or(u32::MAX));
            left = left.saturating_sub(size);
        }
        sizes
    }
}
