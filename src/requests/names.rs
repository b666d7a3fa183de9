//! The names of requests: made once for each method and route, and bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard};

use http_types::Method;

use crate::probe::NameId;

/// The limit of distinct names of requests.
///
/// It leaves names for tasks: those of [`spawn_named`](crate::spawn_named) and [`watched_as`](crate::WatchFutureExt::watched_as).
pub const MAX_NAMES: usize = 1024;

/// The name of requests that have no route.
const NO_ROUTE: &str = "(no route)";

/// The name of requests beyond the limit.
const OTHER: &str = "(other requests)";

/// The methods that HTTP defines. A client can invent others.
static METHODS: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::TRACE,
    Method::CONNECT,
];

/// The names of one route, by method. The last one is that of other methods.
type ByMethod = [Option<NameId>; 10];

/// The names of requests.
#[derive(Debug)]
pub(super) struct RequestNames {
    routes: RwLock<Routes>,
    /// `None` if other names filled the table of names before the first layer was made.
    other: Option<NameId>,
    /// Requests that were named [`OTHER`].
    others: AtomicU64,
}

#[derive(Debug, Default)]
struct Routes {
    by_route: HashMap<Box<str>, ByMethod>,
    names: usize,
}

/// The names of all layers of this process.
pub(super) fn of_process() -> &'static RequestNames {
    static NAMES: LazyLock<RequestNames> = LazyLock::new(RequestNames::new);
    &NAMES
}

impl RequestNames {
    fn new() -> Self {
        Self { routes: RwLock::default(), other: NameId::of(OTHER), others: AtomicU64::new(0) }
    }

    /// The name of a request with this method and route. `None` if names of tasks fill the table of names.
    pub(super) fn name(&self, method: &Method, route: Option<&str>) -> Option<NameId> {
        let (method, route) = (index(method), route.unwrap_or(NO_ROUTE));
        let (known, is_full) = {
            let routes = self.read();
            (routes.get(route, method), routes.is_full())
        };
        known.or_else(|| if is_full { None } else { self.add(route, method) }).or_else(|| self.count_other())
    }

    pub(super) fn others(&self) -> u64 {
        self.others.load(Ordering::Relaxed)
    }

    fn read(&self) -> RwLockReadGuard<'_, Routes> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn add(&self, route: &str, method: usize) -> Option<NameId> {
        self.routes.write().unwrap_or_else(PoisonError::into_inner).get_or_add(route, method)
    }

    #[cold]
    fn count_other(&self) -> Option<NameId> {
        self.others.fetch_add(1, Ordering::Relaxed);
        self.other
    }
}

impl Routes {
    fn get(&self, route: &str, method: usize) -> Option<NameId> {
        self.by_route.get(route)?[method]
    }

    fn is_full(&self) -> bool {
        self.names >= MAX_NAMES
    }

    /// `None` if the limit of names is reached.
    fn get_or_add(&mut self, route: &str, method: usize) -> Option<NameId> {
        // Another thread may have added it meanwhile.
        if let Some(known) = self.get(route, method) {
            return Some(known);
        }
        if self.is_full() {
            return None;
        }
        let Some(name) = NameId::of(&format!("{} {route}", title(method))) else {
            // Names of tasks fill the table of names.
            self.names = MAX_NAMES;
            return None;
        };
        self.by_route.entry(route.into()).or_default()[method] = Some(name);
        self.names += 1;
        Some(name)
    }
}

fn index(method: &Method) -> usize {
    METHODS.iter().position(|known| known == method).unwrap_or(METHODS.len())
}

fn title(method: usize) -> &'static str {
    METHODS.get(method).map_or("(other method)", Method::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: Option<NameId>) -> String {
        name.and_then(NameId::text).expect("it is a name").to_string()
    }

    #[test]
    fn a_name_has_method_and_route_and_no_path() {
        let names = RequestNames::new();
        let route = Some("/articles/{id}");
        for method in &METHODS {
            assert_eq!(text(names.name(method, route)), format!("{method} /articles/{{id}}"));
        }
        assert_eq!(names.name(&Method::GET, route), names.name(&Method::GET, route));
        assert_eq!(text(names.name(&Method::GET, None)), "GET (no route)");
        assert_eq!(names.others(), 0);
    }

    #[test]
    fn methods_that_clients_invent_share_a_name() {
        let names = RequestNames::new();
        let invented = |name: &str| Method::from_bytes(name.as_bytes()).expect("it is a token");
        let first = names.name(&invented("BREW"), Some("/"));
        assert_eq!(first, names.name(&invented("WHEN"), Some("/")));
        assert_eq!(text(first), "(other method) /");
    }

    #[test]
    fn requests_beyond_the_limit_share_a_name_and_are_counted() {
        let names = RequestNames::new();
        let distinct: Vec<Option<NameId>> =
            (0..MAX_NAMES).map(|number| names.name(&Method::GET, Some(&format!("/limit/{number}")))).collect();
        assert_eq!((text(distinct[MAX_NAMES - 1]), names.others()), (format!("GET /limit/{}", MAX_NAMES - 1), 0));
        for beyond in [("/limit/more", Method::GET), ("/limit/0", Method::POST)] {
            assert_eq!(text(names.name(&beyond.1, Some(beyond.0))), "(other requests)");
        }
        assert_eq!(names.others(), 2);
        assert_eq!(names.name(&Method::GET, Some("/limit/0")), distinct[0], "known names stay");
        assert_eq!(names.routes.into_inner().expect("no panic").by_route.len(), MAX_NAMES);
    }
}
