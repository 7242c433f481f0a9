//! Where the binaries under test are: those that cargo put beside this suite, if they are of these sources; or a daemon
//! for another architecture, run by an emulator, where [`FOREIGN`] names one.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::SystemTime;

/// The variable that names a daemon of another architecture (`tests/aarch64/run`). What it has of addresses is for the
/// emulator to say.
pub const FOREIGN: &str = "TESTS_DAEMON";

static LITTORALD: LazyLock<PathBuf> =
    LazyLock::new(|| foreign().unwrap_or_else(|| find("littorald")));
static LITTORAL: LazyLock<PathBuf> = LazyLock::new(|| find("littoral"));

/// The daemon.
pub fn littorald() -> &'static Path {
    &LITTORALD
}

/// The daemon of another architecture, where the suites are to drive one.
pub fn foreign() -> Option<PathBuf> {
    std::env::var_os(FOREIGN).map(PathBuf::from)
}

/// The command line.
pub fn cli() -> &'static Path {
    &LITTORAL
}

/// `cargo test --workspace` builds every binary before it runs a suite; running a suite alone does not, so the binary
/// could be missing, of older sources, or of another checkout that shares the target folder.
fn find(name: &str) -> PathBuf {
    const REMEDY: &str = "run `cargo test --workspace`, or `cargo build --workspace` first";
    // …/target/<profile>/deps/<suite>
    let suite = std::env::current_exe().expect("a test knows its own path");
    let profile = suite
        .parent()
        .and_then(Path::parent)
        .expect("a suite lies two folders deep");
    let binary = profile.join(name);
    let built =
        modified(&binary).unwrap_or_else(|| panic!("{} is not there: {REMEDY}", binary.display()));
    // cargo writes beside each binary which sources it is made of, as a rule for make.
    let rule = std::fs::read_to_string(profile.join(format!("{name}.d"))).unwrap_or_default();
    let (_, sources) = rule.split_once(": ").unwrap_or_default();
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package lies in a checkout");
    for source in sources.split_ascii_whitespace().map(Path::new) {
        assert!(
            !source.is_absolute() || source.starts_with(checkout),
            "{} is of another checkout ({}): {REMEDY}",
            binary.display(),
            source.display()
        );
        assert!(
            modified(source).is_none_or(|changed| changed <= built),
            "{} is older than {}: {REMEDY}",
            binary.display(),
            source.display()
        );
    }
    binary
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|found| found.modified()).ok()
}
