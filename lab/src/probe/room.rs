//! How many flows may be under way at once, so that what the kernel keeps of their trace until it is read has room: an
//! ordinary user has little of it (`net.core.rmem_max`), and on a busy machine nobody reads for a while.

use std::collections::{BTreeMap, HashMap};

use crate::{
    netfilter::Backend,
    rules::{Family, RuleSet, TableRules},
};

/// Flows that are under way at once, at most.
const MOST: usize = 128;
/// What a socket is charged for one event of nft's trace: 1,280 bytes were measured (`truesize`).
const EVENT: usize = 1536;
/// The same for a TRACE line of legacy iptables, which comes by another socket.
const LINE: usize = 5 << 10;
/// Events of observers and of base chains without rules, on the longest way: nine of ours, and four tables at four hooks.
const BESIDE: usize = 32;
/// A datagram is answered, and the answer is traced too; of TCP only the first packet is.
const PACKETS: usize = 2;

/// Flows whose trace fits into this much room at once, however long nobody reads; at least one. `room` is what a watch of
/// first packets has ([`TraceWatch::room`](crate::trace::TraceWatch::room)), in bytes.
pub fn flows_at_once(
    room: usize,
    rules: &BTreeMap<Family, RuleSet>,
    backend: Option<Backend>,
) -> usize {
    let most = rules.values().map(steps).max().unwrap_or(0);
    let each = match backend {
        Some(Backend::Legacy) => most.saturating_mul(LINE).max(BESIDE * EVENT),
        _ => most.saturating_add(BESIDE).saturating_mul(EVENT),
    };
    (room / each.saturating_mul(PACKETS).max(1)).clamp(1, MOST)
}

/// What a packet could make the kernel tell at most: every rule of every built-in chain matches, and so do those of each
/// chain they lead to, which ends each time.
fn steps(set: &RuleSet) -> usize {
    let of_table = |table: &TableRules| {
        let mut known = HashMap::new();
        let base = table.chains().iter().filter(|it| it.policy.is_some());
        base.fold(0_usize, |sum, it| {
            sum.saturating_add(of_chain(table, &it.name, &mut known))
        })
    };
    set.tables
        .values()
        .map(of_table)
        .fold(0, usize::saturating_add)
}

fn of_chain(table: &TableRules, name: &str, known: &mut HashMap<String, usize>) -> usize {
    if let Some(steps) = known.get(name) {
        return *steps;
    }
    let Some(chain) = table.chain(name) else {
        return 0;
    };
    // A chain that leads to itself is none that a kernel takes.
    known.insert(name.to_owned(), 0);
    let mut steps = 1_usize;
    for rule in &chain.rules {
        let next = rule.spec.target.chain();
        let behind = next.map_or(0, |it| of_chain(table, it, known));
        steps = steps.saturating_add(1).saturating_add(behind);
    }
    known.insert(name.to_owned(), steps);
    steps
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::{Backend, MOST, flows_at_once, steps};
    use crate::{
        profiles,
        rules::{Family, RuleSet, parse},
    };

    fn of_profile(name: &str) -> BTreeMap<Family, RuleSet> {
        let profile = profiles::find(name).expect("a profile");
        let text = profile.rules.iptables(Family::V4).expect("rules of IPv4");
        let set = parse(text, Family::V4, name).expect("they parse");
        [(Family::V4, set)].into()
    }

    /// What the kernel gives a user where rmem_max is the usual 208 KiB.
    const OF_A_USER: usize = 416 << 10;

    #[rstest]
    #[case::a_user(OF_A_USER, Some(Backend::Nft), "istio", 2)]
    #[case::a_user_with_many_rules(OF_A_USER, Some(Backend::Nft), "istio-tproxy", 1)]
    #[case::a_user_on_legacy(OF_A_USER, Some(Backend::Legacy), "istio", 1)]
    #[case::root(64 << 20, Some(Backend::Nft), "istio-tproxy", MOST)]
    fn no_more_flows_are_under_way_than_the_trace_has_room_for(
        #[case] room: usize,
        #[case] backend: Option<Backend>,
        #[case] profile: &str,
        #[case] flows: usize,
    ) {
        assert_eq!(flows_at_once(room, &of_profile(profile), backend), flows);
    }

    #[test]
    fn each_way_into_a_chain_counts_with_its_end() {
        let text = "*nat\n:OUTPUT ACCEPT [0:0]\n-N A\n-N B\n-A OUTPUT -p tcp -j A\n-A OUTPUT -p udp -j A\n\
            -A A -j B\n-A B -p tcp -j RETURN\nCOMMIT\n";
        let set = parse(text, Family::V4, "test").expect("it parses");
        // B: a rule and its end. A: a rule, B, its end. OUTPUT: twice a rule and A; and four policies.
        assert_eq!(steps(&set), 2 * (1 + (1 + 2 + 1)) + 4);
    }
}
