//! Whether native rules of nft can be loaded and read back: `--native-nftables` and `pid:4711` need it, labs of iptables
//! do without.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::{
    check::NeededBy,
    machine_failure,
    sheet::{Found, Sheet, Step, Trial},
};
use crate::{
    failure::Failure,
    net::Namespace,
    netfilter::{self, Holder, find_program},
    rules::{self, Family, RuleSet},
};

/// A rule of Istio's native nft mode.
const TRANSACTION: &str = "\
add table inet istio-proxy-nat
add chain inet istio-proxy-nat output { type nat hook output priority -100 ; }
add rule inet istio-proxy-nat output meta l4proto tcp skuid 1337 counter redirect to :15001
";

pub(super) fn examine(sheet: &mut Sheet, start: Step<()>) {
    let trial = Trial::new("nft", "the program", NeededBy::NativeNft, "");
    let program = sheet.try_after(start, trial, |()| {
        let program = find_program("nft").map_err(Failure::from)?;
        let words = program.display().to_string();
        Ok((program, words))
    });
    let trial = Trial::new(
        "nft-native",
        "a rule of Istio's native nft mode, loaded with nft and read as JSON",
        NeededBy::NativeNft,
        "as root: modprobe -a nf_tables nft_redir nft_chain_nat; a kernel without modules needs them built in \
         (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, CONFIG_NFT_REDIR)",
    );
    sheet.try_after(program, trial, |program| {
        let namespace = Namespace::create("nft-native").map_err(Failure::from)?;
        let job = namespace.job(move |_| there_and_back(Command::new(program)));
        job.wait().map_err(Failure::from)?
    });
}

/// Runs in a namespace of its own.
fn there_and_back(mut nft: Command) -> Found<()> {
    let refused = |cause: String| machine_failure("nft can't load a rule of Istio's", cause);
    let child = nft
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| refused(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read says why below.
        let _ = stdin.write_all(TRANSACTION.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| refused(error.to_string()))?;
    if !output.status.success() {
        return Err(refused(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    let held = netfilter::rules_here("the doctor's namespace")?;
    let native = held.iter().find(|it| it.by == Holder::Nft);
    let text = native.map(|it| it.text.as_str()).unwrap_or_default();
    let read = |text| rules::read(text, "what nft printed", Family::V4).and_then(|it| it.rules());
    let sets: Vec<RuleSet> =
        read(text).map_err(|error| machine_failure("what nft prints can't be read", error))?;
    if read(TRANSACTION).ok() == Some(sets.iter().map(RuleSet::without_counters).collect()) {
        return Ok(((), String::new()));
    }
    Err(machine_failure(
        "nft holds another rule than was loaded",
        text,
    ))
}
