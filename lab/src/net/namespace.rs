//! A network namespace and the one thread that lives in it.
//!
//! A thread enters at most one namespace in its life and dies with it; nobody goes back. Work is sent to the
//! thread, so what it opens (sockets, children) belongs to the namespace.

use std::{
    path::PathBuf,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use netns_rs::{Env, NetNs};

use super::{NetError, Netlink};
use crate::sandbox::RUN_DIR;

/// Names of a lab's namespaces live on the lab's own tmpfs.
#[derive(Debug, Clone, Copy)]
struct LabEnv;

impl Env for LabEnv {
    fn persist_dir(&self) -> PathBuf {
        PathBuf::from(RUN_DIR).join("netns")
    }

    // The default makes the directory a shared mount, to be seen by other mount namespaces; a lab's are private.
    fn init(&self) -> netns_rs::Result<()> {
        std::fs::create_dir_all(self.persist_dir()).map_err(netns_rs::Error::CreateNsDirError)
    }
}

type Task = Box<dyn FnOnce(&mut Inside) + Send>;

/// What a job finds inside its namespace.
pub struct Inside {
    /// Name of the namespace.
    pub name: String,
    /// Route netlink of this namespace.
    pub netlink: Netlink,
}

/// A network namespace with its thread.
pub struct Namespace {
    name: String,
    netns: Option<NetNs<LabEnv>>,
    tasks: Option<mpsc::Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

/// The answer to come of a job.
pub struct Job<T> {
    name: String,
    answer: mpsc::Receiver<T>,
}

impl<T> Job<T> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// The thread is gone, or the job panicked.
    pub fn wait(self) -> Result<T, NetError> {
        let name = self.name;
        self.answer
            .recv()
            .map_err(|_| NetError::ThreadGone { name })
    }
}

/// Sends jobs to a namespace from another thread.
#[derive(Clone)]
pub struct Sender {
    name: String,
    tasks: Option<mpsc::Sender<Task>>,
}

impl Sender {
    /// Runs a closure on the namespace's thread.
    pub fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inside) -> T + Send + 'static,
    ) -> Job<T> {
        let (sender, answer) = mpsc::channel();
        if let Some(tasks) = &self.tasks {
            // A closed channel drops the sender, and the job's answer says so.
            let _ = tasks.send(Box::new(move |inside| {
                let _ = sender.send(work(inside));
            }));
        }
        Job {
            name: self.name.clone(),
            answer,
        }
    }
}

impl Namespace {
    /// Creates a namespace and its thread.
    ///
    /// # Errors
    /// The kernel refuses it, or its thread can't start.
    pub fn create(name: &str) -> Result<Self, NetError> {
        let refused = |what| {
            let name = name.to_string();
            move |source| NetError::Namespace { what, name, source }
        };
        let netns = NetNs::new_with_env(name, LabEnv).map_err(refused("create"))?;
        let entry = NetNs::get_from_env(name, LabEnv).map_err(refused("open"))?;
        Self::with_thread(name, Some(netns), Some(entry))
    }

    /// The namespace this process is in already: the lab's node.
    ///
    /// # Errors
    /// Its thread can't start.
    pub fn node() -> Result<Self, NetError> {
        Self::with_thread("node", None, None)
    }

    fn with_thread(
        name: &str,
        netns: Option<NetNs<LabEnv>>,
        entry: Option<NetNs<LabEnv>>,
    ) -> Result<Self, NetError> {
        let (tasks, queue) = mpsc::channel::<Task>();
        let (ready, entered) = mpsc::channel();
        let thread_name = name.to_string();
        let thread = thread::Builder::new()
            .name(format!("ns:{name}"))
            .spawn(move || match enter(thread_name, entry) {
                Ok(mut inside) => {
                    let _ = ready.send(Ok(()));
                    for task in queue {
                        task(&mut inside);
                    }
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })
            .map_err(|source| NetError::Open {
                what: "a thread",
                name: name.to_string(),
                source,
            })?;
        let gone = || NetError::ThreadGone {
            name: name.to_string(),
        };
        entered.recv().map_err(|_| gone())??;
        Ok(Self {
            name: name.to_string(),
            netns,
            tasks: Some(tasks),
            thread: Some(thread),
        })
    }

    /// Name of the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A handle for other threads.
    pub fn sender(&self) -> Sender {
        Sender {
            name: self.name.clone(),
            tasks: self.tasks.clone(),
        }
    }

    /// Runs a closure on the namespace's thread.
    pub fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inside) -> T + Send + 'static,
    ) -> Job<T> {
        self.sender().job(work)
    }

    /// Ends the thread and removes the namespace. Every [`Sender`] must be gone.
    ///
    /// # Errors
    /// The thread panicked, or the namespace can't be removed.
    pub fn remove(mut self) -> Result<(), NetError> {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| NetError::ThreadGone {
                name: self.name.clone(),
            })?;
        }
        match self.netns.take() {
            Some(netns) => netns.remove().map_err(|source| NetError::Namespace {
                what: "remove",
                name: self.name.clone(),
                source,
            }),
            None => Ok(()),
        }
    }
}

fn enter(name: String, entry: Option<NetNs<LabEnv>>) -> Result<Inside, NetError> {
    if let Some(netns) = entry {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the thread that lives and dies in the namespace"
        )]
        let entered = netns.enter();
        entered.map_err(|source| NetError::Namespace {
            what: "enter",
            name: name.clone(),
            source,
        })?;
    }
    let netlink = Netlink::open(&name)?;
    Ok(Inside { name, netlink })
}
