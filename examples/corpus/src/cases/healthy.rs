//! Runtimes that are busy but healthy. A stall that is reported here is invented.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Case, Scene, prepared};
use crate::place::{Flavor, spawn};

/// Clearly a stall, if it held a worker.
const LONG: Duration = Duration::from_millis(60);

const HONEST_POLLS: u32 = 60;

/// Duration of an honest poll.
pub(super) const MOMENT: Duration = Duration::from_millis(1);

pub(super) const CASES: &[Case] = &[
    Case::healthy("spawn-blocking", "sleeps and computes in spawn_blocking", |_| {
        Box::pin(async {
            tokio::task::spawn_blocking(|| std::thread::sleep(LONG)).await?;
            Ok(tokio::task::spawn_blocking(|| compute(LONG)).await?)
        })
    }),
    Case {
        multi_thread: true,
        ..Case::healthy("block-in-place", "sleeps and computes in block_in_place", |_| {
            Box::pin(async {
                for _ in 0..3 {
                    tokio::task::block_in_place(|| std::thread::sleep(LONG));
                    tokio::task::yield_now().await;
                    tokio::task::block_in_place(|| compute(LONG));
                    tokio::task::yield_now().await;
                }
                Ok(())
            })
        })
    },
    Case::healthy("honest-polls", "60 polls of 1 ms each, one after another", |_| {
        Box::pin(async {
            honest_polls(HONEST_POLLS, MOMENT).await;
            Ok(())
        })
    }),
    Case::healthy("honest-wakes", "60 polls of 1 ms each of a task that wakes itself", |_| {
        Box::pin(HonestPolls { left: HONEST_POLLS })
    }),
    Case {
        multi_thread: true,
        ..Case::healthy("block-in-place-in-join", "sleeps and computes in block_in_place, in branches of join!", |_| {
            Box::pin(async {
                tokio::join!(async { tokio::task::block_in_place(|| std::thread::sleep(LONG)) }, async {
                    tokio::task::block_in_place(|| compute(LONG));
                },);
                Ok(())
            })
        })
    },
    Case::healthy("busy-service", "a server with 4000 requests of 8 clients", |_| Box::pin(serve())),
    Case::healthy("self-waking", "8 tasks that wake themselves 20000 times", |_| {
        Box::pin(async {
            let mut tasks = JoinSet::new();
            for _ in 0..8 {
                let task = spawn(SelfWaking { left: 20_000 });
                tasks.spawn(async { task.await.is_ok() });
            }
            anyhow::ensure!(tasks.join_all().await.into_iter().all(|ended| ended), "a task has panicked");
            Ok(())
        })
    }),
    Case::healthy("timers", "5000 timers", |_| Box::pin(timers())),
    Case::healthy("start-and-shutdown", "20 runtimes start and end", |scene| {
        Box::pin(prepared(move || start_and_shut_down(&scene)))
    }),
];

fn compute(length: Duration) {
    let (mut sum, since) = (0_u64, Instant::now());
    while since.elapsed() < length {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
}

/// Runs polls of this duration.
pub(super) async fn honest_polls(count: u32, length: Duration) {
    for _ in 0..count {
        compute(length);
        tokio::task::yield_now().await;
    }
}

/// Polls of [`MOMENT`] each, after which the task wakes itself. A `LocalSet` polls it again at once, within one poll of its own
/// future. After Tokio's `yield_now`, a current-thread runtime would end that poll first.
pub(super) struct HonestPolls {
    pub(super) left: u32,
}

impl Future for HonestPolls {
    type Output = anyhow::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(Ok(()));
        }
        self.left -= 1;
        compute(MOMENT);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn(answer(stream));
        }
    });
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            let mut byte = [1];
            for _ in 0..500 {
                stream.write_all(&byte).await?;
                stream.read_exact(&mut byte).await?;
            }
            anyhow::Ok(())
        }));
    }
    for client in clients {
        client.await??;
    }
    server.abort();
    Ok(())
}

/// The work of a small handler per request.
async fn answer(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut byte = [0];
    while stream.read_exact(&mut byte).await.is_ok() {
        compute(Duration::from_micros(100));
        stream.write_all(&byte).await?;
    }
    Ok(())
}

struct SelfWaking {
    left: u32,
}

impl Future for SelfWaking {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.left == 0 {
            return Poll::Ready(());
        }
        self.left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

async fn timers() -> anyhow::Result<()> {
    let mut tasks = Vec::new();
    for number in 0..5_000_u64 {
        tasks.push(spawn(tokio::time::sleep(Duration::from_millis(100 + number % 400))));
        if number % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for task in tasks {
        task.await?;
    }
    Ok(())
}

fn start_and_shut_down(scene: &Scene) -> anyhow::Result<()> {
    for round in 0..20 {
        let flavor = if round % 2 == 0 { Flavor::MultiThread } else { Flavor::CurrentThread };
        let runtime = flavor.runtime(&scene.watcher, "short-lived")?;
        runtime.handle().spawn(std::future::pending::<()>());
        runtime.block_on(tokio::time::sleep(Duration::from_millis(5)));
    }
    Ok(())
}
