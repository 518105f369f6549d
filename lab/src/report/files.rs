//! A run as files: verdicts and logs, for people and as CI artifacts.

use std::{fs, io, path::Path};

use super::text::Run;
use super::{Detail, counters, summary};

/// Writes a run below `dir`, which is made if need be, beside its evidence file:
/// `verdicts.json`, `report.txt`, `counters.txt`, `connections.ndjson`, and per pod and process
/// `istio-init/POD.log` and `stderr/PROCESS.log`.
///
/// # Errors
/// The first file that can't be written.
pub fn write_run(dir: &Path, run: &Run) -> io::Result<()> {
    fs::create_dir_all(dir.join("istio-init"))?;
    fs::create_dir_all(dir.join("stderr"))?;
    fs::write(dir.join("verdicts.json"), json(run.judgement)?)?;
    fs::write(
        dir.join("report.txt"),
        plain(&summary(run, Detail::Verbose)),
    )?;
    fs::write(dir.join("counters.txt"), plain(&counters(run.evidence)))?;
    let mut connections = Vec::new();
    for record in run.evidence.windows.iter().flat_map(|w| &w.records) {
        serde_json::to_writer(&mut connections, record)?;
        connections.push(b'\n');
    }
    fs::write(dir.join("connections.ndjson"), connections)?;
    for pod in &run.evidence.up.pods {
        if let Some(log) = &pod.istio_init {
            fs::write(
                dir.join("istio-init").join(format!("{}.log", pod.name)),
                log,
            )?;
        }
    }
    for (process, lines) in run.down.iter().flat_map(|d| &d.stderr) {
        let file = format!("{}.log", process.replace(' ', "-"));
        fs::write(dir.join("stderr").join(file), lines.join("\n") + "\n")?;
    }
    Ok(())
}

fn json(value: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}
