//! Shared code of the service's tests.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

/// An HTTP client with access to the whole response.
#[path = "../../../../tests/support/http.rs"]
pub(crate) mod http;

/// Processes of single commands of the service, and brokers.
pub(crate) mod pipeline;

/// A process of the whole service.
pub(crate) mod service;

/// A deadline for conditions, and one test of a file at a time.
#[path = "../../../../tests/support/waiting.rs"]
mod waiting;

pub(crate) use waiting::{DEADLINE, alone, wait_until};
