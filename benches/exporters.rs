//! The time to write and read each profile format. The profile is half a minute of a busy service: 3000 samples, 400 different
//! stacks, 30 frames deep. Writing happens off the workers; a scrape of the endpoint must be answered fast.

#[path = "../tests/support/profiles.rs"]
mod profiles;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use holdup::Profile;
use holdup::profile::Format;

fn write(criterion: &mut Criterion) {
    let profile = profiles::cpu(3000, 400, 30);
    let mut group = criterion.benchmark_group("write");
    for format in Format::ALL {
        let mut file = Vec::new();
        profile.write(format, &mut file).expect("it is compiled in");
        group.throughput(Throughput::Bytes(file.len() as u64));
        group.bench_function(format.name(), |bencher| {
            bencher.iter(|| {
                file.clear();
                profile.write(format, &mut file).expect("it worked before");
            });
        });
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let profile = profiles::cpu(3000, 400, 30);
    let mut group = criterion.benchmark_group("read");
    for format in [Format::Folded, Format::Pprof, Format::Json] {
        let mut file = Vec::new();
        profile.write(format, &mut file).expect("it is compiled in");
        group.throughput(Throughput::Bytes(file.len() as u64));
        group.bench_function(format.name(), |bencher| bencher.iter(|| Profile::read(&file).expect("it is whole")));
    }
    group.finish();
}

criterion_group!(benches, write, read);
criterion_main!(benches);
