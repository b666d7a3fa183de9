//! The settings of the diagnostics endpoint.

use std::path::PathBuf;

use super::WatchBuilder;
use crate::listen::Wanted;

impl WatchBuilder {
    /// Serves diagnostics over HTTP on an address such as `127.0.0.1:6060`. A port alone, such as `6060`, means loopback,
    /// and port 0 picks a free one ([`Watch::endpoint`](crate::Watch::endpoint) returns it). `unix:/run/my-service.sock` is a
    /// Unix socket for the user of this process.
    ///
    /// The endpoint runs on a separate thread and runtime, so it answers while the watched runtimes are stuck.
    ///
    /// On loopback and on a Unix socket it needs no token. Elsewhere it serves only with one: see
    /// [`token_file`](Self::token_file). Web pages cannot use it, because it checks the host and the origin of each request:
    /// see [`allow_host`](Self::allow_host).
    ///
    /// An address that is in use does not stop the service: the watch starts without the endpoint and warns, and
    /// [`Watch::endpoint`](crate::Watch::endpoint) is `None`. [`require_endpoint`](Self::require_endpoint) makes it an error,
    /// and [`listen_or_next`](Self::listen_or_next) takes another port.
    ///
    /// ```
    /// let watch = holdup::Watch::builder().listen("127.0.0.1:0").start()?;
    /// println!("diagnostics at {}", watch.endpoint().expect("it listens"));
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.endpoint.listen = Some(Wanted { address: address.into(), or_next: false });
        self
    }

    /// Serves diagnostics as [`listen`](Self::listen) does. If the port is in use, the endpoint takes the first free one
    /// of the next 15 ports, and warns. [`Watch::endpoint`](crate::Watch::endpoint) returns the address.
    ///
    /// ```
    /// let first = holdup::Watch::builder().listen("127.0.0.1:0").start()?;
    /// let taken = first.endpoint().and_then(|endpoint| endpoint.tcp()).expect("it listens");
    /// let second = holdup::Watch::builder().listen_or_next(taken.to_string()).start()?;
    /// assert_ne!(second.endpoint(), first.endpoint());
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[must_use]
    pub fn listen_or_next(mut self, address: impl Into<String>) -> Self {
        self.endpoint.listen = Some(Wanted { address: address.into(), or_next: true });
        self
    }

    /// Makes an endpoint that cannot be served an error of [`start`](Self::start) instead of a warning:
    /// [`Error::Listen`](crate::Error::Listen), or [`Error::EndpointAccess`](crate::Error::EndpointAccess) for want of a token.
    ///
    /// ```
    /// let first = holdup::Watch::builder().listen("127.0.0.1:0").start()?;
    /// let taken = first.endpoint().and_then(|endpoint| endpoint.tcp()).expect("it listens");
    /// let second = holdup::Watch::builder().listen(taken.to_string()).require_endpoint().start();
    /// assert!(matches!(second, Err(holdup::Error::Listen { .. })));
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[must_use]
    pub fn require_endpoint(mut self) -> Self {
        self.endpoint.is_required = true;
        self
    }

    /// Requires the token in this file from each request, except on a Unix socket. The environment variables `HOLDUP_TOKEN`
    /// and `HOLDUP_TOKEN_FILE` take precedence.
    ///
    /// The file has one line with at least 16 visible ASCII characters: `openssl rand -hex 32` makes them. It is read once. If
    /// other users can read it, a warning says so. Without a usable file the watch starts without the endpoint, and warns.
    ///
    /// Requests give it as `Authorization: Bearer TOKEN`, or as a password with any name. So browsers ask for it.
    /// `go tool pprof http://x:TOKEN@HOST:6060/…` works, and so does `holdup stalls URL --token-file FILE`.
    ///
    /// ```
    /// let file = std::env::temp_dir().join(format!("my-service-token-{}", std::process::id()));
    /// std::fs::write(&file, "0e5d5d1b8a8c4a5f9f57ad47ec1a8a72").expect("is written");
    /// let watch = holdup::Watch::builder().listen("127.0.0.1:0").token_file(&file).start()?;
    /// # std::fs::remove_file(&file).expect("it is there");
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[must_use]
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.endpoint.token_file = Some(path.into());
        self
    }

    /// Lets everybody use the endpoint who can reach it, also from other machines and without a token. A warning says so. A
    /// token that is given is still required.
    ///
    /// ```
    /// let watch = holdup::Watch::builder().listen("0.0.0.0:0").start()?;
    /// assert_eq!(watch.endpoint(), None, "there is no token");
    /// let open = holdup::Watch::builder().listen("0.0.0.0:0").insecure_no_token().start()?;
    /// assert!(open.endpoint().is_some());
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[must_use]
    pub fn insecure_no_token(mut self) -> Self {
        self.endpoint.is_open = true;
        self
    }

    /// Allows a name in the header `Host` of requests, such as that of a proxy: `diagnostics.example`. Its port does not
    /// matter. IP addresses, `localhost` and the name given to [`listen`](Self::listen) are allowed anyway.
    ///
    /// Otherwise a web page could let its own name lead to this machine, and read the answers (DNS rebinding). With a token,
    /// any name is allowed.
    ///
    /// ```
    /// let builder = holdup::Watch::builder().listen("127.0.0.1:0").allow_host("diagnostics.example");
    /// let watch = builder.start()?;
    /// let wrong = holdup::Watch::builder().listen("127.0.0.1:0").allow_host("https://diagnostics.example/").start();
    /// assert!(matches!(wrong, Err(holdup::Error::EndpointAccess { .. })));
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[must_use]
    pub fn allow_host(mut self, name: impl Into<String>) -> Self {
        self.endpoint.hosts.push(name.into());
        self
    }
}
