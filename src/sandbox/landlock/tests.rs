//! What a thread may do that has restricted itself. Where the kernel has no Landlock, that it says so.

use std::fs;
use std::io::ErrorKind::{self, PermissionDenied};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use super::*;

/// Does `work` on a thread that may read `shown` and change `own`; none without Landlock.
fn restricted<T: Send>(shown: &Path, own: &Path, work: impl FnOnce() -> T + Send) -> Option<T> {
    let access = Access { read: &[shown], write: &[own], ..Access::default() };
    let run = || match restrict(&access) {
        Ok(()) => Some(work()),
        Err(why) => {
            assert_eq!((abi(), why.contains("no Landlock")), (0, true), "{why}");
            None
        }
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

fn kind<T>(done: std::io::Result<T>) -> Result<(), ErrorKind> {
    done.map(drop).map_err(|error| error.kind())
}

#[test]
fn files_are_open_where_a_path_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let [shown, own, hidden] = ["shown", "own", "hidden"].map(|name| dir.path().join(name));
    for folder in [&shown, &own, &hidden] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("file"), "x").unwrap();
    }
    let done = restricted(&shown, &own, || {
        [
            ("read shown", kind(fs::read(shown.join("file"))), Ok(())),
            ("list shown", kind(fs::read_dir(&shown)), Ok(())),
            ("change shown", kind(fs::write(shown.join("file"), "y")), Err(PermissionDenied)),
            ("add to shown", kind(fs::write(shown.join("new"), "y")), Err(PermissionDenied)),
            ("remove shown", kind(fs::remove_file(shown.join("file"))), Err(PermissionDenied)),
            ("change own", kind(fs::write(own.join("file"), "y")), Ok(())),
            ("add to own", kind(fs::create_dir(own.join("new"))), Ok(())),
            ("move own", kind(fs::rename(own.join("file"), own.join("new/file"))), Ok(())),
            ("remove own", kind(fs::remove_dir_all(own.join("new"))), Ok(())),
            ("read hidden", kind(fs::read(hidden.join("file"))), Err(PermissionDenied)),
            ("list hidden", kind(fs::read_dir(&hidden)), Err(PermissionDenied)),
            ("add to hidden", kind(fs::write(hidden.join("new"), "y")), Err(PermissionDenied)),
            (
                "link",
                kind(std::os::unix::fs::symlink("/", own.join("link"))),
                Err(PermissionDenied),
            ),
            ("socket", kind(UnixListener::bind(own.join("socket"))), Err(PermissionDenied)),
        ]
    });
    for (what, found, expected) in done.into_iter().flatten() {
        assert_eq!(found, expected, "{what}");
    }
    assert_eq!(fs::read_to_string(shown.join("file")).unwrap(), "x");
}

#[test]
fn nobody_outside_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap();
    let name = format!("thinkery-landlock-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let own = rustix::process::getpid();
    let reached = restricted(dir.path(), dir.path(), || {
        let parent = rustix::process::getppid().unwrap();
        (
            kind(TcpStream::connect(port)),
            kind(UnixStream::connect_addr(&address)),
            rustix::process::test_kill_process(parent).is_ok(),
            rustix::process::test_kill_process(own).is_ok(),
        )
    });
    let Some((tcp, socket, parent, _own)) = reached else { return };
    if abi() >= ABI_TCP {
        assert_eq!(tcp, Err(PermissionDenied));
    }
    if abi() >= ABI_SCOPES {
        assert_eq!(socket, Err(PermissionDenied));
        assert!(!parent);
    }
}
