//! Twelve programs that mean harm, run in a box before any other: one that gets through forbids the tier.
//!
//! The programs are in `probes.py`. This side makes what they go for: a file, a folder, listeners of
//! its own; and looks afterwards whether somebody was there. A layer behind which another stands is
//! asked alone, so that neither can be missing unnoticed. Choosing a tier by this is `tier`'s part.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use serde::Serialize;

use super::enter::Layer;
use super::slot::{Order, Place, Slot, Trouble};
use super::{Ended, Limits, Program, Run, Tier, python, user};

/// The programs.
pub(super) const SOURCE: &str = include_str!("probes.py");

/// Each probe's name, and what it tries. In the order in which they run: `memory` may take the slot
/// with it.
pub const PROBES: [(&str, &str); 12] = [
    ("file", "read a file of the host"),
    ("environment", "read the judge's environment"),
    ("tcp", "connect to a listener on the host"),
    ("socket", "connect to an abstract socket of the host"),
    ("signal", "signal the judge"),
    ("trace", "trace the judge"),
    ("processes", "start more processes than allowed"),
    ("write", "write outside of its folder"),
    ("link", "read a file of the host by a link"),
    ("forge", "reach the harness' channel"),
    ("survive", "live on after its end"),
    ("memory", "use twice the memory allowed"),
];

/// What a namespace must hold when it stands alone.
const NAMESPACED: [&str; 3] = ["tcp", "socket", "signal"];

/// What probes may use. Little, so that using twice as much takes no time.
const LIMITS: Limits = Limits {
    cpu_ms: 2000,
    wall_ms: 20_000,
    memory_bytes: 96 << 20,
    output_bytes: 4096,
    file_bytes: 4096,
    processes: 16,
    open_files: 64,
};

/// How long several processes hold their memory, so that whoever counts by looking sees them.
const MEMORY_SECONDS: f64 = 1.0;

/// How a probe came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name in [`PROBES`].
    pub probe: &'static str,
    /// Whether the box held it.
    pub held: bool,
    /// How it got through, or why nobody knows; empty where it was held.
    pub why: String,
}

/// Runs every probe in `slot`, which was started at `place`, and those that need it in a slot with
/// fewer layers. Probes that were not held come with the reason.
pub(super) fn examine(place: &Place<'_>, slot: &mut Slot) -> Result<Vec<Finding>, Trouble> {
    let bait = Bait::lay()?;
    let isolated = matches!(place.tier, Tier::T3 | Tier::T2);
    let mut findings = Vec::new();
    let ask = Ask { bait: &bait, isolated, filtered: true };
    ask.load(slot)?;
    for (probe, _) in PROBES {
        findings.push(ask.probe(slot, probe)?);
    }
    if isolated {
        let without = [place.without, &[Layer::Landlock, Layer::Seccomp]].concat();
        let mut bare = Slot::start(&Place { without: &without, ..*place }, &|| false)?;
        let ask = Ask { filtered: false, ..ask };
        ask.load(&mut bare)?;
        for probe in NAMESPACED {
            let alone = ask.probe(&mut bare, probe)?;
            let both = findings.iter_mut().find(|finding| finding.probe == probe);
            match both {
                Some(both) if both.held => *both = alone,
                Some(_) | None => {}
            }
        }
    }
    if let Some(why) = bait.touched() {
        findings.push(Finding { probe: "write", held: false, why });
    }
    Ok(findings)
}

/// The probes that got through, in a sentence; none if all were held.
pub(super) fn escapes(findings: &[Finding]) -> Option<String> {
    let mut text = String::new();
    for finding in findings.iter().filter(|finding| !finding.held) {
        let Finding { probe, why, .. } = finding;
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a string does not fail.
        let _ = write!(text, "{separator}the probe `{probe}` was not held: {why}");
    }
    (!text.is_empty()).then_some(text)
}

/// How probes are asked.
#[derive(Clone, Copy)]
struct Ask<'a> {
    bait: &'a Bait,
    isolated: bool,
    filtered: bool,
}

