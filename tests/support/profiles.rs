//! Profiles like those of a real service, with known contents.

use std::time::{Duration, SystemTime};

use holdup::Profile;
use holdup::profile::{Labels, Mapping, ProfileBuilder, ProfileFrame, Sample, Slice, SliceKind, Unit, ValueType};
use holdup::stall::{Frame, Origin};
use holdup::tasks::TaskId;

/// Nanoseconds of one sample at 99 Hz.
pub(crate) const PERIOD: i64 = 10_101_010;

/// A CPU profile of a service with two workers, with these numbers of samples, stacks and frames per stack.
pub(crate) fn cpu(samples: u32, stacks: u32, depth: u32) -> Profile {
    let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("cpu", Unit::Nanoseconds)];
    let mut builder = ProfileBuilder::new("cpu", values);
    describe(&mut builder);
    let frames: Vec<Vec<u32>> = (0..stacks).map(|stack| frames(&mut builder, stack, depth)).collect();
    let stacks: Vec<u32> = frames.iter().map(|frames| builder.stack(frames)).collect();
    for number in 0..samples {
        let worker = number % 2;
        let mut labels = Labels::default();
        labels.thread = Some("tokio-rt-worker".into());
        labels.tid = Some(4243 + i32::try_from(worker).expect("it is 0 or 1"));
        labels.runtime = Some("api".into());
        labels.worker = Some(worker);
        labels.task = Some(TaskId(u64::from(number % 40 + 1)));
        labels.task_name = (number % 40 == 0).then(|| "GET /latest-news".into());
        labels.spawned_at = Some("src/api.rs:88".into());
        labels.state = Some("on-cpu".into());
        let labels = builder.labels(labels);
        let at = Duration::from_nanos(u64::from(number / 2) * 10_101_010);
        let stack = stacks[number as usize % stacks.len()];
        builder.add(Sample::new(Some(at), stack, labels, [1, PERIOD, 0, 0]));
        if number % 10 == 0 {
            let kind = if number % 50 == 0 { SliceKind::Stall } else { SliceKind::Poll };
            builder.add_slice(Slice::new(
                labels,
                at,
                at + Duration::from_millis(12),
                kind,
                "api::handlers::news".into(),
            ));
        }
    }
    let quality = builder.quality();
    (quality.lost, quality.truncated, quality.nameless) = (3, 1, 2);
    quality.frames = u64::from(samples) * u64::from(depth);
    quality.notes = vec!["kernel frames are not shown".to_owned()];
    builder.build()
}

fn describe(builder: &mut ProfileBuilder) {
    builder
        .program("news_pipeline")
        .pid(4242)
        .started_at(SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789))
        .duration(Duration::from_secs(15))
        .rate(Some(99));
    let mut program = Mapping::new(0x5500_0000_0000, 0x5500_0100_0000, 0x1000, "/opt/news_pipeline");
    program.build_id = Some("0123456789abcdef0123456789abcdef01234567".into());
    builder.mappings(vec![program, Mapping::new(0x7f00_0000_0000, 0x7f00_0020_0000, 0, "/lib/libc.so.6")]);
}

/// Innermost first: a unique leaf, an inlined frame, shared frames of every origin, and the start of the thread.
fn frames(builder: &mut ProfileBuilder, stack: u32, depth: u32) -> Vec<u32> {
    let mut frames = Vec::new();
    for level in (0..depth).rev() {
        let name = match (level, depth - level) {
            (0, _) => "__clone3".to_owned(),
            (1, _) => "std::sys::thread::unix::Thread::new::thread_start".to_owned(),
            (2, _) => "tokio::runtime::scheduler::multi_thread::worker::run".to_owned(),
            (3, _) => "<axum::serve::Serve<L, M, S> as core::future::into_future::IntoFuture>::into_future".to_owned(),
            (_, 1) => format!("news_pipeline::ranking::score::<[u8; {}]>", stack % 100),
            (_, 2) => "news_pipeline::ranking::rank::{async fn body}".to_owned(),
            _ => format!("news_pipeline::layer_{level}::call_{}", stack % (level + 1)),
        };
        let origin = match level {
            0 => Origin::System,
            1 => Origin::Std,
            2 => Origin::Runtime,
            3 => Origin::Dependency,
            _ => Origin::User,
        };
        let mut frame = Frame::new(name, origin);
        if level > 0 {
            (frame.file, frame.line) = (Some(format!("src/layer_{level}.rs").into()), Some(10 + level));
        }
        let inlined = depth - level == 1 && depth > 4;
        // An inlined frame has the address of its caller.
        let place = if inlined { level - 1 } else { level };
        let mut frame = ProfileFrame::of(frame);
        frame.inlined = inlined;
        (frame.mapping, frame.address) = if level == 0 {
            (Some(1), 0x7f00_0000_1000)
        } else {
            (Some(0), 0x5500_0000_0000 + u64::from(place) * 0x1_0000 + u64::from(stack % (level + 1)) * 16)
        };
        frames.push(builder.frame(frame));
    }
    frames
}
