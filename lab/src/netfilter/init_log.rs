//! The log that istio-init would have written: environment, variables, commands.

use std::{fmt::Write as _, time::SystemTime};

use crate::plan::RuleTexts;

/// Lines with a time in front, as Istio logs.
#[derive(Default)]
pub(super) struct Log {
    pub text: String,
}

impl Log {
    pub fn line(&mut self, message: &str) {
        let _ = writeln!(
            self.text,
            "{}\tinfo\t{message}",
            timestamp(SystemTime::now())
        );
    }

    /// istio-init prints the variables it was given; the lab's pods are given none.
    pub fn environment(&mut self) {
        const NAMES: &[&str] = &[
            "ENVOY_PORT",
            "INBOUND_CAPTURE_PORT",
            "ISTIO_INBOUND_INTERCEPTION_MODE",
            "ISTIO_INBOUND_TPROXY_ROUTE_TABLE",
            "ISTIO_INBOUND_PORTS",
            "ISTIO_OUTBOUND_PORTS",
            "ISTIO_LOCAL_EXCLUDE_PORTS",
            "ISTIO_EXCLUDE_INTERFACES",
            "ISTIO_SERVICE_CIDR",
            "ISTIO_SERVICE_EXCLUDE_CIDR",
            "ISTIO_META_DNS_CAPTURE",
            "INVALID_DROP",
        ];
        let lines: String = NAMES.iter().map(|n| format!("{n}=\n")).collect();
        self.line(&format!("Istio iptables environment:\n{lines}"));
    }

    /// A rules file of a person's own was not made from variables, nor are the rules of ambient mode, and the log doesn't
    /// pretend so.
    pub fn variables(&mut self, texts: &RuleTexts) {
        let Some(known) = &texts.variables else {
            self.line("Istio iptables variables: none, the rules were not made from any\n");
            return;
        };
        let lines: String = known
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        self.line(&format!("Istio iptables variables:\n{lines}"));
    }
}

/// RFC 3339 in UTC with microseconds, as Istio logs it.
pub(crate) fn timestamp(at: SystemTime) -> String {
    let now = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (seconds, micros) = (now.as_secs(), now.subsec_micros());
    let (year, month, day) = civil(seconds / 86_400);
    let rest = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micros:06}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Days since 1970-01-01 to year, month, day.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_103), (2022, 4, 21));
        assert_eq!(civil(11_016), (2000, 2, 29));
    }
}
