//! Files of this machine that are deployed with a component.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::failure::Failure;
use crate::files::{FILES_MAX, FilesError, is_path};

/// Files by the path at which guests see them, without the '/' before it.
pub(super) type Mounted = BTreeMap<String, PathBuf>;

/// Folders within one another that are looked into.
const DEPTH_MAX: usize = 32;

/// Adds what `--files SOURCE:/DESTINATION` says.
///
/// # Errors
/// Where it says something else, or the source cannot be read.
pub(super) fn add_argument(mounted: &mut Mounted, argument: &str) -> Result<(), Failure> {
    let (source, destination) = argument.rsplit_once(":/").ok_or_else(|| {
        Failure::Usage(format!(
            "--files {argument:?} has no destination; allowed: SOURCE:/DESTINATION"
        ))
    })?;
    add(mounted, Path::new(source), destination)
}

/// Adds a file, or all that is in a folder, at a destination.
///
/// # Errors
/// Where the source cannot be read, and for links and what else is neither file nor folder.
pub(super) fn add(mounted: &mut Mounted, source: &Path, destination: &str) -> Result<(), Failure> {
    let mut waiting = vec![(
        source.to_owned(),
        destination.trim_matches('/').to_owned(),
        0,
    )];
    while let Some((source, path, depth)) = waiting.pop() {
        let unread = |error| Failure::local(format!("{} cannot be read", source.display()), error);
        // A link given by name is followed, one that lies in a folder is not: it would lead out of it.
        let found = if depth == 0 {
            std::fs::metadata(&source)
        } else {
            std::fs::symlink_metadata(&source)
        };
        let kind = found.map_err(unread)?.file_type();
        if kind.is_file() {
            put(mounted, path, source)?;
        } else if kind.is_dir() && depth < DEPTH_MAX {
            for entry in std::fs::read_dir(&source).map_err(unread)? {
                let entry = entry.map_err(unread)?;
                let name = entry.file_name();
                let name = name.to_str().ok_or_else(|| {
                    Failure::Usage(format!(
                        "{} has a name that is not UTF-8",
                        entry.path().display()
                    ))
                })?;
                let below = match path.as_str() {
                    "" => name.to_owned(),
                    path => format!("{path}/{name}"),
                };
                waiting.push((entry.path(), below, depth + 1));
            }
        } else {
            return Err(Failure::Usage(format!(
                "{} is neither a file nor a folder within {DEPTH_MAX} others, and links are not followed",
                source.display()
            )));
        }
    }
    Ok(())
}

/// Adds the files in a folder that a pattern matches, at the same paths.
///
/// # Errors
/// Where it is no pattern, or matches what is not in the folder or cannot be read.
pub(super) fn add_matching(
    mounted: &mut Mounted,
    folder: &Path,
    pattern: &str,
) -> Result<(), Failure> {
    let wrong = |why: String| Failure::Usage(format!("files: {pattern:?}: {why}"));
    let is_inside = Path::new(pattern)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !is_inside {
        return Err(wrong("it leads out of the manifest's folder".to_owned()));
    }
    let here = glob::Pattern::escape(&folder.to_string_lossy());
    let whole = Path::new(&here).join(pattern);
    let matches = glob::glob(&whole.to_string_lossy()).map_err(|error| wrong(error.to_string()))?;
    for file in matches {
        let file = file.map_err(|error| wrong(error.to_string()))?;
        if !file.is_file() {
            continue;
        }
        let path = file.strip_prefix(folder).unwrap_or(&file);
        let path = path
            .to_str()
            .ok_or_else(|| wrong(format!("{} is not UTF-8", path.display())))?;
        put(mounted, path.to_owned(), file.clone())?;
    }
    Ok(())
}

/// Takes out what patterns match, as paths that guests would see.
///
/// # Errors
/// Where one is no pattern.
pub(super) fn exclude(mounted: &mut Mounted, patterns: &[String]) -> Result<(), Failure> {
    let separate = glob::MatchOptions {
        require_literal_separator: true,
        ..glob::MatchOptions::default()
    };
    for text in patterns {
        let pattern = glob::Pattern::new(text)
            .map_err(|error| Failure::Usage(format!("exclude_files: {text:?}: {error}")))?;
        mounted.retain(|path, _| !pattern.matches_with(path, separate));
    }
    Ok(())
}

/// An upload with these files behind the component.
///
/// # Errors
/// Where one cannot be read, or no node would take them.
pub(super) fn with(component: Vec<u8>, mounted: &Mounted) -> Result<Vec<u8>, Failure> {
    let mut files = Vec::with_capacity(mounted.len());
    for (path, source) in mounted {
        let content = std::fs::read(source).map_err(|error| {
            Failure::local(format!("{} cannot be read", source.display()), error)
        })?;
        files.push((path.clone(), content));
    }
    crate::files::with_files(component, files).map_err(refused)
}

fn put(mounted: &mut Mounted, path: String, source: PathBuf) -> Result<(), Failure> {
    if !is_path(&path) {
        return Err(refused(FilesError::Path { path }));
    }
    mounted.insert(path, source);
    // What a node would refuse is not read first.
    if mounted.len() > FILES_MAX {
        let count = mounted.len();
        return Err(refused(FilesError::TooMany { count }));
    }
    Ok(())
}

fn refused(error: FilesError) -> Failure {
    Failure::Usage(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_files_and_patterns_become_paths() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a.txt", "sub/b.txt", "sub/deep/c.html", "sub/deep/d.map"] {
            let file = dir.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "x").unwrap();
        }
        let paths = |mounted: &Mounted| mounted.keys().cloned().collect::<Vec<_>>();
        let mut mounted = Mounted::new();
        add_argument(&mut mounted, &format!("{}:/", dir.path().display())).unwrap();
        assert_eq!(
            paths(&mounted),
            ["a.txt", "sub/b.txt", "sub/deep/c.html", "sub/deep/d.map"]
        );
        exclude(
            &mut mounted,
            &["sub/**/*.map".to_owned(), "*.txt".to_owned()],
        )
        .unwrap();
        assert_eq!(paths(&mounted), ["sub/b.txt", "sub/deep/c.html"]);
        let mut mounted = Mounted::new();
        add_argument(
            &mut mounted,
            &format!("{}/a.txt:/x/y.txt", dir.path().display()),
        )
        .unwrap();
        add(&mut mounted, &dir.path().join("sub/deep"), "/static/").unwrap();
        assert_eq!(
            paths(&mounted),
            ["static/c.html", "static/d.map", "x/y.txt"]
        );
        let mut mounted = Mounted::new();
        add_matching(&mut mounted, dir.path(), "sub/**/*").unwrap();
        assert_eq!(
            paths(&mounted),
            ["sub/b.txt", "sub/deep/c.html", "sub/deep/d.map"]
        );
        for pattern in ["../*", "/etc/*"] {
            let said = format!(
                "{:?}",
                add_matching(&mut mounted, dir.path(), pattern).unwrap_err()
            );
            assert!(said.contains("leads out of"), "{said}");
        }
        std::os::unix::fs::symlink("/etc", dir.path().join("sub/link")).unwrap();
        let said = format!("{:?}", add(&mut mounted, dir.path(), "").unwrap_err());
        assert!(said.contains("links are not followed"), "{said}");
        let said = format!("{:?}", add_argument(&mut mounted, "folder").unwrap_err());
        assert!(said.contains("has no destination"), "{said}");
    }
}
