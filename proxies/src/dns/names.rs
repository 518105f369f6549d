//! The names a server knows, with their addresses. Pure.

use std::collections::HashMap;
use std::net::IpAddr;

use hickory_proto::rr::Name;
use thiserror::Error;

use crate::wire::NameRecord;

use super::message::absolute;

/// A list of names that makes no sense.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum NameError {
    #[error("DNS: not a name: {0}")]
    Malformed(String),
    #[error("DNS: {0} is listed twice; give a name all its addresses at once")]
    Twice(String),
}

/// Names and their addresses. Upper and lower case are the same.
pub(crate) struct Names(HashMap<Name, Vec<IpAddr>>);

impl Names {
    /// Takes the list and checks it.
    pub(crate) fn new(records: &[NameRecord]) -> Result<Self, NameError> {
        let mut names = HashMap::with_capacity(records.len());
        for record in records {
            let name = absolute(&record.name).map_err(NameError::Malformed)?;
            if names.insert(name, record.addresses.clone()).is_some() {
                return Err(NameError::Twice(record.name.clone()));
            }
        }
        Ok(Self(names))
    }

    /// Addresses of a name, of both families; nothing if it is not known.
    pub(crate) fn find(&self, name: &Name) -> Option<&[IpAddr]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(names: &[&str]) -> String {
        let record = |name: &&str| NameRecord {
            name: (*name).to_owned(),
            addresses: Vec::new(),
        };
        let records: Vec<NameRecord> = names.iter().map(record).collect();
        Names::new(&records).err().expect("refused").to_string()
    }

    #[test]
    fn a_name_listed_twice_is_refused_however_it_is_written() {
        assert_eq!(
            refused(&["example.org", "Example.ORG."]),
            "DNS: Example.ORG. is listed twice; give a name all its addresses at once"
        );
    }

    #[test]
    fn what_is_no_name_is_refused_by_what_it_is() {
        let long = "a".repeat(64);
        assert!(refused(&[&long]).starts_with(&format!("DNS: not a name: {long:?}: ")));
        assert_eq!(
            refused(&["."]),
            r#"DNS: not a name: ".": a name has at least one label"#
        );
    }
}
