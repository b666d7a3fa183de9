//! The `holdup` command against an endpoint with a token, and on a Unix socket.
#![cfg(feature = "cli")]

#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use holdup::{Print, Profile, Watch, WatchBuilder};
use support::{address_of, alone};
use tokio::runtime::Builder;

const TOKEN: &str = "0e5d5d1b8a8c4a5f9f57ad47ec1a8a72";

/// Names and values of environment variables.
type Variables<'a> = &'a [(&'a str, &'a str)];

fn quiet() -> WatchBuilder {
    Watch::builder().print(Print::Never)
}

fn run(arguments: &[&str], variables: Variables<'_>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdup"));
    command.args(arguments).env_remove("HOLDUP_TOKEN").env_remove("HOLDUP_TOKEN_FILE");
    let Output { status, stdout, stderr } = command.envs(variables.iter().copied()).output().expect("it runs");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// A folder of a test, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("holdup-command-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder of our own");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn keep(path: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).expect("is written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("is ours");
}

#[test]
fn a_token_is_given_in_four_ways_and_never_shown() {
    let _alone = alone();
    let folder = Folder::new("token");
    let (file, other) = (folder.path("token"), folder.path("other"));
    keep(&file, TOKEN);
    keep(&other, "ffffffffffffffffffffffffffffffff");
    let watch = quiet().listen("127.0.0.1:0").token_file(&file).start().expect("starts");
    let address = address_of(&watch);
    let (url, with_token) = (format!("http://{address}"), format!("http://x:{TOKEN}@{address}"));
    let right: [(&[&str], Variables<'_>); 4] = [
        (&["workers", &url, "--token-file", &file], &[]),
        (&["workers", &with_token], &[("HOLDUP_TOKEN", "ffffffffffffffffffffffffffffffff")]),
        (&["workers", &url], &[("HOLDUP_TOKEN", TOKEN)]),
        (&["workers", &url], &[("HOLDUP_TOKEN_FILE", &file)]),
    ];
    for (arguments, variables) in right {
        let (code, said) = run(arguments, variables);
        assert_eq!(code, Some(0), "{arguments:?} {variables:?}: {said}");
    }
    let absent = folder.path("absent");
    let wrong: [(&[&str], Variables<'_>, &str); 6] = [
        (&["stalls", &url], &[], "needs a token; give it with --token-file FILE, HOLDUP_TOKEN or HOLDUP_TOKEN_FILE"),
        (&["record", &url, "-d", "1"], &[], "needs a token"),
        (&["stalls", &url, "--token-file", &other], &[], "refuses this token"),
        (&["check", &url, "--token-file", &absent], &[], "cannot be read"),
        (&["check", &url], &[("HOLDUP_TOKEN", "short")], "the token in HOLDUP_TOKEN has 5 characters"),
        (&["stalls", "--pid", "1", "--token-file", &file], &[], "cannot be used with"),
    ];
    for (arguments, variables, part) in wrong {
        let (code, said) = run(arguments, variables);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(part) && !said.contains(TOKEN), "{arguments:?}: {said}");
    }
    let output = folder.path("cpu.json");
    let (_, said) = run(&["record", &with_token, "-d", "0.2", "-o", &output], &[]);
    let profile = Profile::read(&std::fs::read(&output).expect("it is written")).expect("is a profile");
    let command = profile.command.expect("it names its command");
    assert!(command.contains(&url) && !command.contains(TOKEN) && !said.contains(TOKEN), "{command}: {said}");
}

#[test]
fn a_socket_is_an_address() {
    let _alone = alone();
    let folder = Folder::new("socket");
    let socket = format!("unix:{}", folder.path("my.sock"));
    let watch = quiet().listen(&socket).start().expect("starts");
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(1).name("api")).expect("builds");
    runtime.spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    // A proxy and a token are for other addresses.
    let variables = [("http_proxy", "http://127.0.0.1:1"), ("HOLDUP_TOKEN", "short")];
    let profile = folder.path("cpu.json");
    for (arguments, part) in [
        (&["workers", socket.as_str()][..], "api"),
        (&["check", &socket], &socket),
        (&["stalls", &socket], "0 stalls"),
        (&["tasks", &socket, "-d", "0.1"], "polls of"),
        (&["top", &socket, "-d", "1"], "CPU time"),
        (&["record", &socket, "-d", "1", "-o", &profile], "Wrote"),
    ] {
        let (code, said) = run(arguments, &variables);
        assert!(code == Some(0) || (code == Some(1) && arguments[0] == "check"), "{arguments:?}: {code:?} {said}");
        assert!(said.contains(part), "{arguments:?}: {part}: {said}");
    }
    assert!(Path::new(&profile).exists());
    let (code, said) = run(&["tasks", &socket, "-d", "61"], &variables);
    assert!(code == Some(2) && said.contains("400 Bad Request: seconds=61 is invalid"), "{said}");
    drop(runtime);
    drop(watch);
    let (code, said) = run(&["check", &socket], &variables);
    assert!(code == Some(2) && said.contains(&socket) && said.contains("is the service running"), "{said}");
}
