//! A program whose jemalloc samples already. holdup's endpoint passes that profile on, and samples nothing.
//!
//! ```console
//! $ cargo run -p allocators --bin jemalloc_service
//! $ go tool pprof -top http://127.0.0.1:6060/debug/pprof/heap
//! ```

#![allow(unsafe_code, reason = "jemalloc reads its options from a symbol of the program")]

use std::hint::black_box;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// jemalloc's options, which it reads before `main`: one sample per 2^19 bytes, and sums of what was freed too.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static OPTIONS: &[u8] = b"prof:true,prof_accum:true,lg_prof_sample:19\0";

#[inline(never)]
fn fill_cache(articles: usize) -> Vec<Vec<u8>> {
    (0..articles).map(|_| black_box(vec![1; 10_000])).collect()
}

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:6060".to_owned());
    let watch = holdup::Watch::builder().listen(address).jemalloc_profile(allocators::dump).start()?;
    let cache = fill_cache(10_000);
    match watch.endpoint() {
        Some(address) => println!("{address}/debug/pprof/heap"),
        None => anyhow::bail!("the endpoint does not listen"),
    }
    // Until its standard input ends.
    let ended = std::io::read_to_string(std::io::stdin());
    drop(cache);
    drop(ended);
    Ok(())
}
