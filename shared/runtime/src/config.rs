//! Settings of a service: default < file < environment < flags, every fault reported at once.
//!
//! A service declares its keys in one table; the table reads, checks and explains them:
//!
//! ```
//! use std::net::SocketAddr;
//! use pix_runtime::{Key, Settings};
//!
//! static KEYS: &[Key] = &[
//!     Key::with_default::<SocketAddr>("ops.listen", "127.0.0.1:5002", "address", "health, metrics"),
//!     Key::required::<String>("database.url", "URL", "the service's own database"),
//!     Key::optional::<String>("otlp.endpoint", "URL", "where traces go"),
//! ];
//!
//! let settings = Settings::parse("spi", KEYS, ["--database.url=postgres://…"], []).expect("no faults");
//! assert_eq!(settings.get::<SocketAddr>("ops.listen").port(), 5002);
//! assert_eq!(settings.optional::<String>("otlp.endpoint"), None);
//! settings.finish().expect("no faults");
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// `sysexits.h`, EX_CONFIG: a configuration that cannot work; restarting does not help.
pub const EXIT_CONFIG: u8 = 78;

/// One setting that a service understands.
pub struct Key {
    /// Dotted, as in the file and the flags: `listen.primary`.
    pub name: &'static str,
    /// Value when nothing sets it; without one the key has to be set.
    pub default: Option<&'static str>,
    /// What is counted or named: `ms`, `address`, `PEM file`.
    pub unit: &'static str,
    /// What it does, in a few words.
    pub meaning: &'static str,
    optional: bool,
    check: fn(&str) -> Result<(), String>,
}

impl Key {
    /// A key that has to be set.
    #[must_use]
    pub const fn required<T>(name: &'static str, unit: &'static str, meaning: &'static str) -> Self
    where
        T: FromStr<Err: Display>,
    {
        Self {
            name,
            default: None,
            unit,
            meaning,
            optional: false,
            check: check::<T>,
        }
    }

    /// A key with a value of its own.
    #[must_use]
    pub const fn with_default<T>(
        name: &'static str,
        default: &'static str,
        unit: &'static str,
        meaning: &'static str,
    ) -> Self
    where
        T: FromStr<Err: Display>,
    {
        Self {
            name,
            default: Some(default),
            unit,
            meaning,
            optional: false,
            check: check::<T>,
        }
    }

    /// A key that may stay unset, or be set to nothing.
    #[must_use]
    pub const fn optional<T>(name: &'static str, unit: &'static str, meaning: &'static str) -> Self
    where
        T: FromStr<Err: Display>,
    {
        Self {
            name,
            default: None,
            unit,
            meaning,
            optional: true,
            check: check::<T>,
        }
    }

    fn env(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.name.replace(['.', '-'], "_").to_uppercase())
    }
}

fn check<T: FromStr<Err: Display>>(value: &str) -> Result<(), String> {
    T::from_str(value).map(drop).map_err(|e| e.to_string())
}

/// One thing wrong with the configuration. Values are not repeated: some are secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it was said: `env PIX_SPI_OPS_LISTEN`, `flag --ops.listen`, `file spi.toml, key ops.listen`.
    pub source: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.problem)
    }
}

/// Everything wrong with a configuration, or with a seed file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Adds one.
    pub fn add(&mut self, source: impl Into<String>, problem: impl Display) {
        self.0.push(Fault {
            source: source.into(),
            problem: problem.to_string(),
        });
    }

    /// `Err` with all of them, when there are any.
    ///
    /// # Errors
    /// Itself.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Prints all of them for `service` and gives the exit code that says so (78).
    #[must_use]
    #[expect(
        clippy::print_stderr,
        reason = "telemetry is configured by what is refused here"
    )]
    pub fn refuse(&self, service: &str) -> ExitCode {
        eprintln!("{service}: cannot start with this configuration\n{self}");
        ExitCode::from(EXIT_CONFIG)
    }
}

impl Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The settings of one service, checked.
pub struct Settings {
    keys: &'static [Key],
    values: BTreeMap<&'static str, Value>,
    faults: RefCell<Faults>,
}

#[derive(Clone)]
struct Value {
    text: String,
    source: String,
}

