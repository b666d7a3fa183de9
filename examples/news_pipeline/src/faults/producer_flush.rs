//! `producer-flush`: a handler sends a message and flushes the producer, on the worker.
//!
//! The broker is a peer that never answers, so that every flush takes its full timeout.

use std::{
    io,
    net::TcpListener,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};

use super::{Commit, HELD};

/// Message timeout, so that undeliverable messages do not accumulate.
const GIVEN_UP_AFTER_MS: &str = "500";

pub(super) fn arm() -> io::Result<Commit> {
    // The kernel accepts connections, but no program answers.
    let silent_broker = TcpListener::bind("127.0.0.1:0")?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", silent_broker.local_addr()?.to_string())
        .set("message.timeout.ms", GIVEN_UP_AFTER_MS)
        .set("queue.buffering.max.messages", "1000")
        .create()
        .map_err(io::Error::other)?;
    Ok(Box::new(move |_| {
        let _still_listening = &silent_broker;
        flush_producer_in_handler(&producer)?;
        Ok(())
    }))
}

// Not inlined, because the report must name it.
#[inline(never)]
fn flush_producer_in_handler(producer: &BaseProducer) -> io::Result<Duration> {
    let started = Instant::now();
    let record = BaseRecord::<(), str>::to("audit").payload("a reader requested the news");
    producer.send(record).map_err(|(error, _)| io::Error::other(error))?;
    match producer.flush(HELD) {
        Ok(()) | Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)) => Ok(started.elapsed()),
        Err(error) => Err(io::Error::other(error)),
    }
}
