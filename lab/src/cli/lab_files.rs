//! Lab files that a person names: one file, or those of a directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::failure::{Class, Failure};

/// The lab files of a directory, those of directories in it included, by name; a file is itself.
///
/// # Errors
/// It can't be read, or holds no lab file.
pub(super) fn of(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(dir) = open.pop() {
        let unreadable = |error: std::io::Error| {
            let what = format!("could not read {}", dir.display());
            Failure::new(Class::Input, what).cause(error.to_string())
        };
        for entry in fs::read_dir(&dir).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            match path.is_dir() {
                true => open.push(path),
                false if path.extension().is_some_and(|it| it == "toml") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    match found.is_empty() {
        false => Ok(found),
        true => Err(Failure::new(
            Class::Input,
            format!("{} holds no lab file", path.display()),
        )
        .hint("lab files end in .toml")),
    }
}
