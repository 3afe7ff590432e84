//! What can go wrong in the engine, and what to do about it.

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This binary has no engine for the device.
    #[error("this binary was built without the `{feature}` engine")]
    NoBackend {
        /// The cargo feature that would bring it.
        feature: &'static str,
    },
    /// There is no such device on this machine.
    #[error("there is no device `{device}`: {why}")]
    NoDevice {
        /// What was asked for.
        device: String,
        /// What is missing.
        why: String,
    },
    /// The model's files are not right.
    #[error("could not load the model in `{path}`: {message}")]
    BadModel {
        /// The folder.
        path: String,
        /// Which file or tensor, and what is wrong with it.
        message: String,
    },
    /// The input does not fit the model.
    #[error("{0}")]
    BadInput(String),
    /// Loss or gradient is no number.
    #[error("{what} is not finite")]
    NotFinite {
        /// `loss` or `gradient norm`.
        what: &'static str,
    },
    /// Not enough memory.
    #[error("needs {needed_bytes} bytes of memory, {free_bytes} are free")]
    OutOfMemory {
        /// What it would take.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// A file could not be read or written.
    #[error("could not use `{path}`")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoBackend { feature } => {
                Some(format!("build with `--features {feature}`, or choose another device"))
            }
            Self::NoDevice { .. } => Some(
                "`thinkery doctor` shows what this machine has; `--device cpu` always works".into(),
            ),
            Self::BadModel { .. } => {
                Some("check that the folder is complete; copy or download the model again".into())
            }
            Self::OutOfMemory { .. } => {
                Some("shorten the context, or choose a smaller model or a larger device".into())
            }
            Self::BadInput(_) | Self::NotFinite { .. } | Self::Io { .. } => None,
        }
    }
}

/// Result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;
