//! Peers, from their registries, into `target/peers`. One that cannot be had is left out, and the reason is told.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The same release as Littoral is built on.
const WASMTIME: &str = "48.0.8";
const COMPONENTIZE_PY: &str = "0.25.1";

/// What is there to be measured.
pub(crate) struct Peers {
    pub(crate) wasmtime: Result<PathBuf, String>,
    pub(crate) workerd: Result<PathBuf, String>,
    pub(crate) componentize_py: Result<PathBuf, String>,
    pub(crate) wrk: Option<PathBuf>,
}

/// Looks for each, and installs what is missing, which takes some 15 minutes the first time.
pub(crate) fn peers() -> Peers {
    Peers {
        wasmtime: wasmtime(),
        workerd: workerd(),
        componentize_py: componentize_py(),
        wrk: wrk(),
    }
}

/// `target/peers`, wherever cargo put `target`.
pub(crate) fn folder() -> PathBuf {
    // …/target/<profile>/deps/<bench>
    let bench = std::env::current_exe().expect("a bench knows its own path");
    let target = bench
        .ancestors()
        .nth(3)
        .expect("it lies three folders deep");
    let folder = target.join("peers");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

/// What a program says of its version.
pub(crate) fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Runs an installer; its end of output is the reason where it fails.
pub(crate) fn run(program: &Path, arguments: &[&str], folder: &Path) -> Result<(), String> {
    let name = program.file_name().unwrap_or_default().display();
    println!("{name} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        // Cargo would build with the flags and the target folder of this very run.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let reason = text.lines().rfind(|line| !line.trim().is_empty());
    Err(format!("{name}: {}", reason.unwrap_or("failed").trim()))
}

fn there(path: PathBuf) -> Result<PathBuf, String> {
    let name = path.file_name().unwrap_or_default().display().to_string();
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{name} is not where its installer puts it"))
    }
}

fn wasmtime() -> Result<PathBuf, String> {
    let folder = folder();
    let program = folder.join("bin/wasmtime");
    if !version(&program).contains(WASMTIME) {
        let which = format!("wasmtime-cli@{WASMTIME}");
        let to = ["--root", ".", "--target-dir", "build"];
        let arguments = [&["install", "--locked"], to.as_slice(), &[&which]].concat();
        run(Path::new("cargo"), &arguments, &folder)?;
    }
    there(program)
}

fn workerd() -> Result<PathBuf, String> {
    let folder = folder().join("workerd");
    let program = || {
        // What npm puts in `.bin` is a script that starts it: a process more, which is not workerd's.
        let builds = std::fs::read_dir(folder.join("node_modules/@cloudflare"));
        let mut builds = builds.into_iter().flatten().flatten();
        builds.find_map(|build| there(build.path().join("bin/workerd")).ok())
    };
    if let Some(program) = program() {
        return Ok(program);
    }
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    std::fs::write(folder.join("package.json"), "{\"private\":true}")
        .map_err(|error| error.to_string())?;
    run(
        Path::new("npm"),
        &["install", "--no-audit", "--no-fund", "workerd"],
        &folder,
    )?;
    program().ok_or_else(|| "npm has no workerd for this machine".to_owned())
}

fn componentize_py() -> Result<PathBuf, String> {
    let folder = folder();
    let program = folder.join("python/bin/componentize-py");
    if !version(&program).contains(COMPONENTIZE_PY) {
        run(Path::new("python3"), &["-m", "venv", "python"], &folder)?;
        let which = format!("componentize-py=={COMPONENTIZE_PY}");
        run(
            &folder.join("python/bin/pip"),
            &["install", "--quiet", &which],
            &folder,
        )?;
    }
    there(program)
}

/// The folder with WASI's interfaces as text, of the crate that Littoral links against.
pub(crate) fn wit() -> Result<String, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|_| "cargo tells no metadata".to_owned())?;
    let packages = metadata["packages"].as_array();
    let package = packages
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "wasmtime-wasi-http");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let folder = manifest.and_then(|path| Path::new(path).parent());
    let folder = folder.ok_or("no crate with the interfaces")?.join("wit");
    Ok(folder.display().to_string())
}

/// A Debian package, which only root could install: without it, our own generator is used for the closed loop too.
fn wrk() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("wrk"))
        .find(|program| program.exists())
}