impl Settings {
    /// Reads the settings of this process. `args` are its arguments without the program's name.
    /// `--help` prints the table of keys and ends the process.
    ///
    /// # Errors
    /// Every fault of every layer.
    #[expect(clippy::print_stdout, reason = "--help is asked for on a terminal")]
    pub fn read(
        service: &str,
        keys: &'static [Key],
        args: impl IntoIterator<Item = String>,
    ) -> Result<Self, Faults> {
        let args: Vec<String> = args.into_iter().collect();
        if args.iter().any(|arg| arg == "--help" || arg == "-h") {
            print!("{}", Self::help(service, keys));
            std::process::exit(0);
        }
        Self::parse(
            service,
            keys,
            args,
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
        )
    }

    /// As [`Settings::read`], with the environment handed in.
    ///
    /// # Errors
    /// Every fault of every layer.
    pub fn parse<A: Into<String>>(
        service: &str,
        keys: &'static [Key],
        args: impl IntoIterator<Item = A>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Faults> {
        let prefix = format!("PIX_{}_", service.to_uppercase());
        let mut layers = Layers {
            keys,
            values: BTreeMap::new(),
            faults: Faults::default(),
        };
        let (mut file, flags) = layers.split_flags(args.into_iter().map(Into::into));
        let env: BTreeMap<String, String> = env
            .into_iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .collect();
        let file_variable = format!("{prefix}CONFIG");
        file = file.or_else(|| env.get(&file_variable).map(PathBuf::from));

        if let Some(file) = file {
            layers.file(&file);
        }
        for (name, text) in env.into_iter().filter(|(name, _)| *name != file_variable) {
            let key = keys
                .iter()
                .find(|key| key.env(&prefix) == name)
                .map(|key| key.name);
            layers.set(key.unwrap_or(&name), key.is_some(), text, format!("env {name}"));
        }
        for (name, text) in flags {
            let source = format!("flag --{name}");
            layers.set(&name, keys.iter().any(|key| key.name == name), text, source);
        }
        layers.check(&prefix)
    }

    /// The value of a key of the table.
    ///
    /// # Panics
    /// When the table has no such key, has it as optional, or has it as another type: a bug of the table.
    #[must_use]
    pub fn get<T: FromStr>(&self, name: &str) -> T {
        self.optional(name)
            .unwrap_or_else(|| panic!("key {name} is optional, or missing in the table"))
    }

    /// The value of an optional key of the table.
    ///
    /// # Panics
    /// When the table has no such key, or has it as another type: a bug of the table.
    #[must_use]
    pub fn optional<T: FromStr>(&self, name: &str) -> Option<T> {
        assert!(
            self.keys.iter().any(|key| key.name == name),
            "the table of keys has no {name}"
        );
        let text = &self.values.get(name)?.text;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("key {name} was checked as another type")),
        )
    }

    /// What is in the file that a key names; empty, with a fault noted, when it cannot be read.
    ///
    /// # Panics
    /// As [`Settings::get`].
    #[must_use]
    pub fn read_file(&self, name: &str) -> Vec<u8> {
        let path: PathBuf = self.get(name);
        std::fs::read(&path).unwrap_or_else(|e| {
            self.fault(name, format!("cannot read {}: {e}", path.display()));
            Vec::new()
        })
    }

    /// Notes a fault that only the service can see, such as two keys that contradict each other.
    pub fn fault(&self, name: &str, problem: impl Display) {
        let source = self
            .values
            .get(name)
            .map_or_else(|| format!("key {name}"), |value| value.source.clone());
        self.faults.borrow_mut().add(source, problem);
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Every fault noted since.
    pub fn finish(self) -> Result<(), Faults> {
        self.faults.into_inner().into_result()
    }

    /// What `--help` prints.
    #[must_use]
    pub fn help(service: &str, keys: &[Key]) -> String {
        let prefix = format!("PIX_{}_", service.to_uppercase());
        let mut text = format!(
            "{service}: settings, from weakest to strongest: default, TOML file (--config FILE or {prefix}CONFIG),\n\
             environment ({prefix}<KEY>, dots as underscores), flags (--key=value).\n\n"
        );
        let width = keys.iter().map(|key| key.name.len()).max().unwrap_or(0);
        for key in keys {
            let default = match key.default {
                Some(default) => format!("default {default}"),
                None if key.optional => "optional".to_owned(),
                None => "required".to_owned(),
            };
            writeln!(
                text,
                "  --{:width$}  {} ({}; {default})",
                key.name, key.meaning, key.unit
            )
            .expect("a String takes everything");
        }
        text
    }
}

