//! The evidence file of a run that goes on. It is made before anything is up, so that a place that can't be written to
//! is told at once, and never put in place of another run's.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::show::not_written;
use crate::{
    Lab, LabFile,
    evidence::{
        Down, Taken, Window,
        file::{Header, Planned, Writer},
    },
    failure::{Class, Failure},
    rules::CounterSnapshot,
};

/// Name of the file in the directory of `--out`.
pub(super) const FILE: &str = "evidence.ndjson";

/// An evidence file that is being written. Dropped before the lab is up, it is removed.
pub(super) struct Recording {
    path: PathBuf,
    /// A directory that was made for it.
    made: Option<PathBuf>,
    writer: Writer<File>,
    is_up: bool,
}

impl Recording {
    /// Begins a file in a directory, which is made if need be.
    ///
    /// # Errors
    /// The directory holds the evidence of another run, or can't be written to.
    pub fn in_directory(dir: &Path, file: &LabFile, flows: Vec<Planned>) -> Result<Self, Failure> {
        let made = (!dir.exists()).then(|| dir.to_owned());
        fs::create_dir_all(dir).map_err(|e| not_written(dir, e))?;
        match Self::begin(&dir.join(FILE), file, flows) {
            Ok(mut recording) => {
                recording.made = made;
                Ok(recording)
            }
            Err(failure) => {
                let _ = made.map(fs::remove_dir);
                Err(failure)
            }
        }
    }

    /// Begins a file.
    ///
    /// # Errors
    /// It exists, or can't be written.
    pub fn begin(path: &Path, file: &LabFile, flows: Vec<Planned>) -> Result<Self, Failure> {
        let out = File::options().append(true).create_new(true).open(path);
        let out = out.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                let what = format!("{} exists already", path.display());
                Failure::new(Class::Input, what)
                    .cause("evidence of a run is never overwritten")
                    .hint("name another place, or remove it")
            }
            _ => not_written(path, error),
        })?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let header = Header::new(now.map_or(0, |it| it.as_secs()), flows);
        let writer = Writer::begin(out, header, file).map_err(|error| {
            let _ = fs::remove_file(path);
            not_written(path, error)
        })?;
        Ok(Self {
            path: path.to_owned(),
            made: None,
            writer,
            is_up: false,
        })
    }

    /// What came up.
    ///
    /// # Errors
    /// As every other call: the file can't be written to.
    pub fn up(&mut self, lab: &Lab) -> Result<(), Failure> {
        self.is_up = true;
        self.write(|writer| writer.up(lab.machine(), lab.came_up()))
    }

    /// What was observed of a flow.
    ///
    /// # Errors
    /// The file can't be written to.
    pub fn window(&mut self, window: &Window) -> Result<(), Failure> {
        self.write(|writer| writer.window(window))
    }

    /// A step that was taken.
    ///
    /// # Errors
    /// The file can't be written to.
    pub fn step(&mut self, taken: &Taken) -> Result<(), Failure> {
        self.write(|writer| writer.step(taken))
    }

    /// Counters after the last flow.
    ///
    /// # Errors
    /// The file can't be written to.
    pub fn totals(&mut self, it: &BTreeMap<String, Vec<CounterSnapshot>>) -> Result<(), Failure> {
        self.write(|writer| writer.totals(it))
    }

    /// The end of the run.
    ///
    /// # Errors
    /// The file can't be written to.
    pub fn end(&mut self, down: Option<&Down>, took_us: u64) -> Result<(), Failure> {
        self.write(|writer| writer.end(down, took_us))
    }

    fn write(
        &mut self,
        what: impl FnOnce(&mut Writer<File>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        what(&mut self.writer).map_err(|error| {
            let said = format!("could not write to {}", self.path.display());
            Failure::new(Class::Machine, said)
                .cause(error.to_string())
                .hint("the lab is down; `hoplab judge` tells how far the file goes")
        })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.is_up {
            return;
        }
        // Nothing was observed: leave nothing that looks as if it had been. What can't be removed stays.
        let _ = fs::remove_file(&self.path);
        if let Some(dir) = &self.made {
            let _ = fs::remove_dir(dir);
        }
    }
}
