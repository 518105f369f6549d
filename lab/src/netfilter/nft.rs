//! Runs `nft` in the namespace the calling thread is in.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::{Ended, NetfilterError, backend::find_program};
use crate::sandbox::RUN_DIR;

/// Gives a transaction to `nft -f`, or with `json` to `nft -j -f`, whatever comes of it.
///
/// # Errors
/// The program is missing or can't run.
pub fn nft(text: &str, json: bool, pod: &str) -> Result<Ended, NetfilterError> {
    let path = Path::new(RUN_DIR).join(format!("nft-rules-{pod}.txt"));
    let path = path.to_string_lossy().into_owned();
    fs::write(&path, text).map_err(|source| NetfilterError::RulesFile {
        path: path.clone(),
        source,
    })?;
    let words: &[&str] = if json { &["-j", "-f"] } else { &["-f"] };
    let command = format!("nft {} {path}", words.join(" "));
    let output = Command::new(find_program("nft")?)
        .args(words)
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| NetfilterError::Run {
            command: command.clone(),
            pod: pod.to_owned(),
            source,
        })?;
    Ok(Ended {
        command,
        status: output.status.to_string(),
        ok: output.status.success(),
        stderr: String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned(),
    })
}
