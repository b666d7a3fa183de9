//! The build of this program, and what a default build would show.

/// Debug information and the profile of this build, from the build script.
const DEBUG_INFORMATION: &str = env!("NEWS_PIPELINE_DEBUG");

const RELEASE: bool = !cfg!(debug_assertions);

/// The difference to reports of a build without settings of this repository.
const DEFAULT: &str = "a default release build has neither: its reports show functions without lines, infer the polls of \
                       tokio::spawn, and list no delayed tasks";

/// One line for people.
pub(crate) fn describe() -> String {
    let profile = if RELEASE { "release" } else { "debug" };
    let unstable = if cfg!(tokio_unstable) { "on" } else { "off" };
    format!("{profile}, debug information {DEBUG_INFORMATION}, tokio_unstable {unstable} ({DEFAULT})")
}