impl Ask<'_> {
    fn load(&self, slot: &mut Slot) -> Result<(), Trouble> {
        let program = Program { source: SOURCE, ..Program::default() };
        slot.load(&program, &|| false)
    }

    fn probe(&self, slot: &mut Slot, probe: &'static str) -> Result<Finding, Trouble> {
        let mut run = self.run(slot, probe, "")?;
        if probe == "survive" && run.ended == Ended::Normally {
            let said = String::from_utf8_lossy(&run.stdout).into_owned();
            let process = said.lines().find(|line| *line != "held").unwrap_or_default();
            run = self.run(slot, "survived", process)?;
        }
        Ok(finding(probe, &run))
    }

    fn run(&self, slot: &mut Slot, probe: &str, process: &str) -> Result<Run, Trouble> {
        let input = self.bait.input(probe, process, (self.isolated, self.filtered));
        let order = Order { input: input.as_bytes(), called: false, limits: &LIMITS, seed: 0 };
        match slot.run(&order, &|| false) {
            Ok(left) => Ok(python::outcome(left, &LIMITS, 0)),
            Err(Trouble::OutOfMemory) => Ok(Run::empty(Ended::MemoryLimit)),
            Err(trouble @ (Trouble::Stopped | Trouble::Broken(_))) => Err(trouble),
        }
    }
}

/// What a run of `probe` means: it was held only if it says so, or if its memory was its end.
fn finding(probe: &'static str, run: &Run) -> Finding {
    let said = String::from_utf8_lossy(&run.stdout);
    let said = said.trim();
    let held = said == "held" || probe == "memory" && run.ended == Ended::MemoryLimit;
    let why = match (held, said.strip_prefix("escaped: ")) {
        (true, _) => String::new(),
        (false, Some(how)) => how.to_owned(),
        (false, None) => {
            let last = run.stderr.lines().last().unwrap_or("it said nothing");
            format!("nobody knows, it ended with {:?}: {last}", run.ended)
        }
    };
    Finding { probe, held, why }
}

/// What probes go for. Taken away when dropped.
struct Bait {
    /// None where no folder can be made: then other files of the host will do.
    folder: Option<tempfile::TempDir>,
    name: String,
    tcp: TcpListener,
    unix: UnixListener,
}

impl Bait {
    fn lay() -> Result<Self, Trouble> {
        let name = format!("thinkery-probe-{:08x}{:08x}", user::random()?, user::random()?);
        let tcp = TcpListener::bind(("127.0.0.1", 0))?;
        let unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        tcp.set_nonblocking(true)?;
        unix.set_nonblocking(true)?;
        let folder = tempfile::Builder::new().prefix("thinkery-probe-").tempdir().ok();
        let folder = folder.filter(|folder| furnish(folder.path()).is_ok());
        Ok(Self { folder, name, tcp, unix })
    }

    /// What a probe reads.
    fn input(&self, probe: &str, process: &str, (isolated, filtered): (bool, bool)) -> String {
        let inside = |name: &str| {
            let folder = self.folder.as_ref().map(|folder| folder.path().join(name));
            folder.map(|path| path.display().to_string()).unwrap_or_default()
        };
        let port = self.tcp.local_addr().map(|address| address.port()).unwrap_or_default();
        // Something that is certainly mapped in this process.
        let address = std::ptr::from_ref(&PROBES).addr();
        format!(
            "probe={probe}\nprocess={process}\nisolated={}\nfiltered={}\nread={}:/etc/passwd\n\
             write={}\nname={}\nport={port}\nsupervisor={}\naddress={address}\nprocesses={}\n\
             memory={}\nseconds={MEMORY_SECONDS}\n",
            u8::from(isolated),
            u8::from(filtered),
            inside("canary"),
            inside("open"),
            self.name,
            std::process::id(),
            LIMITS.processes,
            LIMITS.memory_bytes,
        )
    }

    /// Who was there, if anybody was.
    fn touched(&self) -> Option<String> {
        if self.tcp.accept().is_ok() || self.unix.accept().is_ok() {
            return Some("somebody connected to the host".into());
        }
        let folder = self.folder.as_ref()?.path();
        let written = fs::read_dir(folder.join("open")).map_or(0, Iterator::count);
        let kept = fs::read_to_string(folder.join("canary")).is_ok_and(|text| text == CANARY);
        (written > 0 || !kept).then(|| "somebody wrote to the host".into())
    }
}

/// What stands in the file that is gone for.
const CANARY: &str = "for nobody's eyes\n";

/// A file that everybody may read, and a folder that everybody may write to.
fn furnish(folder: &Path) -> std::io::Result<()> {
    fs::write(folder.join("canary"), CANARY)?;
    fs::create_dir(folder.join("open"))?;
    for (path, mode) in
        [(folder, 0o755), (&folder.join("canary"), 0o644), (&folder.join("open"), 0o777)]
    {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}
