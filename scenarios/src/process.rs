//! Processes of a running lab as the machine sees them.

use std::fs;

use hoplab::Lab;

/// Process id on the machine of a process that has this id in the lab.
pub fn outer_pid(lab: &Lab, inner: u32) -> i32 {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(lab.pid());
    assert!(wanted.is_some(), "the lab's supervisor is gone");
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found = pids.find(|&pid| {
        let inside = status_field(pid, "NSpid");
        let last = inside
            .as_deref()
            .and_then(|ids| ids.split_whitespace().last());
        namespace(pid) == wanted && last == Some(inner.to_string().as_str())
    });
    found.unwrap_or_else(|| panic!("the lab has no process {inner}"))
}

/// A line of `/proc/PID/status` without its name; none when the process or the line is not there.
pub fn status_field(pid: i32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(name, _)| *name == field);
    values.next().map(|(_, value)| value.trim().to_string())
}
