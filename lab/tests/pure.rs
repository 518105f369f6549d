//! The pure half is pure: no runtime, no system calls, no I/O, and nothing of it in the build without the kernel half.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use rstest::rstest;

/// What marks a module of the kernel half in `lib.rs` and `cli/mod.rs`.
const GATE: &str = r#"#[cfg(all(feature = "kernel", target_os = "linux"))]"#;

/// Crates that the kernel half is made of.
const KERNEL_CRATES: [&str; 9] = [
    "hyper",
    "mio",
    "netlink-sys",
    "netns-rs",
    "nix",
    "rtnetlink",
    "signal-hook",
    "socket2",
    "tokio",
];

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(path)
}

/// The Rust files of a module, its tests included.
fn files(module: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::from([source(&format!("{module}.rs"))]);
    let mut folders = vec![source(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("the folder is readable").path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.retain(|path| path.is_file() && path.extension().is_some_and(|it| it == "rs"));
    found
}

/// The lines of a module that are code, with their place.
fn code(module: &str) -> Vec<(String, String)> {
    let files = files(module);
    assert!(!files.is_empty(), "there is no module {module}");
    let lines = files.into_iter().flat_map(|path| {
        let text = fs::read_to_string(&path).expect("sources are text");
        let lines = text.lines().zip(1..).map(|(line, number)| {
            (
                format!("{}:{number}", path.display()),
                line.trim().to_owned(),
            )
        });
        lines.collect::<Vec<_>>()
    });
    lines.filter(|(_, line)| !line.starts_with("//")).collect()
}

#[rstest]
fn a_pure_module_imports_no_runtime_and_does_no_io(
    #[values(
        "behaviour",
        "diagnostic",
        "evidence",
        "figures",
        "istio",
        "judge",
        "kube_proxy",
        "lint",
        "model",
        "outcome",
        "path",
        "plan",
        "ports",
        "predict",
        "rules",
        "topology",
        "traced"
    )]
    module: &str,
) {
    let forbidden = [
        "tokio",
        "nix::",
        "rtnetlink",
        "std::fs",
        "fs::read",
        "std::process",
        "std::env",
        "std::thread",
        "TcpStream",
        "UdpSocket",
        "stdin(",
        "stdout(",
    ];
    for (place, line) in code(module) {
        // `std::env!` and `concat!` are the compiler's.
        let found = forbidden
            .iter()
            .find(|it| line.contains(**it) && !line.contains("env!("));
        assert_eq!(found, None, "{place}: {line}");
    }
}

/// The modules of a file of `mod` lines, split into those behind the gate and the others.
fn modules(file: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let text = fs::read_to_string(source(file)).expect("it is there");
    let (mut gated, mut free) = (BTreeSet::new(), BTreeSet::new());
    let mut before = "";
    for line in text.lines() {
        let name = line
            .strip_prefix("pub ")
            .unwrap_or(line)
            .strip_prefix("mod ");
        if let Some(name) = name.and_then(|it| it.strip_suffix(';')) {
            let half = if before == GATE {
                &mut gated
            } else {
                &mut free
            };
            half.insert(name.to_owned());
        }
        before = line;
    }
    (gated, free)
}

#[test]
fn what_is_outside_the_gate_uses_nothing_behind_it() {
    let (gated, free) = modules("lib.rs");
    assert!(
        gated.contains("supervisor") && free.contains("rules"),
        "{gated:?} {free:?}"
    );
    let (gated_verbs, free_verbs) = modules("cli/mod.rs");
    assert!(
        gated_verbs.contains("run") && free_verbs.contains("predict"),
        "{gated_verbs:?}"
    );
    let verbs = free_verbs.iter().map(|it| format!("cli/{it}"));
    let pure = free.iter().filter(|it| *it != "cli").cloned().chain(verbs);
    // A gate within the subcommands of `rules` holds for their files.
    let (gated_rules, _) = modules("cli/rules.rs");
    let behind_a_gate = |place: &str| {
        let mut files = gated_rules.iter().map(|it| format!("cli/rules/{it}"));
        files.any(|file| place.contains(&file))
    };
    for module in pure {
        for (place, line) in code(&module) {
            if behind_a_gate(&place) {
                continue;
            }
            let gated = gated
                .iter()
                .find(|it| line.contains(&format!("crate::{it}::")));
            assert_eq!(gated, None, "{place}: {line}");
        }
    }
}

/// The crates in a build of hoplab.
fn crates(args: &[&str]) -> BTreeSet<String> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "tree",
            "--locked",
            "--package",
            "hoplab",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(args);
    let output = command.output().expect("cargo is here, it runs the tests");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let tree = String::from_utf8_lossy(&output.stdout);
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

#[rstest]
#[case::without_the_feature(&["--no-default-features"])]
#[case::on_macos(&["--target", "aarch64-apple-darwin"])]
fn a_build_without_the_kernel_half_has_none_of_its_crates(#[case] args: &[&str]) {
    let crates = crates(args);
    assert!(crates.contains("clap"), "{crates:?}");
    let found: Vec<_> = KERNEL_CRATES
        .iter()
        .filter(|it| crates.contains(**it))
        .collect();
    assert_eq!(found, [&""; 0]);
}

#[test]
fn a_build_with_the_kernel_half_has_its_crates() {
    let crates = crates(&["--target", "x86_64-unknown-linux-gnu"]);
    let missing: Vec<_> = KERNEL_CRATES
        .iter()
        .filter(|it| !crates.contains(**it))
        .collect();
    assert_eq!(missing, [&""; 0]);
}
