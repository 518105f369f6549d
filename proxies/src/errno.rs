//! Names of errors as the records carry them.

use std::io;

use nix::errno::Errno;

/// Symbolic errno such as `ECONNREFUSED`; `timeout` for a deadline of our own; else the error's text.
pub(crate) fn errno_name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => format!("{:?}", Errno::from_raw(code)),
        None if error.kind() == io::ErrorKind::TimedOut => "timeout".to_owned(),
        None => error.to_string(),
    }
}

/// Whether the error means that the other end reset the connection.
///
/// EPIPE counts: a write meets it when the reset arrived earlier and its ECONNRESET went to another call.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_os_error_is_named_by_its_symbol() {
        let refused = io::Error::from(Errno::ECONNREFUSED);
        assert_eq!(errno_name(&refused), "ECONNREFUSED");
    }

    #[test]
    fn a_deadline_of_our_own_is_called_timeout() {
        assert_eq!(errno_name(&io::ErrorKind::TimedOut.into()), "timeout");
    }
}
