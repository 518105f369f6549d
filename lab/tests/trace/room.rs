//! How much the kernel keeps of the trace of first packets while nobody reads.

use std::net::TcpStream;

use hoplab::{
    netfilter::Backend,
    probe::flows_at_once,
    rules::Family,
    trace::{Lost, Options, Packets, Selection, TraceWatch},
};
use rstest::rstest;

use super::{PROXY, Pair, sandbox::in_sandbox, stopped};

/// What the usual `net.core.rmem_max` gives an ordinary user; the kernel doubles it.
const ROOM: usize = 208 << 10;

impl Pair {
    fn watch_first(&self) -> TraceWatch {
        let selection = Selection {
            packets: Packets::First,
            ..Selection::default()
        };
        self.watch_with(Options {
            room: ROOM,
            ..self.options(selection)
        })
    }

    /// Calls of the proxy to its own pod: they pass four hooks, and most rules.
    fn calls(&self, many: usize) -> Vec<TcpStream> {
        let to = self.pod_at(9080);
        let call = |_| self.pod_connects(PROXY, to).expect("the proxy listens");
        (0..many).map(call).collect()
    }
}

#[rstest]
fn as_many_flows_as_are_reckoned_fit_and_far_more_do_not(
    #[values(Backend::Nft, Backend::Legacy)] backend: Backend,
) {
    in_sandbox(|| {
        let pair = Pair::with_sidecar(backend, Family::V4, "");
        let _proxy = pair.listens_at_lo(15006);
        let rules = [(Family::V4, pair.saved())].into();
        let watch = pair.watch_first();
        let flows = flows_at_once(watch.room(), &rules, Some(backend));
        let calls = pair.calls(flows);
        let packets = stopped(watch);
        assert_eq!(packets.len(), calls.len(), "first packets, and no others");
        let watch = pair.watch_first();
        let _calls = pair.calls(32 * flows);
        let (_, lost) = watch.stop().expect("the sockets work");
        assert_ne!(lost, Lost::default());
    });
}