/// The keys as JSON, for `--describe`.
pub(crate) fn to_json(service: &str, keys: &[Key]) -> serde_json::Value {
    let prefix = format!("PIX_{}_", service.to_uppercase());
    let key = |key: &Key| {
        serde_json::json!({
            "name": key.name,
            "default": key.default,
            "required": key.default.is_none() && !key.optional,
            "unit": key.unit,
            "meaning": key.meaning,
            "environment": key.env(&prefix),
        })
    };
    keys.iter().map(key).collect()
}

/// The layers being laid over each other.
struct Layers {
    keys: &'static [Key],
    values: BTreeMap<&'static str, Value>,
    faults: Faults,
}

impl Layers {
    /// `--config FILE` and the other flags, each `--key=value` or `--key value`.
    fn split_flags(
        &mut self,
        args: impl Iterator<Item = String>,
    ) -> (Option<PathBuf>, Vec<(String, String)>) {
        let (mut file, mut flags) = (None, Vec::new());
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            let Some(flag) = arg.strip_prefix("--") else {
                self.faults.add(
                    "arguments",
                    format!("{arg:?} is not a flag like --key=value; see --help"),
                );
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (flag.to_owned(), args.next_if(|next| !next.starts_with("--"))),
            };
            match value {
                None => self
                    .faults
                    .add(format!("flag --{name}"), "has no value; write --key=value"),
                Some(value) if name == "config" => file = Some(PathBuf::from(value)),
                Some(value) => flags.push((name, value)),
            }
        }
        (file, flags)
    }

    fn file(&mut self, path: &std::path::Path) {
        let name = format!("file {}", path.display());
        let parsed = std::fs::read_to_string(path)
            .map_err(|e| e.to_string())
            .and_then(|text| {
                text.parse::<toml::Table>()
                    .map_err(|e| e.to_string().trim_end().to_owned())
            });
        match parsed {
            Ok(table) => self.table("", &table, &name),
            Err(problem) => self.faults.add(name, problem),
        }
    }

    /// `[listen] primary = ".."` and `listen.primary = ".."` are the same key.
    fn table(&mut self, above: &str, table: &toml::Table, file: &str) {
        for (name, value) in table {
            let name = if above.is_empty() {
                name.clone()
            } else {
                format!("{above}.{name}")
            };
            let source = format!("{file}, key {name}");
            let known = self.keys.iter().any(|key| key.name == name);
            match value {
                toml::Value::Table(inner) => self.table(&name, inner, file),
                toml::Value::String(text) => self.set(&name, known, text.clone(), source),
                toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                    self.set(&name, known, value.to_string(), source);
                }
                toml::Value::Datetime(_) | toml::Value::Array(_) => {
                    self.faults
                        .add(source, "has to be a text, a number, true or false");
                }
            }
        }
    }

    fn set(&mut self, name: &str, known: bool, text: String, source: String) {
        match self.keys.iter().find(|key| known && key.name == name) {
            Some(key) => drop(self.values.insert(key.name, Value { text, source })),
            None => self
                .faults
                .add(source, "is not a setting of this service; see --help"),
        }
    }

    /// Checks what the layers came to.
    fn check(mut self, prefix: &str) -> Result<Settings, Faults> {
        for key in self.keys {
            if let Some(default) = key.default {
                let value = Value {
                    text: default.to_owned(),
                    source: format!("default of {}", key.name),
                };
                self.values.entry(key.name).or_insert(value);
            }
            if key.optional
                && self
                    .values
                    .get(key.name)
                    .is_some_and(|value| value.text.is_empty())
            {
                self.values.remove(key.name);
            }
            match self.values.get(key.name) {
                Some(value) => {
                    if let Err(problem) = (key.check)(&value.text) {
                        self.faults.add(
                            value.source.clone(),
                            format!("{problem} (expected: {})", key.unit),
                        );
                    }
                }
                None if key.optional => {}
                None => self.faults.add(
                    format!("key {}", key.name),
                    format!(
                        "is missing; set it in the file, as {} or as --{}=",
                        key.env(prefix),
                        key.name
                    ),
                ),
            }
        }
        self.faults.into_result()?;
        Ok(Settings {
            keys: self.keys,
            values: self.values,
            faults: RefCell::default(),
        })
    }
}
