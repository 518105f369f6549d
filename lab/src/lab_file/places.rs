//! Where flows stand in the text of a lab file.

use serde::Deserialize;
use toml::Spanned;

use super::LabFile;

/// What matters of the text here; `LabFile::parse` has looked at all of it.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    flow: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: Spanned<String>,
}

impl LabFile {
    /// The line, from 1, that names a flow.
    pub fn line_of(&self, flow: &str) -> Option<usize> {
        let places: Places = toml::from_str(&self.text).ok()?;
        let found = places.flow.iter().find(|it| it.name.get_ref() == flow)?;
        let before = self.text.get(..found.name.span().start)?;
        Some(before.matches('\n').count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_found_where_its_name_stands() {
        let bookinfo = LabFile::open("bookinfo").expect("the lab is in the binary");
        let flow = &bookinfo.topology.flows[3].name;
        let line = bookinfo.line_of(flow).expect("it is in the file");
        let text = bookinfo.text.lines().nth(line - 1);
        assert_eq!(text, Some(format!("name = \"{flow}\"").as_str()));
        assert_eq!(bookinfo.line_of("no-such-flow"), None);
    }
}
