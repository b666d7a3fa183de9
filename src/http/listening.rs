//! What the builder asks of the endpoint, and what becomes of it.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::access::Access;
use super::hosts::Hosts;
use crate::error::Error;
use crate::inprocess::{closed_endpoint_check, endpoint_check, endpoint_socket_check};
use crate::listen::{EndpointAddress, SocketFile, Wanted, is_local};
use crate::model::check::Check;
use crate::token::{FoundToken, Token};

/// What an address of a Unix socket begins with.
const SOCKET: &str = "unix:";

/// Beyond loopback without a token.
const OPEN: &str = "other machines reach it, and there is no token";

const OPEN_REMEDY: &str = "name a file with a token in HOLDUP_TOKEN_FILE or token_file(…), listen on 127.0.0.1, or let \
                           everybody in with insecure_no_token()";

/// The settings of the endpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) listen: Option<Wanted>,
    /// Whether a watch without its endpoint is an error.
    pub(crate) is_required: bool,
    /// Names of this machine that requests may use.
    pub(crate) hosts: Vec<String>,
    pub(crate) token_file: Option<PathBuf>,
    /// Whether everybody may use it who can reach it.
    pub(crate) is_open: bool,
}

/// What became of the settings.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// `None` if nothing was asked for, or it cannot be had.
    pub(crate) listening: Option<Listening>,
    /// A line of the self-check.
    pub(crate) check: Option<Check>,
    /// A sentence for the user.
    pub(crate) notice: Option<String>,
}

/// A listener, and who may use it.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(super) listener: Listener,
    pub(super) address: EndpointAddress,
    pub(super) access: Access,
    /// Removed when the endpoint ends.
    pub(super) file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Settings {
    /// Listens. Without the endpoint the service still works, so what cannot be had now is an error only if the endpoint is
    /// required. Text that is no address or no name of a host is always one.
    pub(crate) fn open(&self) -> Result<Opened, Error> {
        let Some(wanted) = &self.listen else { return Ok(Opened::default()) };
        match wanted.address.strip_prefix(SOCKET) {
            Some(path) => self.open_socket(Path::new(path)),
            None => self.open_port(wanted),
        }
    }

    fn open_port(&self, wanted: &Wanted) -> Result<Opened, Error> {
        let hosts = self.hosts(wanted)?;
        let (token, notice) = match self.token() {
            Ok(Some(FoundToken { token, notice })) => (Some(token), notice),
            Ok(None) => (None, None),
            Err(error) => return self.closed(wanted, error.problem, error.remedy),
        };
        let bound = wanted.bind();
        let place = wanted.place(&bound);
        let check = Some(endpoint_check(&place, token.is_some()));
        let (listener, address) = match bound {
            Ok(bound) => bound,
            Err(source) => {
                self.accept(&wanted.address, source)?;
                return Ok(Opened { check, ..Opened::default() });
            }
        };
        if !is_local(&address) && token.is_none() && !self.is_open {
            return self.closed(wanted, OPEN.to_owned(), OPEN_REMEDY.to_owned());
        }
        let (listener, address) = (Listener::Tcp(listener), EndpointAddress::Tcp(address));
        let listening = Listening { listener, address, access: Access::new(hosts, token), file: None };
        Ok(Opened { listening: Some(listening), check, notice })
    }

    /// The mode of the socket's file decides who may use it, so there is no token.
    fn open_socket(&self, path: &Path) -> Result<Opened, Error> {
        let bound = SocketFile::bind(path);
        let shown = bound.as_ref().map_or(path, |(_, file)| file.path());
        let address = EndpointAddress::Unix(shown.to_path_buf());
        let check = Some(endpoint_socket_check(&address, bound.as_ref().err()));
        let (listener, file) = match bound {
            Ok((listener, file)) => (Listener::Unix(listener), Some(file)),
            Err(source) => {
                self.accept(&address.to_string(), source)?;
                return Ok(Opened { check, ..Opened::default() });
            }
        };
        let listening = Listening { listener, address, access: Access::of_socket(), file };
        Ok(Opened { listening: Some(listening), check, notice: None })
    }

    /// The environment takes precedence, as it does for other settings.
    fn token(&self) -> Result<Option<FoundToken>, crate::token::TokenError> {
        let of_environment = Token::of_environment()?;
        match (of_environment, &self.token_file) {
            (Some(token), _) => Ok(Some(token)),
            (None, Some(path)) => Token::of_file(path).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn hosts(&self, wanted: &Wanted) -> Result<Hosts, Error> {
        let hosts = Hosts::new(&self.hosts).map_err(|name| Error::EndpointAccess {
            address: wanted.address.clone(),
            problem: format!("allow_host({name:?}) is no name of a host"),
            remedy: "give it as it stands in the address bar, such as diagnostics.example".to_owned(),
        })?;
        Ok(hosts.with_name_in(&wanted.address))
    }

    /// Whether the service may go on without an address.
    fn accept(&self, address: &str, source: io::Error) -> Result<(), Error> {
        if self.is_required || source.kind() == io::ErrorKind::InvalidInput {
            return Err(Error::Listen { address: address.to_owned(), source });
        }
        Ok(())
    }

    fn closed(&self, wanted: &Wanted, problem: String, remedy: String) -> Result<Opened, Error> {
        let address = wanted.address.clone();
        if self.is_required {
            return Err(Error::EndpointAccess { address, problem, remedy });
        }
        let check = closed_endpoint_check(&address, &problem, &remedy);
        Ok(Opened { check: Some(check), ..Opened::default() })
    }
}
