//! How many rules a second the readers take, and how many packets a second the model follows.
//!
//! `items` are rules for the readers, packets for the model.

use std::net::SocketAddr;

use divan::{Bencher, counter::ItemsCount};
use hoplab::{
    lint::{self, Proxy},
    model::{
        Given, Hook, Host, Packet, PodAddresses, evaluate, interesting_packets, journey, question,
    },
    rules::{Family, RuleSet, Table, list_verbose, parse, read, to_json, to_save},
};

/// The 18 rules of Istio 1.13.
const ISTIO: &str = include_str!("../../scenarios/rules/istio-1.13.rules");

fn main() {
    divan::main();
}

fn istio() -> RuleSet {
    parse(ISTIO, Family::V4, "istio-1.13").expect("the scenario's rules are readable")
}

/// As many rules as a node with many services has: a chain each.
fn large(rules: usize) -> String {
    let chains = rules / 2;
    let mut text = String::from("*nat\n");
    for number in 0..chains {
        text += &format!(":SVC-{number} - [0:0]\n");
    }
    for number in 0..chains {
        let (high, low) = (number / 250, number % 250);
        text += &format!(
            "-A PREROUTING -d 10.{high}.{low}.1/32 -p tcp -m comment --comment \"ns/service-{number}:http\" -m tcp --dport 80 -j SVC-{number}\n\
             -A SVC-{number} -p tcp -m tcp -j DNAT --to-destination 10.{high}.{low}.2:8080\n"
        );
    }
    text + "COMMIT\n"
}

mod readers {
    use super::*;

    #[divan::bench(args = [1_000, 20_000])]
    fn iptables_save(bencher: Bencher, rules: usize) {
        let text = large(rules);
        let bench = bencher.counter(ItemsCount::new(rules));
        bench.bench(|| parse(&text, Family::V4, "bench").expect("it is readable"));
    }

    #[divan::bench]
    fn restore_file_of_istio(bencher: Bencher) {
        let bench = bencher.counter(ItemsCount::new(18_usize));
        bench.bench(|| read(ISTIO, "bench", Family::V4).expect("it is readable"));
    }

    #[divan::bench]
    fn listing_of_istio(bencher: Bencher) {
        let text = list_verbose(&istio(), Table::Nat);
        let bench = bencher.counter(ItemsCount::new(18_usize));
        bench.bench(|| read(&text, "bench", Family::V4).expect("it is readable"));
    }
}

mod writers {
    use super::*;

    #[divan::bench]
    fn iptables_save(bencher: Bencher) {
        let set = istio();
        let bench = bencher.counter(ItemsCount::new(18_usize));
        bench.bench(|| to_save(&set));
    }

    #[divan::bench]
    fn json(bencher: Bencher) {
        let set = istio();
        let bench = bencher.counter(ItemsCount::new(18_usize));
        bench.bench(|| to_json(&set));
    }
}

mod model {
    use super::*;

    /// Every packet the constants of Istio's rules tell apart, through nat at its hook.
    #[divan::bench]
    fn one_table(bencher: Bencher) {
        let set = istio();
        let [pod, other] = ["10.244.1.20", "10.244.2.9"].map(|it| it.parse().expect("an address"));
        let packets = interesting_packets(&set, Table::Nat, PodAddresses { pod, other });
        let packets: Vec<(Hook, Packet)> = packets.expect("they are few");
        let bench = bencher.counter(ItemsCount::new(packets.len()));
        bench.bench(|| {
            let walks = packets.iter();
            walks
                .map(|(hook, packet)| evaluate(&set, Table::Nat, *hook, packet).tried.len())
                .sum::<usize>()
        });
    }

    /// A client's first packet from PREROUTING to the proxy's socket.
    #[divan::bench]
    fn the_whole_way(bencher: Bencher) {
        let set = istio();
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let pod = at("10.244.1.20:9080");
        let packet = Packet::tcp(at("10.244.2.9:40000"), pod).coming_in("eth0");
        let host = Host::new("eth0", pod.ip());
        let bench = bencher.counter(ItemsCount::new(1_usize));
        bench.bench(|| journey(&set, &host, packet.clone()));
    }

    #[divan::bench]
    fn a_packet_in_words(bencher: Bencher) {
        let given = Given::default();
        let text = "uid=1337 out=lo dst=10.244.1.20:9080";
        let bench = bencher.counter(ItemsCount::new(1_usize));
        bench.bench(|| question(divan::black_box(text), "packet", &given).expect("it is one"));
    }
}

mod lints {
    use super::*;

    #[divan::bench]
    fn istio_in_one_family(bencher: Bencher) {
        let sets = [istio()];
        let bench = bencher.counter(ItemsCount::new(18_usize));
        bench.bench(|| lint::lint(&sets, Proxy::ISTIO));
    }
}
