//! The verb `doctor`: what this machine has and lacks, each with its fix.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::Serialize;

use super::{Global, foreground, machine, sandboxed, units};
use crate::engine::Device;
use crate::sandbox::{PROBES, Refusal, Report, Tier};
use crate::store::{DataLock, Error};
use crate::{api, engine};

/// Where `up` listens unless told otherwise.
const PORT: u16 = 8642;

/// Free disk space that a rehearsal needs: its data folder was measured with 80 MB (59 of them
/// checkpoints and models, 10 the database), and a checkpoint is written before an old one goes.
const DISK_BYTES_MIN: u64 = 160_000_000;

/// Memory that a rehearsal may use.
const MEMORY_BYTES_MIN: u64 = 2 << 30;

/// Ranks that exchange at most: the GPUs of a node.
const RANKS: usize = 8;

/// Options of `doctor`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// Let this machine's GPUs, or eight ranks on its processor, exchange numbers and train a step together
    #[arg(long)]
    collectives: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    /// As it should be.
    Ok,
    /// Something is not there that is not needed for everything.
    Absent,
    /// Nothing works without it.
    Broken,
}

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    health: Health,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, health: Health::Ok, found: found.into(), fix: None }
    }

    fn not(
        health: Health,
        name: &'static str,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { name, health, found: found.into(), fix: Some(fix.into()) }
    }
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let dir = global.data_dir();
    let report = sandboxed::sandbox()?.report();
    let mut checks = vec![cores(), memory()?];
    checks.extend(sandbox(&report));
    checks.extend([disk(&dir), folder(&dir), port(), panel()]);
    let facts = engine::facts();
    checks.extend(gpu(&facts));
    if args.collectives {
        checks.extend(collectives(&facts));
    }
    checks.push(teacher_key()?);
    show(global, &checks, &report);
    let broken: Vec<&str> =
        checks.iter().filter(|c| c.health == Health::Broken).map(|c| c.name).collect();
    if !broken.is_empty() {
        bail!("this machine is not ready: {}", broken.join(", "));
    }
    Ok(())
}

