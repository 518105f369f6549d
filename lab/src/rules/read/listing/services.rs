//! Names a listing prints for numbers when it was made without `-n`.

use crate::rules::tcp_flags::TcpFlags;

/// Services that nearly every machine's /etc/services has, by the names glibc prints (IANA's registry).
const SERVICES: [(&str, u16); 41] = [
    ("tcpmux", 1),
    ("echo", 7),
    ("discard", 9),
    ("daytime", 13),
    ("chargen", 19),
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("time", 37),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("http", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("ntp", 123),
    ("imap2", 143),
    ("imap", 143),
    ("snmp", 161),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("submission", 587),
    ("ldaps", 636),
    ("domain-s", 853),
    ("imaps", 993),
    ("pop3s", 995),
    ("openvpn", 1194),
    ("ms-sql-s", 1433),
    ("nfs", 2049),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("sieve", 4190),
    ("amqp", 5672),
    ("http-alt", 8080),
    ("webcache", 8080),
    ("zookeeper", 2181),
];

/// A list of ports or ranges with the known names replaced by numbers; a name not known stays, and is complained
/// about where a port is read.
pub(super) fn ports(list: &str) -> String {
    let number = |name: &str| {
        let known = SERVICES.iter().find(|(known, _)| *known == name);
        known.map_or_else(|| name.to_owned(), |(_, port)| port.to_string())
    };
    let range = |part: &str| part.split(':').map(number).collect::<Vec<_>>().join(":");
    list.split(',').map(range).collect::<Vec<_>>().join(",")
}

/// TCP flags under their names; a listing with `-n` prints their bits.
pub(super) fn flags(text: &str) -> String {
    let bits = text.strip_prefix("0x");
    let bits = bits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
    let known = bits.and_then(TcpFlags::from_bits);
    known.map_or_else(|| text.to_owned(), |flags| flags.to_string())
}
