//! What is said of a packet in a capture. Pure.

use crate::traced::{ChangedField, RuleTexts, Step, TracedPacket};

/// Longest comment in bytes; the file format has room for 65,535.
const LONGEST: usize = 16_384;

/// One line for each rule that a packet matched and each address that was changed, in the order it met them.
pub(super) fn of_way(packet: &TracedPacket, texts: &RuleTexts) -> Vec<String> {
    let changes = packet.changes();
    let mut lines = Vec::new();
    for (number, station) in packet.stations.iter().enumerate() {
        for change in changes.iter().filter(|it| it.station == number) {
            let field = match change.field {
                ChangedField::Source => "source",
                ChangedField::Destination => "destination",
                ChangedField::Mark => "mark",
                // A router's, and no rule's.
                ChangedField::HopsLeft => continue,
            };
            lines.push(format!("  {field} {} → {}", change.before, change.after));
        }
        for step in &station.steps {
            match step {
                Step::Rule { place, verdict, .. } => {
                    let rule = texts.of(place).map(str::to_owned);
                    let rule = rule.unwrap_or_else(|| verdict.to_string());
                    lines.push(format!("{} {place}: {rule}", station.hook));
                }
                Step::Policy { .. } if step.drops() => {
                    lines.push(format!("{} {step}", station.hook));
                }
                Step::Policy { .. } | Step::End { .. } => {}
            }
        }
    }
    if lines.is_empty() {
        lines.push("no rule matched".to_owned());
    }
    let doubts = packet.doubts.iter().map(|it| format!("uncertain: {it}"));
    lines.extend(doubts);
    lines
}

/// The comment of a packet in a pod; `way` only where its rules are known.
pub(super) fn text(pod: &str, way: Option<&[String]>) -> String {
    let mut text = format!("pod {pod}");
    for line in way.into_iter().flatten() {
        if text.len() + line.len() > LONGEST {
            text += "\n…";
            break;
        }
        text.push('\n');
        text += line;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_whose_rules_are_not_known_has_its_pod_only() {
        assert_eq!(text("reviews-v1", None), "pod reviews-v1");
        let way = ["no rule matched".to_owned()];
        assert_eq!(text("a", Some(&way)), "pod a\nno rule matched");
    }

    #[test]
    fn a_comment_fits_its_place_in_the_file() {
        let way = vec!["x".repeat(1000); 100];
        let text = text("a", Some(&way));
        assert!(
            text.len() <= LONGEST + 4 && text.ends_with("\n…"),
            "{}",
            text.len()
        );
    }
}
