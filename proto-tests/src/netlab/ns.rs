//! One machine of the network: a thread that lives in namespaces of its own.
//!
//! In: closures and commands. Out: what they return, as done inside.
//! A pod is a network namespace and no more. A node also has its own mounts, host name and process numbers.
//!
//! # Invariants
//! Every process that a node started is gone when its `Ns` is dropped or when this process ends in whatever way: they live in a PID
//! namespace whose `init` waits for the end of a socket that only we hold open, and the kernel kills a PID namespace with its `init`.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Child, Command, Output};
use std::ptr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::clock::patiently;
use super::netlink::Rtnl;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace (and for a node: mount, host name and PID namespaces) with a thread inside.
#[derive(Debug)]
pub struct Ns {
    name: String,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    inside: Inside,
}

/// What the thread says of itself when it has arrived.
#[derive(Debug)]
struct Inside {
    net: OwnedFd,
    tid: i32,
    init: Option<Init>,
}

/// The first process of a node; it ends when `life` is closed.
#[derive(Debug)]
struct Init {
    pid: i32,
    life: Option<UnixStream>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pod,
    Node,
    /// The network of a process that is there, and no namespace of our own.
    Of(u32),
}

impl Ns {
    /// A namespace for a pod: network only.
    ///
    /// # Errors
    /// EPERM where namespaces are forbidden: see [`super::user`].
    pub fn pod(name: &str) -> io::Result<Self> {
        Self::new(name, Kind::Pod)
    }

    /// Namespaces for a node in which daemons can run.
    ///
    /// # Errors
    /// EPERM where namespaces are forbidden: see [`super::user`].
    pub fn node(name: &str) -> io::Result<Self> {
        Self::new(name, Kind::Node)
    }

    /// The network of a process of somebody else: of a container. It lives on as long as this does.
    ///
    /// # Errors
    /// No such process.
    pub fn of_process(name: &str, pid: u32) -> io::Result<Self> {
        Self::new(name, Kind::Of(pid))
    }

    fn new(name: &str, kind: Kind) -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (arrived, arrival) = mpsc::channel();
        let host_name = name.to_string();
        let thread = thread::Builder::new().name(format!("ns-{name}")).stack_size(512 * 1024).spawn(move || {
            let inside = enter(kind, &host_name);
            let failed = inside.is_err();
            if arrived.send(inside).is_ok() && !failed {
                todo.into_iter().for_each(|job| job());
            }
        })?;
        let inside = arrival.recv().map_err(|_| io::Error::other("the namespace's thread died"))??;
        Ok(Self { name: name.to_string(), jobs: Some(jobs), thread: Some(thread), inside })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The descriptor of the network namespace, for the other end of a link.
    pub fn net_fd(&self) -> RawFd {
        self.inside.net.as_raw_fd()
    }

    /// The process that stands for this node, as seen from outside (`nsenter -t PID -n -m`).
    pub fn init_pid(&self) -> Option<i32> {
        self.inside.init.as_ref().map(|init| init.pid)
    }

    /// A path for `nsenter --net=PATH`, good while this process lives.
    pub fn net_path(&self) -> String {
        match self.init_pid() {
            Some(pid) => format!("/proc/{pid}/ns/net"),
            None => format!("/proc/{}/task/{}/ns/net", std::process::id(), self.inside.tid),
        }
    }

    /// Does `job` inside and gives its answer back; a panic inside is a panic here.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        finish(&self.start(job))
    }

    /// Begins `job` inside; [`finish`] waits for it. Jobs of one namespace run one after the other.
    pub fn start<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Receiver<thread::Result<T>> {
        let (done, answer) = mpsc::channel();
        let wrapped: Job = Box::new(move || {
            // Nobody waiting for the answer is no fault of the job.
            let _ = done.send(catch_unwind(AssertUnwindSafe(job)));
        });
        self.jobs.as_ref().expect("taken only by drop").send(wrapped).expect("the thread serves jobs until its sender is dropped");
        answer
    }

    /// A netlink conversation inside.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn rtnl<T: Send + 'static>(&self, talk: impl FnOnce(&mut Rtnl) -> io::Result<T> + Send + 'static) -> io::Result<T> {
        self.run(move || talk(&mut Rtnl::open()?))
    }

    /// Starts a process inside; its process group is its own, so Ctrl-C at the terminal is ours alone.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        use std::os::unix::process::CommandExt as _;
        self.run(move || command.process_group(0).spawn())
    }

    /// Runs a command to its end inside.
    ///
    /// # Errors
    /// When the program cannot be started; its own failure is in the status.
    pub fn output(&self, mut command: Command) -> io::Result<Output> {
        self.run(move || command.output())
    }

    /// Writes a kernel setting (`net.ipv4.ip_forward`) of this namespace.
    ///
    /// # Errors
    /// Unknown or read-only settings.
    pub fn sysctl(&self, key: &str, value: &str) -> io::Result<()> {
        let (path, value) = (sysctl_path(key), value.to_string());
        self.run(move || fs::write(&path, value).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display()))))
    }
}

