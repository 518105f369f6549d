//! Loads rules into the kernel, in a network namespace that ends with the command.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use hoplab::{
    netfilter::{Backend, Tool},
    rules::Family,
};
use nix::unistd::Uid;

/// What `iptables-save` prints after a script in a fresh namespace; `$RESTORE` loads standard input, and `iptables`
/// is that of the backend. Fails the test if anything in it fails.
#[track_caller]
pub fn saved_after(script: &str, stdin: &str, backend: Backend, family: Family) -> String {
    let find = |tool| {
        backend
            .find(family, tool)
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let unshare: &[&str] = match Uid::effective().is_root() {
        true => &["--net"],
        // One after the other: /proc/net of a network namespace is for the root its user namespace has by then.
        false => &[
            "--user",
            "--map-root-user",
            "--map-auto",
            "unshare",
            "--net",
        ],
    };
    // A lock of its own: legacy iptables locks the whole machine, whatever the namespace.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let lock = std::env::temp_dir().join(format!(
        "hoplab-mesh-rules-{}-{number}.lock",
        std::process::id()
    ));
    let mut child = Command::new("unshare")
        .args(unshare)
        .args(["sh", "-euc"])
        .arg(format!("{script}\n\"$SAVE\""))
        .env("RESTORE", find(Tool::Restore))
        .env("SAVE", find(Tool::Save))
        .env("XTABLES_LOCKFILE", &lock)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare starts");
    let mut input = child.stdin.take().expect("it is piped");
    // A script that needs no input may have ended.
    let _ = input.write_all(stdin.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let _ = std::fs::remove_file(lock);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{backend} {family}: {words}\n{script}\n{stdin}"
    );
    String::from_utf8(output.stdout).expect("iptables-save prints text")
}

/// What the kernel holds after a text was loaded.
#[track_caller]
pub fn saved(text: &str, backend: Backend, family: Family) -> String {
    saved_after("\"$RESTORE\" --noflush", text, backend, family)
}
