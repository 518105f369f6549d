fn main() {
    hoplab::entry::dispatch();
    let mut lab = match hoplab::Lab::from_file("bookinfo") { Ok(l) => l, Err(e) => { eprintln!("{e}"); return; } };
    eprintln!("{:?}", lab.machine());
    eprintln!("up {} us", lab.came_up().took_us);
    let flows: Vec<_> = lab.file().topology.flows.clone();
    for f in flows {
        match lab.drive_flow(&f) {
            Ok(w) => { eprintln!("{} {:?} {:?} {} records {} us", w.flow, w.quiet, w.outcome, w.records.len(), w.took_us);
              for (p, c) in &w.counters { let d = c.after.since(&c.before).unwrap(); for (r, n) in d.moved() { eprintln!("   {p} {r} {n:?}"); } } }
            Err(e) => eprintln!("{e}"),
        }
    }
    eprintln!("{:?}", lab.down());
}
