//! Files that one run must not use twice: the second would overwrite the first.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use super::Usage;

/// A file, and the option that names it.
pub(super) type Use<'a> = (&'a str, &'a Path);

/// Fails if two of these are the same file. A device such as `/dev/null` may be used twice.
pub(super) fn refuse<'a>(uses: impl IntoIterator<Item = Use<'a>>) -> Result<(), Usage> {
    let uses: Vec<_> = uses.into_iter().collect();
    for (index, (name, path)) in uses.iter().enumerate() {
        let same = uses[..index]
            .iter()
            .find(|(_, before)| are_same(before, path));
        if let Some((before, _)) = same {
            let shown = path.display();
            return Err(Usage(format!(
                "{before} and {name} are the same file, {shown}: one would overwrite the other"
            )));
        }
    }
    Ok(())
}

fn are_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => {
            (one.dev(), one.ino()) == (other.dev(), other.ino())
                && !one.file_type().is_char_device()
        }
        // Neither exists yet.
        (Err(_), Err(_)) => resolved(one).is_some_and(|one| Some(one) == resolved(other)),
        _ => false,
    }
}

/// The path of a file that may not exist, with the links of its directory resolved.
fn resolved(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = fs::canonicalize(parent.unwrap_or(Path::new("."))).ok()?;
    Some(parent.join(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cli::Exit;

    #[test]
    fn a_file_under_two_names_is_refused_whether_it_exists_or_not() {
        let name = format!("pause-trace-same-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("a directory");
        let at = |name: &str| directory.join(name);
        symlink(&directory, at("link")).expect("a link");
        let there = at("there");
        fs::write(&there, "").expect("a file");
        fs::hard_link(&there, at("hard")).expect("a link");
        let check = |one: &Path, other: &Path| refuse([("--record", one), ("--output", other)]);
        for (one, other) in [
            ("new", "new"),
            ("new", "link/new"),
            ("there", "hard"),
            ("there", "link/there"),
        ] {
            let error = check(&at(one), &at(other)).expect_err("they are the same");
            assert!(
                error.to_string().starts_with("--record and --output"),
                "{error}"
            );
            assert_eq!(Exit::of(&error.into()), Exit::Usage);
        }
        for (one, other) in [("new", "there"), ("new", "newer"), ("none/x", "none/x")] {
            check(&at(one), &at(other)).expect("they differ, or cannot be created");
        }
        let null = Path::new("/dev/null");
        check(null, null).expect("it keeps nothing");
        fs::remove_dir_all(&directory).expect("the test created it");
    }
}
