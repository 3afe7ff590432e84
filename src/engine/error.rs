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
    /// The model's heads cannot be split over so many ranks.
    #[error(
        "{heads} query heads and {kv_heads} key-value heads cannot be split over {ranks} ranks; {} can",
        listed(.choices)
    )]
    CannotSplit {
        /// Ranks that were asked for.
        ranks: usize,
        /// Query heads of the model.
        heads: usize,
        /// Its key-value heads.
        kv_heads: usize,
        /// Ranks that it can be split over.
        choices: Vec<usize>,
    },
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
            Self::CannotSplit { .. } => Some(
                "more devices than that serve as replicas: each a whole model, or a group of them"
                    .into(),
            ),
            Self::BadInput(_) | Self::NotFinite { .. } | Self::Io { .. } => None,
        }
    }
}

/// `1, 2 or 4`.
fn listed(choices: &[usize]) -> String {
    let words: Vec<String> = choices.iter().map(usize::to_string).collect();
    match words.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => words.concat(),
    }
}

/// Result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;
