//! A terminal with a person at it: what is on the screen, what is typed, how large it is.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    num::NonZero,
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{Winsize, openpty},
    sys::termios::{self, LocalFlags},
    unistd::setsid,
};

use super::{DEADLINE, wait_for};

/// A program on a terminal of its own.
pub struct Terminal {
    master: File,
    /// The program's side, kept so that what it set can be asked when it has ended.
    slave: File,
    child: Child,
    screen: vt100::Parser,
    /// All that was written to it.
    pub written: Vec<u8>,
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn lines(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a window has a size")
}

impl Terminal {
    pub fn start(command: &mut Command, rows: u16, columns: u16) -> Self {
        let pty = openpty(Some(&size(rows, columns)), None).expect("there are terminals left");
        let slave = File::from(pty.slave);
        let end = || slave.try_clone().expect("there are descriptors left");
        let command = command.stdin(end()).stdout(end()).stderr(end());
        command
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/bash");
        // SAFETY: the closure makes system calls only.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().expect("it starts");
        Self {
            master: pty.master.into(),
            slave,
            child,
            screen: vt100::Parser::new(lines(rows), lines(columns), 0),
            written: Vec::new(),
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("it is open");
    }

    /// Gives the window another size, of which the kernel tells the program.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.screen
            .screen_mut()
            .set_size(lines(rows), lines(columns));
        let size = size(rows, columns);
        // SAFETY: the kernel reads the size, which lives longer than the call.
        let set = unsafe {
            libc::ioctl(
                std::os::fd::AsRawFd::as_raw_fd(&self.master),
                libc::TIOCSWINSZ,
                &raw const size,
            )
        };
        assert_eq!(set, 0);
    }

    /// The screen as text.
    pub fn screen(&self) -> String {
        self.screen.screen().contents()
    }

    /// Waits until the screen has all of these.
    #[track_caller]
    pub fn shows(&mut self, parts: &[&str]) {
        let deadline = Instant::now() + DEADLINE;
        while !parts.iter().all(|part| self.screen().contains(part)) {
            let in_time = self.read(deadline);
            assert!(in_time, "wanted {parts:?} on\n{}", self.screen());
        }
    }

    /// Reads what was written; false at the deadline, and when nobody can write any more.
    fn read(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).expect("it is short");
        let mut polled = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, timeout) != Ok(1) {
            return false;
        }
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            Ok(count) => {
                self.screen.process(&bytes[..count]);
                self.written.extend(&bytes[..count]);
                count > 0
            }
            Err(error) => error.kind() == ErrorKind::Interrupted,
        }
    }

    /// Waits for the program's end, and reads the rest of what it wrote.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let status = wait_for("the end of the program", || {
            // One that writes is not to be held up by a full terminal.
            while self.read(Instant::now()) {}
            self.child.try_wait().expect("it is a child of ours")
        });
        while self.read(Instant::now() + Duration::from_millis(1)) {}
        status
    }

    /// Whether the terminal shows what is typed, takes lines, and turns Ctrl-C into a signal, as shells want it.
    pub fn is_as_shells_want_it(&self) -> bool {
        let wanted = LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG;
        let now = termios::tcgetattr(&self.slave).expect("it is a terminal");
        now.local_flags.contains(wanted)
    }
}

impl Drop for Terminal {
    /// A test that fails leaves nobody behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
