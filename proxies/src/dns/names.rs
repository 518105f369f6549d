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
