//! What a key takes: from TOML or a variable to what was written, from there to a checked value.
//!
//! Takes one value and the row of its key. Promises a value in the row's range, or what is wrong
//! with which value. Nothing here knows any particular key.

use crate::{limits::LimitRow, quote::Quoted};

use super::{error::ConfigError, words::Word};

/// One key of the configuration, as messages and docs describe it.
#[derive(Debug, Clone, Copy)]
pub struct KeyRow {
    /// The section it stands in.
    pub section: &'static str,
    /// Its name there, with its unit.
    pub name: &'static str,
    /// What it says.
    pub doc: &'static str,
    /// Its value unless it is set.
    pub default: Fallback,
    /// The range of a number, or of how many items a list has; 0 and 0 where neither.
    pub range: (u64, u64),
    allowed: fn((u64, u64)) -> String,
}

/// The value of a key that is not set.
#[derive(Debug, Clone, Copy)]
pub enum Fallback {
    /// A number.
    Int(u64),
    /// A string.
    Text(&'static str),
    /// A list of strings.
    List(&'static [&'static str]),
    /// None: the key is optional.
    Unset,
}

impl Fallback {
    /// The value as it would be written, if there is one.
    pub(super) fn to_toml(self) -> Option<toml::Value> {
        match self {
            Self::Int(number) => Some(integer(number)),
            Self::Text(text) => Some(text.into()),
            Self::List(items) => Some(items.to_vec().into()),
            Self::Unset => None,
        }
    }
}

/// Numbers here have ranges far below [`i64::MAX`].
pub(super) fn integer(number: u64) -> toml::Value {
    toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

impl KeyRow {
    pub(super) const fn new<T: Setting>(
        section: &'static str,
        name: &'static str,
        doc: &'static str,
        default: Fallback,
        range: (u64, u64),
    ) -> Self {
        Self {
            section,
            name,
            doc,
            default,
            range,
            allowed: T::allowed,
        }
    }

    /// The key that sets the node-wide default of a limit.
    pub(super) fn of_limit(row: &'static LimitRow) -> Self {
        Self::new::<u32>(
            LIMITS_SECTION,
            row.name,
            row.doc,
            Fallback::Int(row.default),
            (row.min, row.max),
        )
    }

    /// Its full dotted path: `http.threads`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that overrides it: `LITTORAL_HTTP_THREADS`.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}_{}", self.section, self.name).to_ascii_uppercase()
    }

    /// What it takes, in words.
    pub fn allowed(&self) -> String {
        (self.allowed)(self.range)
    }

    /// Its default as it would be written, or "not set".
    pub fn default_text(&self) -> String {
        match self.default.to_toml() {
            Some(value) => value.to_string(),
            None => "not set".to_owned(),
        }
    }

    pub(super) fn error(&self, wrong: Wrong) -> ConfigError {
        ConfigError::Value {
            key: self.path(),
            value: wrong.value,
            reason: wrong.reason,
            variable: None,
            allowed: self.allowed(),
        }
    }
}

/// With what every variable of ours starts.
pub(super) const VARIABLE_PREFIX: &str = "LITTORAL_";
/// The section whose keys are the rows of the table of limits.
pub(super) const LIMITS_SECTION: &str = "limits";

/// A value that its key does not take.
pub struct Wrong {
    value: Quoted,
    reason: String,
}

impl Wrong {
    pub(super) fn text(value: &str, reason: impl Into<String>) -> Self {
        Self {
            value: Quoted::new(value),
            reason: reason.into(),
        }
    }

    pub(super) fn bare(value: impl ToString, reason: impl Into<String>) -> Self {
        Self {
            value: Quoted::bare(&value.to_string()),
            reason: reason.into(),
        }
    }

    /// A value of another TOML type than the one that is `wanted`.
    pub(super) fn type_of(value: &toml::Value, wanted: &str) -> Self {
        let reason = match value {
            toml::Value::String(_) => format!("is a string, not {wanted}"),
            toml::Value::Integer(_) => format!("is a number, not {wanted}"),
            toml::Value::Float(_) => format!("is a fractional number, not {wanted}"),
            toml::Value::Boolean(_) => format!("is a boolean, not {wanted}"),
            toml::Value::Datetime(_) => format!("is a date or time, not {wanted}"),
            toml::Value::Array(_) => format!("is a list, not {wanted}"),
            toml::Value::Table(_) => format!("is a section, not {wanted}"),
        };
        match value {
            toml::Value::String(text) => Self::text(text, reason),
            other => Self::bare(other, reason),
        }
    }
}