/// Whether several devices compute what one does: the GPUs if there are several, else ranks on the
/// processor, which share the code but no link.
fn collectives(facts: &engine::Facts) -> Vec<Check> {
    let gpus = facts.gpus.len();
    let (devices, on) = if gpus > 1 {
        ((0..gpus.min(RANKS)).map(Device::Cuda).collect(), "GPUs")
    } else {
        (vec![Device::Cpu; RANKS], "ranks on the processor")
    };
    let tried = match engine::check_collectives(&devices) {
        Ok(tried) => tried,
        Err(error) => {
            let fix = error.hint().unwrap_or_else(|| "train on one device until they can".into());
            return vec![Check::not(Health::Broken, "collectives", error.to_string(), fix)];
        }
    };
    let fix = "their sums are wrong: update driver and NCCL, and do not train on them together";
    let mut checks: Vec<Check> = (tried.each.iter())
        .map(|exchange| {
            let speed = exchange.bus_bytes_per_second / 1e9;
            let found = format!("{} {on}: {speed:.2} GB/s", tried.ranks);
            match exchange.agrees {
                true => Check::ok(exchange.name, found),
                false => Check::not(Health::Broken, exchange.name, found, fix),
            }
        })
        .collect();
    let apart = format!(
        "a step of {} {on} is {:.1e} from one device's",
        tried.ranks, tried.step_difference
    );
    checks.push(match tried.agree() {
        true => Check::ok("one step", apart),
        false => Check::not(Health::Broken, "one step", apart, fix),
    });
    checks
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show(global: &Global, checks: &[Check], sandbox: &Report) {
    if global.json {
        let ready = checks.iter().all(|check| check.health != Health::Broken);
        let all = serde_json::json!({ "ready": ready, "checks": checks, "sandbox": sandbox });
        println!("{all}");
        return;
    }
    for check in checks {
        let mark = match check.health {
            Health::Ok => "ok",
            Health::Absent => "-",
            Health::Broken => "!!",
        };
        println!("{mark:<3} {:<12} {}", check.name, check.found);
        if let Some(fix) = &check.fix {
            println!("    {:<12} fix: {fix}", "");
        }
    }
}

fn cores() -> Check {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Check::ok("cores", cores.to_string())
}

fn memory() -> anyhow::Result<Check> {
    let bytes = machine::here()?.memory_bytes;
    let found = units::bytes(bytes);
    let fix = "a rehearsal uses up to 2 GiB; take a larger machine";
    Ok(match bytes {
        0 => Check::not(Health::Absent, "memory", "unknown", "mount /proc"),
        bytes if bytes < MEMORY_BYTES_MIN => Check::not(Health::Broken, "memory", found, fix),
        _ => Check::ok("memory", found),
    })
}

/// The interpreter, what programs are locked in with, and what that was put to the test with.
fn sandbox(report: &Report) -> Vec<Check> {
    let python = match &report.interpreter {
        Some(found) => Check::ok("python3", found.clone()),
        None => Check::not(
            Health::Broken,
            "python3",
            report.no_interpreter.clone().unwrap_or_default(),
            "install Python 3.9 or newer (`apt install python3`): code answers are run with it",
        ),
    };
    let held = report.probes.iter().filter(|probe| probe.held).count();
    let escaped: Vec<String> = report
        .probes
        .iter()
        .filter(|probe| !probe.held)
        .map(|probe| format!("`{}` got through: {}", probe.probe, probe.why))
        .collect();
    let names: Vec<&str> = PROBES.iter().map(|(name, _)| *name).collect();
    let counted = format!("{held} of {} hostile programs held: {}", PROBES.len(), names.join(", "));
    let probes = match (report.probes.len(), escaped.as_slice()) {
        (0, _) => Check::not(
            Health::Absent,
            "probes",
            "none was run",
            "they run in the best tier that can be tried",
        ),
        (_, []) => Check::ok("probes", counted),
        (_, some) => Check::not(
            Health::Broken,
            "probes",
            some.join("; "),
            "report this with the kernel's version: a layer does not do what it says",
        ),
    };
    vec![python, tier(report), landlock(report.landlock), probes]
}

fn tier(report: &Report) -> Check {
    if report.interpreter.is_none() {
        let fix = "install Python first, see above";
        return Check::not(Health::Broken, "sandbox", "not tried without Python", fix);
    }
    let refused = |refusal: &Refusal| format!("; not {}: {}", refusal.tier, refusal.why);
    let refused: String = report.refused.iter().map(refused).collect();
    let Some(tier) = report.tier else {
        let fix =
            "each tier says what it lacks; `--allow-unsandboxed` runs programs with limits only";
        return Check::not(Health::Broken, "sandbox", format!("none{refused}"), fix);
    };
    let found = format!("{tier}: {}", tier.means());
    match (tier.loses(), tier.remedy()) {
        (Some(lost), Some(remedy)) => {
            let health = if tier == Tier::T0 { Health::Broken } else { Health::Absent };
            Check::not(health, "sandbox", format!("{found}; lost: {lost}{refused}"), remedy)
        }
        _ => Check::ok("sandbox", found),
    }
}

fn landlock(abi: u32) -> Check {
    if abi > 0 {
        return Check::ok("landlock", format!("generation {abi}"));
    }
    let fix = "a kernel from 5.13 on with `landlock` in its list of security modules (lsm=)";
    Check::not(Health::Absent, "landlock", "not offered by this kernel", fix)
}

/// `dir`, or the nearest folder above it that exists.
fn existing(dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    absolute.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/")).to_path_buf()
}

fn disk(dir: &Path) -> Check {
    let shown = dir.display();
    match rustix::fs::statvfs(existing(dir)) {
        Ok(facts) => {
            let free = facts.f_bavail * facts.f_frsize;
            let found = format!("{} free for `{shown}`", units::bytes(free));
            if free < DISK_BYTES_MIN {
                let fix = format!(
                    "a rehearsal needs {}: free some there, or choose another folder with --data DIR",
                    units::bytes(DISK_BYTES_MIN)
                );
                Check::not(Health::Broken, "disk", found, fix)
            } else {
                Check::ok("disk", found)
            }
        }
        Err(error) => Check::not(
            Health::Broken,
            "disk",
            format!("could not look at `{shown}`: {error}"),
            "choose another folder with --data DIR",
        ),
    }
}

fn folder(dir: &Path) -> Check {
    let shown = dir.display();
    let fix = "make it yours, or choose another folder with --data DIR";
    let broken = |found: String| Check::not(Health::Broken, "data folder", found, fix);
    let base = existing(dir);
    if let Err(error) = tempfile::tempfile_in(&base) {
        return broken(format!("could not write into `{}`: {error}", base.display()));
    }
    if base != std::path::absolute(dir).unwrap_or_default() {
        return Check::ok("data folder", format!("`{shown}` will be made"));
    }
    match DataLock::acquire(dir) {
        Ok(_lock) => Check::ok("data folder", format!("`{shown}` is writable and free")),
        Err(error @ Error::Locked { .. }) => {
            let fix = error.hint().unwrap_or_default();
            Check::not(Health::Absent, "data folder", error.to_string(), fix)
        }
        Err(error) => broken(format!("{:#}", anyhow::Error::new(error))),
    }
}

fn port() -> Check {
    match TcpListener::bind(("127.0.0.1", PORT)) {
        Ok(_) => Check::ok("port", format!("{PORT} is free")),
        Err(error) => Check::not(
            Health::Absent,
            "port",
            format!("{PORT}: {error}"),
            format!("open http://127.0.0.1:{PORT} if that is Thinkery, else `up --listen`"),
        ),
    }
}

/// Whether this build has the panel, as `build.rs` found.
fn panel() -> Check {
    if api::WEB.starts_with("embedded") {
        return Check::ok("panel", api::WEB);
    }
    Check::not(
        Health::Absent,
        "panel",
        format!("{}: `up` shows a page that says so", api::WEB),
        "install Node.js with npm, then `cargo build --release`; all else works without",
    )
}

fn gpu(facts: &engine::Facts) -> Vec<Check> {
    let backends = match facts.backends.as_slice() {
        [] => Check::not(
            Health::Broken,
            "engines",
            "none is built in",
            "build with the default features: `cargo build --release`",
        ),
        some => Check::ok("engines", some.join(", ")),
    };
    let part = |name, found: &Option<String>, fix: &str| match found {
        Some(found) => Check::ok(name, found.clone()),
        None => Check::not(Health::Absent, name, "not found", fix),
    };
    let gpus = match facts.gpus.as_slice() {
        [] => Check::not(
            Health::Absent,
            "gpus",
            "none",
            "not needed for the rehearsal; OpenThinker itself needs eight with 80 GiB",
        ),
        some => Check::ok("gpus", some.join(", ")),
    };
    vec![
        backends,
        gpus,
        part("cuda driver", &facts.cuda_driver, "install NVIDIA's driver 580 or newer for GPUs"),
        part("nvrtc", &facts.nvrtc, "install CUDA 13's libnvrtc for GPUs"),
        part("nccl", &facts.nccl, "install libnccl2 for more than one GPU"),
    ]
}

fn teacher_key() -> anyhow::Result<Check> {
    Ok(match foreground::secrets()?.teacher_key {
        Some(_) => Check::ok("teacher key", "set"),
        None => Check::not(
            Health::Absent,
            "teacher key",
            "not set",
            "set THINKERY_TEACHER_KEY to ask a teacher of your own; the rehearsal needs none",
        ),
    })
}
