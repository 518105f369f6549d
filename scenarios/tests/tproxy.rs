//! TPROXY with Istio's rules in real pods: whom the app sees, what the kernel says of the sockets between, and what
//! the proxy does when the rules lead it back to itself.

use std::net::{IpAddr, SocketAddr};

use hoplab::{
    Families,
    evidence::Window,
    istio::{Config, Release, Settings},
};
use hoplab_proxies::{
    record::{CloseOutcome, ConnectResult, Event, OriginalDst, Record, Role},
    wire::CallOutcome,
};
use hoplab_scenarios::{Backend, Family, Lab, LabFile, Options, bookinfo_file, up};
use rstest::rstest;

const MARK: u32 = 1337;

/// What injection sets, in TPROXY mode.
fn settings() -> Settings {
    Settings {
        inbound_interception_mode: "TPROXY".into(),
        inbound_ports_include: "*".into(),
        inbound_ports_exclude: "15090,15021,15020".into(),
        outbound_ip_ranges_include: "*".into(),
        ..Settings::default()
    }
}

fn tproxy(file: LabFile, family: Family) -> LabFile {
    let host = file.host(Families::from(family));
    let settings = settings();
    let config = Config::new(&settings, &host, &mut Vec::new()).expect("plain settings");
    file.configured(&settings, &config, Release::default())
}

fn drive(file: LabFile, backend: Backend, family: Family, flow: &str) -> Window {
    let options = Options {
        backend: hoplab::netfilter::BackendChoice::Fixed(backend),
        families: family.into(),
        ..Options::default()
    };
    let mut lab: Lab = up(file, options);
    lab.drive(flow).expect("the flow runs")
}

fn of<'a>(window: &'a Window, pod: &str, role: Role) -> impl Iterator<Item = &'a Record> {
    let records = window.records.iter();
    records.filter(move |it| it.pod == pod && it.role == role)
}

/// Peer, local end and original destination of the first connection a process accepted.
fn accepted(window: &Window, pod: &str, role: Role) -> (SocketAddr, SocketAddr, OriginalDst) {
    let accept = |record: &Record| match &record.event {
        Event::Accept {
            peer,
            local,
            original_dst,
            ..
        } => Some((*peer, *local, original_dst.clone())),
        _ => None,
    };
    of(window, pod, role)
        .find_map(accept)
        .expect("an accepted connection")
}

/// Local end, bound address and mark of the first connection a process opened.
fn opened(window: &Window, pod: &str, role: Role) -> (SocketAddr, Option<IpAddr>, u32) {
    let open = |record: &Record| match &record.event {
        Event::Connect {
            bound,
            mark,
            result: ConnectResult::Connected { local, .. },
            ..
        } => Some((*local, *bound, *mark)),
        _ => None,
    };
    of(window, pod, role)
        .find_map(open)
        .expect("an opened connection")
}

/// Evidence of the loops a pod's proxy refused.
fn refused(window: &Window, pod: &str) -> Vec<String> {
    let refused = |record: &Record| match &record.event {
        Event::Close {
            outcome: CloseOutcome::LoopRefused(evidence),
            ..
        } => Some(evidence.clone()),
        _ => None,
    };
    of(window, pod, Role::Proxy).filter_map(refused).collect()
}

#[rstest]
fn the_app_sees_its_clients_address_and_the_proxy_the_destination_the_client_chose(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
    #[values(Family::V4, Family::V6)] family: Family,
    bookinfo_file: LabFile,
) {
    let file = tproxy(bookinfo_file, family);
    let window = drive(file, backend, family, "outside-to-reviews");
    assert!(
        matches!(window.outcome, CallOutcome::Answer { status: 200, .. }),
        "{:?}",
        window.outcome
    );
    let (client, ..) = opened(&window, "client", Role::App);
    let (peer, local, original) = accepted(&window, "reviews-v1", Role::Proxy);
    assert_eq!((peer, local), (client, window.to));
    assert_eq!(original, OriginalDst::Known(window.to));
    let (upstream, bound, mark) = opened(&window, "reviews-v1", Role::Proxy);
    assert_eq!((bound, mark), (Some(client.ip()), MARK));
    assert_eq!(upstream.ip(), client.ip());
    assert_ne!(
        upstream.port(),
        client.port(),
        "conntrack knows one of a tuple"
    );
    let (peer, local, _) = accepted(&window, "reviews-v1", Role::App);
    assert_eq!((peer, local), (upstream, window.to));
}

/// Istio runs the proxy as root in this mode, and here is why: nat OUTPUT takes what user 1337 sends over lo for a call of
/// the proxy to its own pod, and redirects it to the inbound listener, the connection to the app too. (Over IPv4, where
/// the redirect leads to 127.0.0.1, answers to a client's address don't find back, and nothing arrives twice.)
#[rstest]
fn a_connection_that_rules_lead_back_to_the_proxy_is_refused_at_its_second_arrival(
    bookinfo_file: LabFile,
) {
    let mut file = tproxy(bookinfo_file, Family::V6);
    file.interception.owner = Some((1337, 1337));
    let window = drive(file, Backend::Nft, Family::V6, "outside-to-reviews");
    let (upstream, ..) = opened(&window, "reviews-v1", Role::Proxy);
    let evidence = format!(
        "peer {upstream} is this proxy's own open inbound upstream, back at its inbound listener"
    );
    assert_eq!(refused(&window, "reviews-v1"), [evidence]);
    assert_eq!(of(&window, "reviews-v1", Role::App).count(), 0);
}

#[rstest]
fn a_call_of_the_proxy_to_its_own_pod_is_served_and_a_call_of_its_listener_is_not(
    bookinfo_file: LabFile,
) {
    let options = Options {
        families: Family::V4.into(),
        ..Options::default()
    };
    let mut lab = up(tproxy(bookinfo_file, Family::V4), options);
    let own = lab.drive("proxy-to-own-ip").expect("the flow runs");
    let (caller, ..) = opened(&own, "details-v1", Role::Proxy);
    let (peer, local, _) = accepted(&own, "details-v1", Role::Proxy);
    assert_eq!((peer, local), (caller, own.to));
    assert!(matches!(
        own.outcome,
        CallOutcome::Answer { status: 200, .. }
    ));
    let direct = lab.drive("outside-to-15006").expect("the flow runs");
    let (_, local, _) = accepted(&direct, "reviews-v1", Role::Proxy);
    assert_eq!(local, direct.to);
    let evidence = format!(
        "original destination {} is this proxy's own listener",
        direct.to
    );
    assert_eq!(refused(&direct, "reviews-v1"), [evidence]);
}