/// Where a written value comes from.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// The file.
    Toml(&'a toml::Value),
    /// An environment variable: lists separated by commas.
    Variable(&'a str),
}

/// What was written, before anything was looked up or compared.
pub trait Written: Sized {
    /// Reads the TOML type or the variable's text.
    fn read(input: Input<'_>) -> Result<Self, Wrong>;
}

impl Written for u64 {
    fn read(input: Input<'_>) -> Result<Self, Wrong> {
        const WANTED: &str = "a whole number; the unit is part of the key's name";
        match input {
            Input::Toml(toml::Value::Integer(number)) => {
                Self::try_from(*number).map_err(|_| Wrong::bare(number, "is negative"))
            }
            Input::Toml(other) => Err(Wrong::type_of(other, WANTED)),
            Input::Variable(text) if text.bytes().all(|b| b.is_ascii_digit()) => text
                .parse()
                .map_err(|_| Wrong::text(text, "is out of range")),
            Input::Variable(text) => Err(Wrong::text(text, format!("is not {WANTED}"))),
        }
    }
}

impl Written for String {
    fn read(input: Input<'_>) -> Result<Self, Wrong> {
        match input {
            Input::Toml(toml::Value::String(text)) => Ok(text.clone()),
            Input::Toml(other) => Err(Wrong::type_of(other, "a string")),
            Input::Variable(text) => Ok(text.to_owned()),
        }
    }
}

impl Written for Vec<String> {
    fn read(input: Input<'_>) -> Result<Self, Wrong> {
        match input {
            Input::Toml(toml::Value::Array(items)) => items
                .iter()
                .map(|item| match item {
                    toml::Value::String(text) => Ok(text.clone()),
                    other => Err(Wrong::type_of(other, "a string")),
                })
                .collect(),
            Input::Toml(other) => Err(Wrong::type_of(other, "a list")),
            Input::Variable(text) if text.trim().is_empty() => Ok(Vec::new()),
            Input::Variable(text) => {
                Ok(text.split(',').map(|item| item.trim().to_owned()).collect())
            }
        }
    }
}

/// A checked value.
pub trait Setting: Sized {
    /// How it is written.
    type Written: Written;

    /// What may be written, in words.
    fn allowed(range: (u64, u64)) -> String;

    /// Checks what was written.
    fn check(written: &Self::Written, range: (u64, u64)) -> Result<Self, Wrong>;

    /// The value as it would be written; `None` if the key would be left out.
    fn to_toml(&self) -> Option<toml::Value>;

    /// The value of a key that may be left out and has no default.
    fn unset() -> Option<Self> {
        None
    }
}

impl Setting for u32 {
    type Written = u64;

    fn allowed((min, max): (u64, u64)) -> String {
        format!("{min} to {max}")
    }

    fn check(written: &u64, (min, max): (u64, u64)) -> Result<Self, Wrong> {
        Self::try_from(*written)
            .ok()
            .filter(|_| (min..=max).contains(written))
            .ok_or_else(|| Wrong::bare(written, "is out of range"))
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some(integer(u64::from(*self)))
    }
}

impl<T: Word> Setting for T {
    type Written = String;

    fn allowed(_: (u64, u64)) -> String {
        T::ALLOWED.to_owned()
    }

    fn check(written: &String, _: (u64, u64)) -> Result<Self, Wrong> {
        T::read(written).map_err(|reason| Wrong::text(written, reason))
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some(self.write().into())
    }
}

/// Optional: the empty string is the same as leaving the key out, so that a variable can do it.
impl<T: Word> Setting for Option<T> {
    type Written = String;

    fn allowed(_: (u64, u64)) -> String {
        format!("\"\" for none, or {}", T::ALLOWED)
    }

    fn check(written: &String, range: (u64, u64)) -> Result<Self, Wrong> {
        if written.is_empty() {
            Ok(None)
        } else {
            T::check(written, range).map(Some)
        }
    }

    fn to_toml(&self) -> Option<toml::Value> {
        self.as_ref().and_then(Setting::to_toml)
    }

    fn unset() -> Option<Self> {
        Some(None)
    }
}

impl<T: Word> Setting for Vec<T> {
    type Written = Vec<String>;

    fn allowed((min, max): (u64, u64)) -> String {
        format!("a list of {min} to {max}, each {}", T::ALLOWED)
    }

    fn check(written: &Vec<String>, (min, max): (u64, u64)) -> Result<Self, Wrong> {
        let in_range = u64::try_from(written.len()).is_ok_and(|n| (min..=max).contains(&n));
        if !in_range {
            let reason = format!("has {} items", written.len());
            return Err(Wrong::bare(toml::Value::from(written.clone()), reason));
        }
        written
            .iter()
            .map(|item| T::check(item, (min, max)))
            .collect()
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some(
            self.iter()
                .filter_map(Setting::to_toml)
                .collect::<Vec<_>>()
                .into(),
        )
    }
}

/// The checked value of a key; its default, and an error more, where that is impossible.
///
/// Going on with the default lets one run report everything that is wrong.
pub(super) fn resolve<T: Setting>(
    written: Option<&T::Written>,
    row: &KeyRow,
    errors: &mut Vec<ConfigError>,
) -> T {
    match written.map(|written| T::check(written, row.range)) {
        Some(Ok(value)) => value,
        Some(Err(wrong)) => {
            errors.push(row.error(wrong));
            default(row)
        }
        None => default(row),
    }
}

fn default<T: Setting>(row: &KeyRow) -> T {
    row.default
        .to_toml()
        .and_then(|value| T::Written::read(Input::Toml(&value)).ok())
        .and_then(|written| T::check(&written, row.range).ok())
        .or_else(T::unset)
        .expect("each key has a default that it takes: a test resolves them all")
}
