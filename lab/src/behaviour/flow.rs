//! A flow: who sends what from where to whom.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::rules::{Family, Protocol};

/// One connection that is opened, or the first datagram of a UDP flow.
///
/// `Display` is the words `hoplab predict` takes for a packet, with every address said:
/// `tcp uid=1337 gid=1337 src=192.0.2.2 dst=192.0.2.2:9080`. That is its JSON form, too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Flow {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who sends it.
    pub origin: Origin,
    /// The source address.
    pub source: IpAddr,
    /// The source port, where rules name it or one beside; else it is any that they do not.
    pub source_port: Option<u16>,
    /// Instead of a segment that opens a connection one that belongs to none, a reset: conntrack calls it INVALID, from
    /// the start to the end (`tcp_new` in net/netfilter/nf_conntrack_proto_tcp.c).
    pub stray: bool,
    /// The interface it leaves by, where that is another than the pod's own: who it goes to is behind it.
    pub leaves: Option<String>,
    /// The destination, as the sender gives it.
    pub to: SocketAddr,
}

/// Who sends a flow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// Another machine; it comes in by this interface.
    Outside {
        /// The interface: `eth0`.
        interface: String,
    },
    /// A process of the pod.
    Pod {
        /// User that made the socket.
        uid: u32,
        /// Group that made the socket.
        gid: u32,
        /// Mark of the socket; 0 for none.
        mark: u32,
    },
}

impl Flow {
    /// Address family.
    pub fn family(&self) -> Family {
        Family::of(self.to.ip())
    }

    /// True when a process of the pod sends it.
    pub fn is_sent_by_pod(&self) -> bool {
        matches!(self.origin, Origin::Pod { .. })
    }
}

impl TryFrom<String> for Flow {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Flow> for String {
    fn from(flow: Flow) -> Self {
        flow.to_string()
    }
}

impl FromStr for Flow {
    type Err = String;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(' ');
        let protocol = match words.next() {
            Some("tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            other => return Err(format!("`{}` is not tcp or udp", other.unwrap_or_default())),
        };
        let (mut interface, mut ids, mut mark, mut leaves) = (None, [None; 2], 0, None);
        let (mut source, mut to, mut stray) = (None, None, false);
        let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is no number"));
        for word in words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("`{word}` has no `=`"))?;
            match key {
                "in" => interface = Some(value.to_owned()),
                "out" => leaves = Some(value.to_owned()),
                "uid" => ids[0] = Some(number(value)?),
                "gid" => ids[1] = Some(number(value)?),
                "mark" => {
                    let hex = value
                        .strip_prefix("0x")
                        .and_then(|it| u32::from_str_radix(it, 16).ok());
                    mark = hex.ok_or_else(|| format!("`{value}` is no mark"))?;
                }
                "src" => {
                    let with_port = value
                        .parse()
                        .map(|it: SocketAddr| (it.ip(), Some(it.port())));
                    let alone = || value.parse().map(|it| (it, None));
                    let read = with_port.or_else(|_| alone());
                    source = Some(read.map_err(|_| format!("`{value}` is no address"))?);
                }
                "state" if value == "INVALID" => stray = true,
                "dst" => {
                    to = Some(
                        value
                            .parse()
                            .map_err(|_| format!("`{value}` is no address with a port"))?,
                    )
                }
                _ => return Err(format!("`{key}` is no word of a flow")),
            }
        }
        let origin = match (interface, ids) {
            (Some(interface), [None, None]) => Origin::Outside { interface },
            (None, [Some(uid), Some(gid)]) => Origin::Pod { uid, gid, mark },
            _ => return Err("it needs either `in=`, or `uid=` and `gid=`".to_owned()),
        };
        match (source, to) {
            (Some((source, source_port)), Some(to)) => Ok(Self {
                protocol,
                origin,
                source,
                source_port,
                stray,
                leaves,
                to,
            }),
            _ => Err("it needs `src=` and `dst=`".to_owned()),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            origin,
            source,
            source_port,
            stray,
            leaves,
            to,
        } = self;
        match origin {
            Origin::Outside { interface } => write!(f, "{protocol} in={interface}")?,
            Origin::Pod { uid, gid, mark } => {
                write!(f, "{protocol} uid={uid} gid={gid}")?;
                if *mark != 0 {
                    write!(f, " mark={mark:#x}")?;
                }
            }
        }
        if let Some(interface) = leaves {
            write!(f, " out={interface}")?;
        }
        match source_port {
            Some(port) => write!(f, " src={}", SocketAddr::new(*source, *port))?,
            None => write!(f, " src={source}")?,
        }
        write!(f, " dst={to}")?;
        f.write_str(if *stray { " state=INVALID" } else { "" })
    }
}
