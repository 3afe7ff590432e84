//! The host that programs are to leave alone: files, sockets and secrets to be found missing.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use crate::env::TestEnv;

/// What programs may find, and must not.
pub(super) struct Host {
    env: TestEnv,
    /// In the judge's environment and in the canary.
    pub(super) secret: String,
    /// A name that occurs nowhere else.
    pub(super) mark: String,
    tcp: TcpListener,
    udp: UdpSocket,
    unix: UnixListener,
}

impl Host {
    pub(super) fn new() -> Self {
        let env = TestEnv::new();
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let mark = format!("thinkery-{:016x}", u64::from_le_bytes(random));
        let secret = format!("secret-{mark}");
        for folder in ["canary", "tmp", "bin"] {
            fs::create_dir(env.path().join(folder)).unwrap();
        }
        // Readable and changeable for everybody: only the sandbox stands before it.
        let open = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        env.file("canary/canary", &secret);
        open(env.path(), 0o755);
        open(&env.path().join("canary"), 0o777);
        open(&env.path().join("canary/canary"), 0o666);
        open(&env.path().join("tmp"), 0o1777);
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
        let unix = SocketAddr::from_abstract_name(format!("{mark}-socket")).unwrap();
        let unix = UnixListener::bind_addr(&unix).unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        unix.set_nonblocking(true).unwrap();
        Self { env, secret, mark, tcp, udp, unix }
    }

    /// Where temporary files go.
    pub(super) fn tmp(&self) -> PathBuf {
        self.env.path().join("tmp")
    }

    /// The binary, where every user can start it.
    pub(super) fn binary(&self) -> PathBuf {
        let copy = self.env.path().join("bin/thinkery");
        if !copy.exists() {
            let from = env!("CARGO_BIN_EXE_thinkery");
            fs::hard_link(from, &copy).or_else(|_| fs::copy(from, &copy).map(drop)).unwrap();
        }
        copy
    }

    /// A program with this host's names in place of its marks.
    pub(super) fn fill(&self, text: &str, supervisor: u32) -> String {
        let port = self.tcp.local_addr().unwrap().port().to_string();
        text.replace("@CANARY@", &self.env.path().join("canary/canary").display().to_string())
            .replace("@SECRET@", &self.secret)
            .replace("@MARK@", &self.mark)
            .replace("@PORT@", &port)
            .replace("@ABSTRACT@", &format!("{}-socket", self.mark))
            .replace("@SUPERVISOR@", &supervisor.to_string())
    }

    /// Fails if anything is not as it was.
    pub(super) fn untouched(&self) {
        let folder = self.env.path().join("canary");
        assert_eq!(names(&folder), ["canary"]);
        assert_eq!(fs::read_to_string(folder.join("canary")).unwrap(), self.secret);
        assert!(names(&self.tmp()).is_empty(), "left behind: {:?}", names(&self.tmp()));
        for folder in ["/tmp", "/var/tmp", "/dev/shm", "/run", "/dev", "/"] {
            let left: Vec<String> =
                names(Path::new(folder)).into_iter().filter(|n| n.contains(&self.mark)).collect();
            assert!(left.is_empty(), "left in {folder}: {left:?}");
        }
        assert!(self.tcp.accept().is_err(), "somebody connected");
        assert!(self.unix.accept().is_err(), "somebody connected to the abstract socket");
        assert!(self.udp.recv(&mut [0; 16]).is_err(), "somebody sent a packet");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Every mount of this machine.
pub(super) fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Whether we may become other users.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How many programs of this machine wait for each of its processors, at least 1: other tests run
/// beside these, and what a judge needs for itself takes as much longer.
pub(super) fn busy() -> u32 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(1.0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (load / processors as f64).ceil().clamp(1.0, 16.0) as u32
}
