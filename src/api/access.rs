//! Who may come in: the password, sessions, keys and the one-time setup token.
//!
//! Secrets are 256 random bits, handed out once and stored as SHA-256; the password is stored as
//! argon2id. Nothing here is ever logged.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::error::{Error, Result};
use super::limiter::Limiter;
use crate::hint::Hinted;
use crate::store::Store;

/// Characters of a password at least.
const PASSWORD_CHARS_MIN: usize = 8;

/// Bytes of a password at most: nobody types more, and hashing it costs.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// A session that nobody uses ends after 12 hours.
const SESSION_IDLE_S: i64 = 12 * 3_600;

/// Every session ends after 30 days.
pub(super) const SESSION_MAX_S: i64 = 30 * 24 * 3_600;

/// How often the use of a session is written down; a write per request would be waste.
const SESSION_TOUCH_S: i64 = 60;

/// The setup link is good for an hour.
const SETUP_S: i64 = 3_600;

/// Name of the file with the setup link in the data folder.
const SETUP_FILE: &str = "setup-url";

/// Where the panel is if nobody says otherwise.
pub const DEFAULT_BASE: &str = "http://127.0.0.1:8642";

/// A session's secret, for the cookie.
pub(super) struct SessionToken(pub(super) String);

/// Who may come in.
pub(super) struct Access {
    store: Store,
    limiter: Limiter,
    cookie: String,
    /// Changes whenever a session may have ended.
    ended: watch::Sender<u64>,
}

impl Access {
    pub(super) fn new(store: Store) -> Self {
        // Cookies ignore ports: two houses on one machine must not take each other's.
        let dir = fs::canonicalize(store.dir()).unwrap_or_else(|_| store.dir().to_path_buf());
        let name = hash(&dir.to_string_lossy());
        let cookie = format!("thinkery_{}", &name[..8]);
        let limiter = Limiter::new(Instant::now());
        Self { store, limiter, cookie, ended: watch::Sender::new(0) }
    }

