//! The verb `up`: the panel, the API, `/v1` and the job runner, until somebody stops it.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::{Global, foreground, machine, sandboxed};
use crate::api::{AppState, Gpu, Hosts, Parts, SandboxProbe};
use crate::engine::Device;
use crate::hint::Hinted;
use crate::jobs::{Owner, Replayer, Runner};
use crate::sandbox::{self, Sandbox, Tier};
use crate::store::Store;
use crate::{api, app, engine, serve};

/// How long open connections may take to finish once the house goes down.
const DRAIN: Duration = Duration::from_secs(2);

/// A file with the panel's password, for servers that nobody sets up by hand.
const PASSWORD_FILE: &str = "THINKERY_ADMIN_PASSWORD_FILE";

/// Options of `up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen; anything but a loopback address lets others in
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8642")]
    listen: SocketAddr,
    /// A name by which browsers may call this server, besides localhost and its addresses
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the threads of the server")?;
    let ended = runtime.block_on(up(global, args));
    // A model may still be thinking; nobody waits for its answer any more.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

async fn up(global: &Global, args: Args) -> anyhow::Result<()> {
    // The folder first: a second `up` on it says who has it, whatever the port.
    let owner = Owner::open(&global.data_dir(), foreground::launch()?)?;
    let listener = bind(args.listen).await?;
    let address = listener.local_addr().context("could not read the address listened on")?;
    let store = owner.store().clone();
    let setup_url = admit(&store, &format!("http://{}", from_here(address)))?;
    let facts = engine::facts();
    // Whatever is wrong with its settings is said now, not when it is first needed.
    drop(sandboxed::sandbox()?);
    let replayer = Replayer::new(sandboxed::sandbox);
    let models = Arc::new(serve::Models::of_store(store.clone(), device(&facts)));
    let state = AppState::new(Parts {
        v1: serve::router(Arc::clone(&models), None),
        models,
        store,
        runner: Some(Runner::start(owner)?),
        machine: machine::here()?,
        gpus: gpus(facts),
        hosts: Hosts { bound: vec![address.ip()], names: args.allowed_host },
        sandbox: Some(sandbox_probe(replayer.clone())),
        replayer: Some(replayer),
    });
    let mut terminated = signal(SignalKind::terminate()).context("could not await SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("could not await SIGINT")?;
    let (stop, stopped) = oneshot::channel::<()>();
    // Whoever drops the other end wants it to stop, too.
    let stopped = async move { stopped.await.unwrap_or_default() };
    let mut server = tokio::spawn(app::serve(listener, state.clone(), stopped));
    announce(global, address, setup_url.as_deref());
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
        ended = &mut server => return ended.context("the server panicked")?,
    }
    tracing::info!("stopping: jobs first, then open connections");
    drop(stop);
    let jobs = tokio::task::spawn_blocking(move || state.close());
    if let Ok(ended) = tokio::time::timeout(DRAIN, server).await {
        ended.context("the server panicked")??;
    }
    jobs.await.context("could not stop the jobs")
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| not_bound(address, error))
}

fn not_bound(address: SocketAddr, error: std::io::Error) -> anyhow::Error {
    let (message, hint) = if error.kind() == ErrorKind::AddrInUse {
        let hint = "stop whoever has it, or choose another with --listen 127.0.0.1:PORT; port 0 \
                    takes a free one";
        (format!("port {} is taken", address.port()), hint)
    } else if error.kind() == ErrorKind::PermissionDenied {
        let hint = "choose one above 1023 with --listen";
        (format!("port {} is not open to this user", address.port()), hint)
    } else {
        let hint = "choose an address of this machine with --listen";
        let context = Hinted::new(format!("could not listen on `{address}`"), hint);
        return anyhow::Error::new(error).context(context);
    };
    Hinted::new(message, hint).into()
}

