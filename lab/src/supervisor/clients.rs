//! Commands that come to a kept lab later. One has its turn at a time, the others wait; who is gone frees it.
//!
//! The turn is over when the command has closed its socket and its last request is dealt with: so the queue never
//! holds requests of two commands, and a wait inside a request can't swallow another's.

use std::{
    io::{self, BufRead, BufReader},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use super::Event;
use crate::{
    failure::{Class, Failure},
    sandbox::{
        protocol::{Greeting, Message, Request},
        say,
    },
};

/// A request, and whom to answer.
pub(crate) struct Asked {
    pub request: Request,
    pub client: UnixStream,
    /// To be dropped when the request has been answered: it tells whoever waits for that.
    pub dealt_with: Sender<()>,
}

impl Asked {
    /// A request, and what hangs up when it has been dealt with.
    pub fn new(request: Request, client: &UnixStream) -> io::Result<(Self, Receiver<()>)> {
        let (dealt_with, end) = mpsc::channel();
        let asked = Self {
            request,
            client: client.try_clone()?,
            dealt_with,
        };
        Ok((asked, end))
    }
}

/// Takes in every command that comes, for as long as the lab lives.
pub(super) fn attend(listener: &UnixListener, events: &Sender<Event>) {
    let turn = Arc::new(Mutex::new(()));
    for client in listener.incoming() {
        let client = match client {
            Ok(client) => client,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                tracing::error!(%error, "no more commands can come to this lab");
                return;
            }
        };
        let (turn, events) = (Arc::clone(&turn), events.clone());
        let thread = thread::Builder::new().name("client".into());
        // What can't be attended to is closed, which its end is told.
        let _ = thread.spawn(move || {
            // An error is a command that is gone.
            let _ = one(client, &turn, &events);
        });
    }
}

fn one(client: UnixStream, turn: &Mutex<()>, events: &Sender<Event>) -> io::Result<()> {
    let mut writer = client.try_clone()?;
    let mut tell = |greeting| say(&mut writer, &greeting).map_err(|_| gone());
    let _turn = match turn.try_lock() {
        Ok(turn) => turn,
        Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
        Err(TryLockError::WouldBlock) => {
            tell(Greeting::Waiting)?;
            turn.lock().unwrap_or_else(PoisonError::into_inner)
        }
    };
    tell(Greeting::Turn)?;
    let mut last = None;
    for line in BufReader::new(&client).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(request) => {
                let (asked, end) = Asked::new(request, &client)?;
                last = Some(end);
                let _ = events.send(Event::Request(Box::new(asked)));
            }
            Err(error) => {
                let failure = Failure::new(Class::State, "the lab can't read the request")
                    .cause(error.to_string())
                    .hint("it was started by another version of hoplab: take it down and up again");
                say(&mut &client, &Message::Failed(failure)).map_err(|_| gone())?;
            }
        }
    }
    let _ = events.send(Event::Left);
    // Nothing is ever sent: this waits until the request is dropped.
    let _ = last.map(|end| end.recv());
    Ok(())
}

fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}