/// `net.ipv6.conf.eth1/100.x` style keys: dots part, slashes in names stay.
fn sysctl_path(key: &str) -> std::path::PathBuf {
    let flipped: String = key
        .chars()
        .map(|c| {
            if c == '.' {
                '/'
            } else if c == '/' {
                '.'
            } else {
                c
            }
        })
        .collect();
    std::path::Path::new("/proc/sys").join(flipped)
}

/// Waits for a job that [`Ns::start`] began.
pub fn finish<T>(answer: &Receiver<thread::Result<T>>) -> T {
    match answer.recv().expect("a job always answers") {
        Ok(value) => value,
        Err(panic) => resume_unwind(panic),
    }
}

impl Drop for Ns {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(init) = &mut self.inside.init {
            drop(init.life.take());
            // `init` is gone when all of its namespace is reaped; who still holds a `Child` of ours reaps that later.
            // SAFETY: waitpid on a child of ours that nobody else waits for; a null status is allowed.
            let reaped = || unsafe { libc::waitpid(init.pid, ptr::null_mut(), libc::WNOHANG) != 0 };
            let _ = patiently(Duration::from_millis(100), reaped);
        }
    }
}

/// Into the network of another process.
fn join(pid: u32) -> io::Result<Inside> {
    let net = OwnedFd::from(fs::File::open(format!("/proc/{pid}/ns/net"))?);
    // SAFETY: setns changes the namespace of this thread, which was made for it; gettid has no preconditions.
    let tid = unsafe {
        check(libc::setns(net.as_raw_fd(), libc::CLONE_NEWNET))?;
        libc::gettid()
    };
    Ok(Inside { net, tid, init: None })
}

fn enter(kind: Kind, name: &str) -> io::Result<Inside> {
    if let Kind::Of(pid) = kind {
        return join(pid);
    }
    let mut flags = libc::CLONE_NEWNET;
    if kind == Kind::Node {
        flags |= libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWPID;
    }
    // SAFETY: unshare only changes the namespaces of this thread, which was made for it.
    check(unsafe { libc::unshare(flags) })?;
    // SAFETY: open with a constant path; gettid has no preconditions.
    let (fd, tid) = unsafe { (libc::open(c"/proc/thread-self/ns/net".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC), libc::gettid()) };
    check(fd)?;
    // SAFETY: the descriptor was just opened and is owned by nobody else.
    let net = unsafe { OwnedFd::from_raw_fd(fd) };
    // After this `/proc` is the node's own, and we are not in it.
    let init = if kind == Kind::Node { Some(settle_in(name)?) } else { None };
    for family in ["all", "default"] {
        // No duplicate address detection: a second of waiting for an answer that cannot come.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{family}/accept_dad"), "0");
    }
    let mut rtnl = Rtnl::open()?;
    let lo = rtnl.index("lo")?;
    rtnl.set_up(lo)?;
    Ok(Inside { net, tid, init })
}

/// Own mounts (nothing we mount is seen outside), own name, own process tree.
fn settle_in(name: &str) -> io::Result<Init> {
    // SAFETY: C strings are constants and outlive the call.
    check(unsafe { libc::mount(c"none".as_ptr(), c"/".as_ptr(), ptr::null(), libc::MS_REC | libc::MS_PRIVATE, ptr::null()) })?;
    // SAFETY: the name is valid for its length.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })?;
    let (mut ours, theirs) = UnixStream::pair()?;
    let label = CString::new("lab-init").expect("no NUL in it");
    // SAFETY: the child calls only async-signal-safe functions (see `be_init`) and never returns.
    let pid = unsafe { libc::fork() };
    check(pid)?;
    if pid == 0 {
        be_init(theirs.as_raw_fd(), &label);
    }
    drop(theirs);
    ours.read_exact(&mut [0])?;
    Ok(Init { pid, life: Some(ours) })
}

/// The life of a node's first process: mount its own `/proc`, say so, let orphans go, end when the socket does.
fn be_init(life: RawFd, label: &CString) -> ! {
    // SAFETY: system calls on constants and on a descriptor that we own; no allocation and no lock after fork.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, label.as_ptr());
        libc::setpgid(0, 0);
        // The kernel reaps for a parent that ignores SIGCHLD; Ctrl-C is the runner's to act on.
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), 0, ptr::null());
        // Keep only this socket: a copy of another node's here would keep that node alive.
        libc::dup3(life, 0, 0);
        libc::syscall(libc::SYS_close_range, 1_u32, u32::MAX, 0_u32);
        let mut octet = 0_u8;
        libc::write(0, ptr::from_ref(&octet).cast(), 1);
        while libc::read(0, ptr::from_mut(&mut octet).cast(), 1) < 0 && *libc::__errno_location() == libc::EINTR {}
        libc::_exit(0)
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What a process wrote into a pipe of ours, without waiting for more.
pub fn drain(pipe: &mut impl io::Read) -> String {
    let mut text = Vec::new();
    let _ = pipe.by_ref().read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