/// Sees to it that somebody can log in: takes the password of the environment, or makes a setup
/// link if there is no password yet.
fn admit(store: &Store, base: &str) -> anyhow::Result<Option<String>> {
    if let Some(path) = std::env::var_os(PASSWORD_FILE).filter(|path| !path.is_empty()) {
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("could not read the password from `{}`", path.to_string_lossy())
        })?;
        let password = text.trim_end_matches(['\r', '\n']);
        if !api::has_password(store, password)? {
            api::set_password(store, password)?;
        }
        return Ok(None);
    }
    if store.password_hash()?.is_some() {
        return Ok(None);
    }
    api::issue_setup_url(store, base).map(Some)
}

/// The address by which a browser on this machine reaches `address`.
fn from_here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address.ip(),
    };
    SocketAddr::new(ip, address.port())
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "says where the panel is")]
fn announce(global: &Global, address: SocketAddr, setup_url: Option<&str>) {
    let url = format!("http://{}", from_here(address));
    if !address.ip().is_loopback() {
        let port = address.port();
        eprintln!("warning: everybody who can reach {address} can try to log in, unencrypted");
        eprintln!("hint: leave --listen away, and on your own machine run");
        eprintln!("    ssh -L {port}:127.0.0.1:{port} USER@THIS_HOST");
    }
    if global.json {
        println!("{}", json!({ "listening": url, "setup_url": setup_url }));
        return;
    }
    println!("listening on {url}");
    match setup_url {
        Some(link) => {
            println!("open {link}");
            println!("and choose a password; the link is good for an hour");
        }
        None => println!("open {url}"),
    }
}

/// Looks at how programs are confined here, once they are.
fn sandbox_probe(replayer: Replayer) -> SandboxProbe {
    let seen: Mutex<Option<api::Sandbox>> = Mutex::new(None);
    Arc::new(move || {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = &*seen {
            return seen.clone();
        }
        let found = replayer.ask(confinement).unwrap_or_else(|error| api::Sandbox {
            tier: "none".into(),
            healthy: false,
            note: format!("{error:#}"),
            means: String::new(),
            lost: None,
            fix: None,
            refused: Vec::new(),
            probes: Vec::new(),
        });
        // What is missing may be installed later.
        *seen = found.healthy.then(|| found.clone());
        found
    })
}

fn confinement(sandbox: &Sandbox) -> api::Sandbox {
    let report = sandbox.report();
    let error = sandbox.tier().err();
    let tier = report.tier;
    let none = error.as_ref().map(ToString::to_string).unwrap_or_default();
    let hint = error.as_ref().and_then(sandbox::Error::hint);
    let refused = |refusal: &sandbox::Refusal| api::RefusedTier {
        tier: refusal.tier.name().into(),
        why: refusal.why.clone(),
    };
    let tries = |name: &str| sandbox::PROBES.iter().find(|(probe, _)| *probe == name);
    let probe = |finding: &sandbox::Finding| api::Probe {
        name: finding.probe.into(),
        tries: tries(finding.probe).map_or("", |(_, tries)| tries).into(),
        held: finding.held,
        why: finding.why.clone(),
    };
    api::Sandbox {
        tier: tier.map_or("none", Tier::name).into(),
        healthy: tier.is_some_and(|tier| tier != Tier::T0),
        note: report.interpreter.filter(|_| tier.is_some()).unwrap_or(none),
        means: tier.map_or("", Tier::means).into(),
        lost: tier.and_then(Tier::loses).map(str::to_owned),
        fix: tier.map_or(hint, Tier::remedy).map(str::to_owned),
        refused: report.refused.iter().map(refused).collect(),
        probes: report.probes.iter().map(probe).collect(),
    }
}

/// Where models answer: on the first GPU if this machine can use it.
fn device(facts: &engine::Facts) -> Device {
    let usable = facts.backends.contains(&"cuda") && facts.nvrtc.is_some();
    if usable && !facts.gpus.is_empty() { Device::Cuda(0) } else { Device::Cpu }
}

fn gpus(facts: engine::Facts) -> Vec<Gpu> {
    let gpu = |(number, name): (usize, String)| Gpu {
        device: format!("cuda:{number}"),
        name,
        memory_bytes: None,
    };
    facts.gpus.into_iter().enumerate().map(gpu).collect()
}
