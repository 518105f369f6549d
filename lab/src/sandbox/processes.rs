//! Processes of a lab as the machine sees them.

use std::fs;

/// Every process in the PID namespace of a supervisor: its id on the machine, and its id in the lab.
pub fn processes(supervisor: i32) -> Vec<(i32, u32)> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(wanted) = namespace(supervisor) else {
        return Vec::new();
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| namespace(*pid).as_ref() == Some(&wanted))
        .filter_map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
            Some((pid, line.split_whitespace().last()?.parse().ok()?))
        })
        .collect()
}
