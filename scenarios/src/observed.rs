//! What was observed of some flows, and its verdict, to make assertions on.

use std::fmt;

use hoplab::{
    Lab, LabFile,
    evidence::{Evidence, Window},
    judge::{self, Check, Claim, Finding, Judgement, Verdict},
    netfilter::Backend,
    report::{self, Detail, Run},
    rules::{CounterSnapshot, Family, Holder},
};

/// Evidence and verdict. `Display` is the report of `hoplab run --quiet`: the verdict, and what is wrong.
pub struct Observed {
    /// The lab.
    pub file: LabFile,
    /// What was seen.
    pub evidence: Evidence,
    /// What the judge says of it.
    pub judgement: Judgement,
}

impl Observed {
    /// Sends flows in order and judges everything the lab was sent.
    pub fn of<S: AsRef<str>>(lab: &mut Lab, flows: &[S]) -> Self {
        for flow in flows {
            let sent = lab.drive(flow.as_ref());
            sent.unwrap_or_else(|failure| panic!("flow {}: {failure}", flow.as_ref()));
        }
        let evidence = lab.observed().unwrap_or_else(|failure| panic!("{failure}"));
        Self::judge(lab.file().clone(), evidence)
    }

    /// Sends every flow of the lab file.
    pub fn of_all_flows(lab: &mut Lab) -> Self {
        let flows = lab.file().topology.flows.iter();
        let names: Vec<String> = flows.map(|flow| flow.name.clone()).collect();
        Self::of(lab, &names)
    }

    /// Sends every flow of the lab file over IPv4, then over IPv6.
    pub fn of_all_flows_over_both(lab: &mut Lab) -> Self {
        Self::of_flows_over(lab, &[Family::V4, Family::V6], &[])
    }

    /// Sends every flow of the lab file, without some, over each family in turn.
    pub fn of_flows_over(lab: &mut Lab, families: &[Family], without: &[&str]) -> Self {
        let flows = lab.file().topology.flows.iter();
        let names = flows.map(|flow| flow.name.clone());
        let names: Vec<String> = names.filter(|it| !without.contains(&it.as_str())).collect();
        for family in families.iter().copied() {
            for flow in &names {
                let sent = lab.drive_over(flow, family);
                sent.unwrap_or_else(|failure| panic!("flow {flow} over {family}: {failure}"));
            }
        }
        Self::of(lab, &[] as &[&str])
    }

    /// Judges evidence that was taken earlier, or made up.
    pub fn judge(file: LabFile, evidence: Evidence) -> Self {
        let judgement = judge::judge(&file, &evidence);
        Self {
            judgement: judgement.unwrap_or_else(|failure| panic!("{failure}")),
            file,
            evidence,
        }
    }

    /// The part of the run from one flow to another, as if nothing had come before or after.
    pub fn cut(&self, first: &str, last: &str) -> Evidence {
        let mut evidence = self.evidence.clone();
        let first = self.position(first);
        evidence.windows.truncate(self.position(last) + 1);
        let before: Vec<Window> = evidence.windows.drain(..first).collect();
        for pod in &mut evidence.up.pods {
            if let Some(read) = last_counters(&before, &pod.name) {
                pod.counters = read;
            }
            let end = last_counters(&evidence.windows, &pod.name);
            let total = end.unwrap_or_else(|| pod.counters.clone());
            evidence.totals.insert(pod.name.clone(), total);
        }
        evidence
    }

    /// Judges a flow again with its window changed, together with the flows since `first`.
    pub fn changed(&self, first: &str, flow: &str, change: impl FnOnce(&mut Window)) -> Self {
        let mut evidence = self.cut(first, flow);
        change(evidence.windows.last_mut().expect("the flow's own window"));
        Self::judge(self.file.clone(), evidence)
    }

    /// As [`Self::changed`], of Bookinfo: calls through the ingress come together with those before them, by which the
    /// judge knows whose turn it is.
    pub fn changed_in_turn(&self, flow: &str, change: impl FnOnce(&mut Window)) -> Self {
        let in_turn = flow.starts_with("ingress-");
        let first = if in_turn { "ingress-reviews-v1" } else { flow };
        self.changed(first, flow, change)
    }

    fn position(&self, flow: &str) -> usize {
        let found = self.evidence.windows.iter().position(|w| w.flow == flow);
        found.unwrap_or_else(|| panic!("flow {flow} was not sent"))
    }

    /// The window of a flow.
    pub fn window(&self, flow: &str) -> &Window {
        &self.evidence.windows[self.position(flow)]
    }

    /// Fails unless the lab ran on this backend and its flows over this family.
    #[track_caller]
    pub fn ran_on(&self, backend: Backend, family: Family) -> &Self {
        assert_eq!(self.evidence.machine.backend.backend, Holder::from(backend));
        let mut families = self.evidence.windows.iter().map(|window| window.family);
        assert!(
            families.all(|it| it == family),
            "not every flow ran over {family}"
        );
        self
    }

    /// Fails unless everything holds.
    #[track_caller]
    pub fn holds(&self) -> &Self {
        self.is(Verdict::Holds)
    }

    /// Fails unless the verdict is this one.
    #[track_caller]
    pub fn is(&self, verdict: Verdict) -> &Self {
        assert!(
            self.judgement.verdict == verdict,
            "wanted the verdict {verdict}, had {}\n\n{self}",
            self.judgement.verdict
        );
        self
    }

    /// Fails unless a witness contradicts in words that hold `part`.
    #[track_caller]
    pub fn contradicted(&self, part: &str) -> &Self {
        let is = |check: &&Check| {
            matches!(
                check.finding,
                Finding::Contradicts { .. } | Finding::Disagrees { .. }
            )
        };
        self.said(part, is, "contradicts")
    }

    /// Fails unless a witness is missing in words that hold `part`.
    #[track_caller]
    pub fn missed(&self, part: &str) -> &Self {
        let is = |check: &&Check| matches!(check.finding, Finding::Missing { .. });
        self.said(part, is, "is missing")
    }

    #[track_caller]
    fn said(&self, part: &str, is: impl Fn(&&Check) -> bool, how: &str) -> &Self {
        let found = self.claims().flat_map(|claim| &claim.checks).filter(is);
        assert!(
            found
                .map(ToString::to_string)
                .any(|words| words.contains(part)),
            "no witness {how} with `{part}`\n\n{self}"
        );
        self
    }

    /// What `hoplab run` prints, without colours.
    pub fn report(&self) -> String {
        self.summary(Detail::Normal)
    }

    fn summary(&self, detail: Detail) -> String {
        let run = Run {
            topology: &self.file.topology,
            evidence: &self.evidence,
            judgement: &self.judgement,
            down: None,
            took_us: None,
        };
        let report = report::summary(&run, detail);
        anstream::adapter::strip_str(&report).to_string()
    }

    /// Claims about the flows and the run; those about the notes are not among them.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        let flows = self.judgement.flows.iter().flat_map(|flow| &flow.claims);
        flows.chain(&self.judgement.run)
    }
}

/// Counters of a pod at the end of the last window that watched it.
fn last_counters(windows: &[Window], pod: &str) -> Option<Vec<CounterSnapshot>> {
    let mut reads = windows.iter().rev().filter_map(|w| w.counters.get(pod));
    reads.next().map(|read| vec![read.after.clone()])
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary(Detail::Quiet))
    }
}
