//! A comparison as one JSON value.

use serde_json::json;

use super::About;
use crate::behaviour::{Comparison, Difference, Explained, Flow};

/// Everything for a program. `changed` is what the exit code says.
pub fn json(about: &About<'_>, comparison: &Comparison) -> String {
    let groups = comparison.groups.iter().map(|group| {
        let others: Vec<String> = group.others.iter().map(Flow::to_string).collect();
        let Difference { flow, a, b } = &group.shown;
        json!({
            "pattern": group.pattern,
            "flow": flow.to_string(),
            "a": side(a),
            "b": side(b),
            "others": others,
        })
    });
    let value = json!({
        "a": about.a.name,
        "b": about.b.name,
        "changed": !comparison.groups.is_empty(),
        "flows": comparison.flows,
        "kinds": about.choice.kinds,
        "asked": about.choice.asked,
        "took_us": about.took_us,
        "differences": groups.collect::<Vec<_>>(),
        "disagreements": comparison.disagreements,
        "not_told": about.spots,
        "rules": match about.text {
            true => json!(about.rules()),
            false => json!(null),
        },
    });
    format!("{value:#}\n")
}

fn side(side: &Explained) -> serde_json::Value {
    let changes: Vec<String> = side.changes.iter().map(ToString::to_string).collect();
    json!({
        "hops": side.hops,
        "changes": changes,
        "end": side.end,
        "decided": side.decided,
    })
}
