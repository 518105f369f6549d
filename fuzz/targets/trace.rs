//! Any bytes as what the kernel says of a packet; what is read has a JSON form that reads back.
#![no_main]

use hoplab::trace::{Header, LogEvent, NftEvent};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let headers = [
        NftEvent::decode(bytes).ok().and_then(|event| event.header),
        LogEvent::decode(bytes).ok().map(|event| event.header),
        Header::from_packet(bytes).ok(),
    ];
    for header in headers.into_iter().flatten() {
        let json = serde_json::to_string(&header).expect("a JSON form");
        assert_eq!(serde_json::from_str::<Header>(&json).ok(), Some(header), "{json}");
    }
});
