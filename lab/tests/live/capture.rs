//! `hoplab capture`: what its file says is what happened.

use std::{collections::BTreeMap, fs, io::Read as _, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pcap_file::pcapng::{
    Block, PcapNgReader,
    blocks::{
        enhanced_packet::EnhancedPacketOption, interface_description::InterfaceDescriptionOption,
        interface_statistics::InterfaceStatisticsOption,
    },
};
use rstest::rstest;

use super::{
    command::{Ended, Running, runtime::Runtime},
    small,
};

/// A packet as the file has it.
#[derive(Debug)]
struct Packet {
    interface: String,
    comment: String,
    flags: Option<u32>,
    /// Of TCP: destination port and flags.
    tcp: Option<(u16, u8)>,
}

/// What a file says: its packets, and of each interface what the kernel saw and what was written.
fn read(bytes: &[u8]) -> (Vec<Packet>, BTreeMap<String, (u64, u64)>) {
    let mut reader = PcapNgReader::new(bytes).expect("it begins as a pcapng file");
    let (mut names, mut packets, mut counted) = (Vec::new(), Vec::new(), BTreeMap::new());
    while let Some(block) = reader.next_block() {
        match block.expect("a whole block") {
            Block::InterfaceDescription(it) => {
                let name = it.options.iter().find_map(|it| match it {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                });
                names.push(name.expect("it has a name"));
            }
            Block::EnhancedPacket(it) => {
                let comment = it.options.iter().find_map(|it| match it {
                    EnhancedPacketOption::Comment(text) => Some(text.to_string()),
                    _ => None,
                });
                let flags = it.options.iter().find_map(|it| match it {
                    EnhancedPacketOption::Flags(flags) => Some(*flags),
                    _ => None,
                });
                // Ethernet, IPv4 without options, TCP.
                let ip = it.data.get(14..).filter(|ip| ip[0] == 0x45 && ip[9] == 6);
                let tcp = ip.map(|ip| (u16::from_be_bytes([ip[22], ip[23]]), ip[33]));
                packets.push(Packet {
                    interface: names[it.interface_id as usize].clone(),
                    comment: comment.expect("each packet has one"),
                    flags,
                    tcp,
                });
            }
            Block::InterfaceStatistics(it) => {
                let (mut seen, mut written) = (0, 0);
                for option in &it.options {
                    match option {
                        InterfaceStatisticsOption::IsbIfRecv(count) => seen = *count,
                        InterfaceStatisticsOption::IsbUsrDeliv(count) => written = *count,
                        _ => {}
                    }
                }
                counted.insert(names[it.interface_id as usize].clone(), (seen, written));
            }
            other => panic!("{other:?}"),
        }
    }
    (packets, counted)
}

impl Packet {
    /// The first packet of a connection to this port, as this interface saw it.
    fn opens(&self, interface: &str, port: u16) -> bool {
        self.interface == interface && self.tcp == Some((port, 0x02))
    }
}

const CALL: [&str; 6] = [
    "exec",
    "caller",
    "--",
    "curl",
    "-4sf",
    "http://called:9080/",
];

/// A capture that has begun.
fn capturing(runtime: &Runtime, flags: &[&str]) -> Running {
    let mut running = Running::start(&mut runtime.hoplab(&[&["capture"], flags].concat()));
    running.says("capturing ");
    running
}

fn stopped(running: Running) -> Ended {
    kill(Pid::from_raw(running.pid()), Signal::SIGINT).expect("it runs");
    running.ended()
}

#[rstest]
fn a_syn_is_in_the_file_before_and_after_its_redirect_with_the_rules_it_met(
    #[values("nft", "legacy")] backend: &str,
) {
    let runtime = Runtime::new();
    let file = runtime.file("small.toml", super::SMALL);
    runtime.output(&["up", &file, "--backend", backend]);
    let path = runtime.labs().with_extension("pcapng");
    let path = path.to_str().expect("it is text");
    let capture = capturing(&runtime, &["-w", path]);
    runtime.output(&CALL);
    // The app calls out, and is turned to its proxy, on loopback.
    let out = ["exec", "called", "--", "curl", "-4s", "http://caller:9080/"];
    runtime.output(&out);
    let ended = stopped(capture);
    ended.failed_with(0, &[" of 4 interfaces", "; 0 dropped for want of room"]);
    let (packets, counted) = read(&fs::read(path).expect("it was written"));
    // The only first packet to a port that an interface carried in a direction: 1 is in, 2 is out.
    let comment = |interface: &str, port: u16, flags: Option<u32>| {
        let mut found = packets
            .iter()
            .filter(|it| it.opens(interface, port) && it.flags == flags);
        let (packet, more) = (found.next(), found.next());
        let packet = packet.unwrap_or_else(|| panic!("{interface} {port}: {packets:#?}"));
        assert!(more.is_none(), "{more:?}");
        packet.comment.clone()
    };
    // From the caller's side, a pod without rules.
    let text = comment("caller/eth0", 9080, Some(2));
    assert_eq!(text, "pod caller\nno rule matched");
    // Before PREROUTING; what REDIRECT made of it is in the comment, no interface carries that.
    let text = comment("called/eth0", 9080, Some(1));
    for part in [
        "pod called\nPREROUTING ip nat PREROUTING 1: -p tcp -j ISTIO_INBOUND\n",
        "\nPREROUTING ip nat ISTIO_INBOUND 5: -p tcp -j ISTIO_IN_REDIRECT\n",
        "\nPREROUTING ip nat ISTIO_IN_REDIRECT 1: -p tcp -j REDIRECT --to-ports 15006\n",
        "\n  destination 10.77.0.11:9080 → 10.77.0.11:15006",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    // After OUTPUT turned it: on lo, to the proxy.
    let text = comment("called/lo", 15001, None);
    for part in [
        "\nOUTPUT ip nat ISTIO_REDIRECT 1: -p tcp -j REDIRECT --to-ports 15001\n",
        "\n  destination 10.77.0.10:9080 → 127.0.0.1:15001",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    // Later packets meet no rule of nat, and nothing is said of them.
    let mut acks = packets
        .iter()
        .filter(|it| it.tcp.is_some_and(|(_, flags)| flags == 0x10));
    assert!(acks.all(|it| !it.comment.contains('\n')));
    let lines = |name: &str| packets.iter().filter(|it| it.interface == name).count() as u64;
    for (name, (seen, written)) in counted {
        assert_eq!(written, lines(&name), "{name}");
        assert!(seen >= written, "{name}");
    }
    runtime.down("small");
}

#[test]
fn a_capture_to_standard_output_ends_by_itself_after_a_count() {
    let runtime = Runtime::new();
    small(&runtime);
    let mut command =
        runtime.hoplab(&["capture", "called", "-w", "-", "--count", "3", "--no-rules"]);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdout = child.stdout.take().expect("it is piped");
    // The interfaces come before any packet: then it listens.
    let mut beginning = [0; 28];
    stdout.read_exact(&mut beginning).expect("it writes");
    runtime.output(&CALL);
    let mut bytes = beginning.to_vec();
    stdout.read_to_end(&mut bytes).expect("it ends");
    assert!(child.wait().expect("it ends").success());
    let (packets, _) = read(&bytes);
    assert_eq!(packets.len(), 3);
    assert!(
        packets.iter().all(|it| it.comment == "pod called"),
        "{packets:#?}"
    );
    runtime.down("small");
}

#[test]
fn a_capture_that_saw_too_little_says_so() {
    let runtime = Runtime::new();
    small(&runtime);
    let flags = [
        "capture",
        "-w",
        "/dev/null",
        "--count",
        "9",
        "--for",
        "10ms",
    ];
    let words = ["incomplete: 0 packets seen, of 9"];
    runtime.done(&flags).failed_with(5, &words);
    runtime.down("small");
}

#[test]
fn a_capture_ends_with_its_lab_and_its_file_is_whole() {
    let runtime = Runtime::new();
    small(&runtime);
    let path = runtime.labs().with_extension("pcapng");
    let capture = capturing(&runtime, &["-w", path.to_str().expect("it is text")]);
    runtime.output(&CALL);
    runtime.output(&["down"]);
    capture.ended().failed_with(4, &["lab `small` went down"]);
    let (packets, counted) = read(&fs::read(path).expect("it was written"));
    assert!(packets.iter().any(|it| it.opens("called/eth0", 9080)));
    assert_eq!(counted.len(), 4);
    runtime.assert_empty();
}

#[rstest]
#[case::pod(&["caled", "-w", "/nonexistent/x"], 2, "has no pod `caled`")]
#[case::file(&["-w", "/nonexistent/x"], 2, "could not write /nonexistent/x")]
#[case::lab(&["--lab", "smal", "-w", "/nonexistent/x"], 4, "did you mean `small`?")]
fn what_is_not_there_is_named(#[case] flags: &[&str], #[case] code: i32, #[case] words: &str) {
    let runtime = Runtime::new();
    small(&runtime);
    let args = [&["capture"], flags].concat();
    runtime.done(&args).failed_with(code, &[words]);
    runtime.down("small");
}
