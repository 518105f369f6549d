//! What goes into the nat table, in proxy-init's order; one list for both families.

use super::{Config, ports::multiports};

/// Chain of what comes in.
pub const REDIRECT_CHAIN: &str = "PROXY_INIT_REDIRECT";
/// Chain of what the pod opens.
pub const OUTPUT_CHAIN: &str = "PROXY_INIT_OUTPUT";

/// One change of the nat table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A chain is made.
    New(&'static str),
    /// A rule goes to the end of one of Linkerd's chains.
    Rule(&'static str, String),
    /// A built-in chain asks one of Linkerd's, at its end.
    Jump {
        from: &'static str,
        to: &'static str,
    },
}

pub(super) fn changes(config: &Config) -> Vec<Change> {
    let mut changes = vec![Change::New(REDIRECT_CHAIN)];
    changes.extend(
        inbound(config)
            .into_iter()
            .map(|words| Change::Rule(REDIRECT_CHAIN, words)),
    );
    changes.push(Change::Jump {
        from: "PREROUTING",
        to: REDIRECT_CHAIN,
    });
    changes.push(Change::New(OUTPUT_CHAIN));
    changes.extend(
        outbound(config)
            .into_iter()
            .map(|words| Change::Rule(OUTPUT_CHAIN, words)),
    );
    changes.push(Change::Jump {
        from: "OUTPUT",
        to: OUTPUT_CHAIN,
    });
    changes
}

fn inbound(config: &Config) -> Vec<String> {
    let port = config.incoming_proxy_port;
    let mut rules: Vec<String> = multiports(&config.inbound_ports_to_ignore)
        .iter()
        .map(ignored)
        .collect();
    let subnets = config.subnets_to_ignore.iter();
    rules.extend(subnets.map(|subnet| format!("-p all -j RETURN -s {subnet}")));
    let redirect = format!("-j REDIRECT --to-port {port}");
    match &config.ports_to_redirect[..] {
        [] => rules.push(format!("-p tcp {redirect}")),
        ports => rules.extend(
            ports
                .iter()
                .map(|it| format!("-p tcp --destination-port {it} {redirect}")),
        ),
    }
    rules
}

fn outbound(config: &Config) -> Vec<String> {
    let (uid, port) = (config.proxy_uid, config.outgoing_proxy_port);
    let mut rules = Vec::new();
    if config.self_redirect {
        rules.push(format!(
            "-m owner --uid-owner {uid} -o lo ! -d 127.0.0.1/32 -j {REDIRECT_CHAIN}"
        ));
    }
    rules.push(format!("-m owner --uid-owner {uid} -j RETURN"));
    rules.extend(
        config
            .proxy_gid
            .map(|gid| format!("-m owner --gid-owner {gid} -j RETURN")),
    );
    rules.push("-o lo -j RETURN".to_owned());
    rules.extend(
        multiports(&config.outbound_ports_to_ignore)
            .iter()
            .map(ignored),
    );
    rules.push(format!("-p tcp -j REDIRECT --to-port {port}"));
    rules
}

fn ignored(ports: &String) -> String {
    format!("-p tcp --match multiport --dports {ports} -j RETURN")
}

/// Text for `iptables-restore --noflush`, or `ip6tables-restore`, that leaves in an empty nat table what the commands
/// leave there.
pub fn restore(config: &Config) -> String {
    let lines = changes(config).into_iter().map(|change| match change {
        Change::New(chain) => format!("-N {chain}\n"),
        Change::Rule(chain, words) => format!("-A {chain} {words}\n"),
        Change::Jump { from, to } => format!("-A {from} -j {to}\n"),
    });
    format!("*nat\n{}COMMIT\n", lines.collect::<String>())
}