    /// Name of the session's cookie.
    pub(super) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Hears of it when a session may have ended.
    pub(super) fn ended(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    pub(super) fn setup_needed(&self) -> Result<bool> {
        Ok(self.store.password_hash()?.is_none())
    }

    /// Chooses the first password and begins a session.
    pub(super) fn setup(&self, token: &str, password: &str, from: IpAddr) -> Result<SessionToken> {
        check_password(password)?;
        self.take_try(from)?;
        let password_hash = hash_password(password)?;
        if !self.store.claim_setup(&hash(token), &password_hash, now())? {
            return Err(Error::Refused("this setup link is not good any more"));
        }
        self.limiter.forgive(from);
        remove_setup_file(self.store.dir())?;
        self.begin()
    }

    /// Begins a session if the password is right.
    pub(super) fn login(&self, password: &str, from: IpAddr) -> Result<SessionToken> {
        self.check(password, from)?;
        self.begin()
    }

    /// Replaces the password, ends every session and begins a new one.
    pub(super) fn change_password(
        &self,
        current: &str,
        new: &str,
        from: IpAddr,
    ) -> Result<SessionToken> {
        check_password(new)?;
        self.check(current, from)?;
        self.store.set_password(&hash_password(new)?, now())?;
        self.announce_end();
        self.begin()
    }

    pub(super) fn end(&self, token: &str) -> Result<()> {
        self.store.drop_session(&hash(token))?;
        self.announce_end();
        Ok(())
    }

    /// Whether `token` is a session that still lives; notes that it was used.
    pub(super) fn is_session(&self, token: &str) -> Result<bool> {
        let token = hash(token);
        let time = now();
        let Some(session) = self.store.session(&token)? else { return Ok(false) };
        let idle = time - session.last_used_at;
        if idle > SESSION_IDLE_S || time - session.created_at > SESSION_MAX_S {
            self.store.drop_session(&token)?;
            return Ok(false);
        }
        if idle >= SESSION_TOUCH_S {
            self.store.touch_session(&token, time)?;
        }
        Ok(true)
    }

    /// Whether `key` may use `/v1`.
    pub(super) fn is_key(&self, key: &str) -> Result<bool> {
        Ok(self.store.use_api_token(&hash(key), now())?)
    }

    fn check(&self, password: &str, from: IpAddr) -> Result<()> {
        self.take_try(from)?;
        let stored = self.store.password_hash()?;
        if !is_password(stored.as_deref(), password)? {
            return Err(Error::Refused("wrong password"));
        }
        self.limiter.forgive(from);
        Ok(())
    }

    fn take_try(&self, from: IpAddr) -> Result<()> {
        self.limiter.try_from(from, Instant::now()).map_err(|wait| Error::TooMany {
            seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
        })
    }

    fn begin(&self) -> Result<SessionToken> {
        let token = secret()?;
        self.store.add_session(&hash(&token), now())?;
        Ok(SessionToken(token))
    }

    fn announce_end(&self) {
        self.ended.send_modify(|count| *count += 1);
    }
}

/// Makes a key for `/v1` and gives its row and the key itself, which is stored nowhere.
///
/// # Errors
/// If there are no random numbers or the database refuses.
pub fn add_key(store: &Store, name: &str) -> anyhow::Result<(i64, String)> {
    let key = format!("tk_{}", secret()?);
    let id = store.add_api_token(name, &hash(&key), &key[key.len() - 4..], now())?;
    Ok((id, key))
}

/// Makes a new setup link to the panel at `base`, writes it to the file `setup-url` (mode 0600) and
/// returns it; any earlier one is void.
///
/// # Errors
/// If there is a password already, or the file cannot be written.
pub fn issue_setup_url(store: &Store, base: &str) -> anyhow::Result<String> {
    if store.password_hash()?.is_some() {
        let hint = "log in with it, or choose another with `thinkery admin reset-password`";
        return Err(Hinted::new("a password was chosen already", hint).into());
    }
    let token = secret()?;
    store.set_setup_token(&hash(&token), now() + SETUP_S)?;
    let url = format!("{base}/setup#token={token}");
    let path = setup_file(store.dir());
    write_private(&path, &url)
        .with_context(|| format!("could not write the setup link to `{}`", path.display()))?;
    Ok(url)
}

/// Where the panel said it is when it last made a setup link.
pub fn known_base(store: &Store) -> String {
    let text = fs::read_to_string(setup_file(store.dir())).unwrap_or_default();
    let base = text.split_once("/setup#").map(|(base, _)| base.to_owned());
    base.unwrap_or_else(|| DEFAULT_BASE.to_owned())
}

/// Sets the password, ends every session and closes the setup.
///
/// # Errors
/// If the password is too short or too long, or the database refuses.
pub fn set_password(store: &Store, password: &str) -> anyhow::Result<()> {
    if let Err(error) = check_password(password) {
        return Err(Hinted::new(error.to_string(), "choose another").into());
    }
    store.set_password(&hash_password(password)?, now())?;
    remove_setup_file(store.dir())
}

/// Whether `password` is the one that was chosen.
///
/// # Errors
/// If the database refuses or holds no hash of a password.
pub fn has_password(store: &Store, password: &str) -> anyhow::Result<bool> {
    is_password(store.password_hash()?.as_deref(), password)
}

/// A random password, for who cannot think of one.
///
/// # Errors
/// If there are no random numbers.
pub fn random_password() -> anyhow::Result<String> {
    Ok(secret()?[..20].to_owned())
}

fn setup_file(dir: &Path) -> PathBuf {
    dir.join(SETUP_FILE)
}

fn remove_setup_file(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_file(setup_file(dir)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("could not remove the used setup link")
        }
        _ => Ok(()),
    }
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // A file that was there keeps its mode through `open`.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    writeln!(file, "{text}")
}

fn check_password(password: &str) -> Result<()> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        let message = format!("a password has at least {PASSWORD_CHARS_MIN} characters");
        return Err(Error::Invalid(message));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        let message = format!("a password has at most {PASSWORD_BYTES_MAX} bytes");
        return Err(Error::Invalid(message));
    }
    Ok(())
}

fn hash_password(password: &str) -> anyhow::Result<String> {
    // Argon2id with 19 MiB and two passes: OWASP's advice and the crate's default.
    let hash = Argon2::default().hash_password(password.as_bytes());
    Ok(hash.map_err(|error| anyhow::anyhow!("could not hash the password: {error}"))?.to_string())
}

/// Compares in the same time whether or not there is a password.
fn is_password(stored: Option<&str>, password: &str) -> anyhow::Result<bool> {
    let Some(stored) = stored else {
        hash_password(password)?;
        return Ok(false);
    };
    let stored = PasswordHash::new(stored)
        .map_err(|error| anyhow::anyhow!("the stored password hash is damaged: {error}"))?;
    Ok(Argon2::default().verify_password(password.as_bytes(), &stored).is_ok())
}

/// 256 random bits, hex.
fn secret() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("could not get random numbers")?;
    Ok(hex(&bytes))
}

/// What is stored of a secret. It has 256 bits, so one fast hash is enough.
fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
