//! The JSON of the reference service with serde_json and with sonic-rs, which uses the CPU's vector instructions.
//!
//! - `write one`, `read one`: an article on its way to and from Kafka, about 200 bytes.
//! - `write answer`: the 100 articles of `/latest-news`.
//! - `read archive`: 10 000 articles in one document.
//!
//! Both use serde with the same types, and the results are checked to be equal. sonic-rs selects instructions at compile
//! time: `RUSTFLAGS="-C target-cpu=native"` is its best case, no flag the usual one.
//! `benches/README.md` says what follows.

mod support;

#[path = "../../examples/news_pipeline/src/article.rs"]
#[allow(dead_code, reason = "only the type is used")]
mod article;

#[path = "../../examples/news_pipeline/src/numbered.rs"]
mod numbered;

use article::Article;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::{Serialize, de::DeserializeOwned};
use support::profiler::Flamegraph;

fn write<T: Serialize>(criterion: &mut Criterion, name: &str, value: &T) {
    let (one, other) = (serde_json::to_vec(value).expect("JSON"), sonic_rs::to_vec(value).expect("JSON"));
    assert_eq!(one, other, "both write the same");
    let mut group = criterion.benchmark_group(format!("json/{name}"));
    group.throughput(Throughput::Bytes(one.len() as u64));
    group.bench_function("serde_json", |bencher| bencher.iter(|| serde_json::to_vec(value).expect("JSON")));
    group.bench_function("sonic-rs", |bencher| bencher.iter(|| sonic_rs::to_vec(value).expect("JSON")));
    group.finish();
}

fn read<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    criterion: &mut Criterion,
    name: &str,
    value: &T,
) {
    let document = serde_json::to_vec(value).expect("JSON");
    assert_eq!(&sonic_rs::from_slice::<T>(&document).expect("it is JSON"), value, "both read the same");
    let mut group = criterion.benchmark_group(format!("json/{name}"));
    group.throughput(Throughput::Bytes(document.len() as u64));
    group.bench_function("serde_json", |bencher| {
        bencher.iter(|| serde_json::from_slice::<T>(&document).expect("it is JSON"));
    });
    group.bench_function("sonic-rs", |bencher| {
        bencher.iter(|| sonic_rs::from_slice::<T>(&document).expect("it is JSON"));
    });
    group.finish();
}

fn json(criterion: &mut Criterion) {
    let articles = |count| (0..count).map(numbered::article).collect::<Vec<Article>>();
    write(criterion, "write one", &numbered::article(7));
    read(criterion, "read one", &numbered::article(7));
    write(criterion, "write answer", &articles(100));
    read(criterion, "read archive", &articles(10_000));
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots().with_profiler(Flamegraph::new());
    targets = json
}
criterion_main!(benches);
