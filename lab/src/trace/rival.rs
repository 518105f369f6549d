//! Who reads an nflog group, for the complaint that somebody does.

use std::fs;

/// The program that reads a group of the namespace the calling thread is in, with its process; none when it can't be
/// seen from here.
pub(super) fn reader_of(group: u16) -> Option<String> {
    let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).ok();
    let port = port_of(&read("netfilter/nfnetlink_log")?, group)?;
    let inode = inode_of(&read("netlink")?, port)?;
    let pid = holder_of(&format!("socket:[{inode}]"))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{}, process {pid}", name.trim_end()))
}

/// Netlink port of the reader of a group. The columns are group, port, and more.
fn port_of(listing: &str, group: u16) -> Option<u32> {
    let mut rows = listing.lines().map(str::split_whitespace);
    rows.find_map(|mut row| {
        let its_group: u16 = row.next()?.parse().ok()?;
        let port = row.next()?.parse().ok()?;
        (its_group == group).then_some(port)
    })
}

/// Inode of the netfilter socket with this port. The columns are address, protocol, port, six more, inode.
fn inode_of(listing: &str, port: u32) -> Option<u64> {
    const NETFILTER: u32 = 12;
    let mut rows = listing.lines().skip(1).map(str::split_whitespace);
    rows.find_map(|mut row| {
        let protocol: u32 = row.nth(1)?.parse().ok()?;
        let its_port: u32 = row.next()?.parse().ok()?;
        let inode = row.next_back()?.parse().ok()?;
        (protocol == NETFILTER && its_port == port).then_some(inode)
    })
}

/// The process that has a file open.
fn holder_of(link: &str) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut ids = processes.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    ids.find(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| fs::read_link(file.path()).is_ok_and(|it| it.as_os_str() == link))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_of_a_group_is_found_by_its_port_and_its_socket() {
        let groups =
            "26727   4711     0 2   128    100  1\n    0 4294967293     0 2   128    100  1\n";
        assert_eq!(port_of(groups, 0), Some(4_294_967_293));
        assert_eq!(port_of(groups, 26_727), Some(4711));
        assert_eq!(port_of(groups, 5), None);
        let sockets = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
            0000000000000000 0   4294967293 00000000 0        0        0     2        0        11\n\
            0000000000000000 12  4294967293 00000000 0        0        0     2        0        12\n";
        assert_eq!(inode_of(sockets, 4_294_967_293), Some(12));
    }
}
