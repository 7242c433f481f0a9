//! Values that PostgreSQL gives, in the form that says them exactly.

use fallible_iterator_02::FallibleIterator as _;
use postgres_protocol::types::{self, RangeBound};
use postgres_types::Type;

use super::super::failure::Failure;
use super::calendar::{self, Date, EPOCH_S, MICROS_A_DAY, Time};
use super::numeric;

/// What an element of an array takes beside its bytes.
const ELEMENT_BYTES: usize = 24;

/// Of the interfaces, by what they know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::host::databases) enum Generation {
    Second,
    Third,
    Fourth,
}

/// What a column has, as far as the interfaces know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Floating32,
    Floating64,
    Str,
    Binary,
    Date,
    Time,
    Datetime,
    Timestamp,
    Uuid,
    Jsonb,
    Decimal,
    RangeInt32,
    RangeInt64,
    RangeDecimal,
    ArrayInt32,
    ArrayInt64,
    ArrayDecimal,
    ArrayStr,
    Interval,
    /// By its number.
    Other(u32),
}

/// One end of a range and whether it is in it; nothing where there is no end.
pub(super) type Bound<T> = Option<(T, bool)>;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    Int8(i8),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Floating32(f32),
    Floating64(f64),
    Str(String),
    Binary(Vec<u8>),
    Date(Date),
    Time(Time),
    Datetime(Date, Time),
    Timestamp(i64),
    Uuid(String),
    Jsonb(Vec<u8>),
    Decimal(String),
    RangeInt32(Bound<i32>, Bound<i32>),
    RangeInt64(Bound<i64>, Bound<i64>),
    RangeDecimal(Bound<String>, Bound<String>),
    ArrayInt32(Vec<Option<i32>>),
    ArrayInt64(Vec<Option<i64>>),
    ArrayDecimal(Vec<Option<String>>),
    ArrayStr(Vec<Option<String>>),
    Interval {
        micros: i64,
        days: i32,
        months: i32,
    },
    /// As the server has it.
    Unsupported(Vec<u8>),
}

impl Kind {
    /// Of the type with this number, as far as interfaces of this generation know it.
    pub(super) fn of(oid: u32, generation: Generation) -> Self {
        let kind = Self::in_newest(oid);
        if kind.since() > generation {
            return Self::Other(oid);
        }
        kind
    }

    /// The first generation that knows it.
    fn since(self) -> Generation {
        match self {
            Self::Date | Self::Time | Self::Datetime | Self::Timestamp => Generation::Third,
            Self::Uuid
            | Self::Jsonb
            | Self::Decimal
            | Self::RangeInt32
            | Self::RangeInt64
            | Self::RangeDecimal
            | Self::ArrayInt32
            | Self::ArrayInt64
            | Self::ArrayDecimal
            | Self::ArrayStr
            | Self::Interval => Generation::Fourth,
            Self::Boolean
            | Self::Int8
            | Self::Int16
            | Self::Int32
            | Self::Int64
            | Self::Floating32
            | Self::Floating64
            | Self::Str
            | Self::Binary
            | Self::Other(_) => Generation::Second,
        }
    }

    fn in_newest(oid: u32) -> Self {
        let Some(known) = Type::from_oid(oid) else {
            return Self::Other(oid);
        };
        match known {
            Type::BOOL => Self::Boolean,
            Type::CHAR => Self::Int8,
            Type::INT2 => Self::Int16,
            Type::INT4 => Self::Int32,
            Type::INT8 => Self::Int64,
            Type::FLOAT4 => Self::Floating32,
            Type::FLOAT8 => Self::Floating64,
            Type::TEXT
            | Type::VARCHAR
            | Type::BPCHAR
            | Type::NAME
            | Type::UNKNOWN
            | Type::JSON
            | Type::XML => Self::Str,
            Type::BYTEA => Self::Binary,
            Type::DATE => Self::Date,
            Type::TIME => Self::Time,
            Type::TIMESTAMP => Self::Datetime,
            Type::TIMESTAMPTZ => Self::Timestamp,
            Type::UUID => Self::Uuid,
            Type::JSONB => Self::Jsonb,
            Type::NUMERIC => Self::Decimal,
            Type::INT4_RANGE => Self::RangeInt32,
            Type::INT8_RANGE => Self::RangeInt64,
            Type::NUM_RANGE => Self::RangeDecimal,
            Type::INT4_ARRAY => Self::ArrayInt32,
            Type::INT8_ARRAY => Self::ArrayInt64,
            Type::NUMERIC_ARRAY => Self::ArrayDecimal,
            Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY | Type::NAME_ARRAY => {
                Self::ArrayStr
            }
            Type::INTERVAL => Self::Interval,
            _ => Self::Other(oid),
        }
    }

    /// What a type that the interfaces do not know is called.
    pub(super) fn other_name(oid: u32) -> String {
        Type::from_oid(oid).map_or_else(|| format!("type {oid}"), |known| known.name().to_owned())
    }
}

/// Why a value is not given.
enum Not {
    /// The interface has no form for it.
    Value(String),
    Failure(Failure),
}

impl<E: std::fmt::Display> From<E> for Not {
    fn from(error: E) -> Self {
        Self::Value(error.to_string())
    }
}

/// Told of memory before it is taken.
type Spend<'a> = &'a mut dyn FnMut(usize) -> Result<(), Failure>;

impl Value {
    /// Reads one; `spend` is told of what it takes beyond the bytes that came.
    ///
    /// # Errors
    /// What `spend` answers. A value that is none, or that the interfaces have no form for, is the inner error.
    pub(super) fn read(
        kind: Kind,
        bytes: Option<&[u8]>,
        spend: Spend<'_>,
    ) -> Result<Result<Self, String>, Failure> {
        let Some(bytes) = bytes else {
            return Ok(Ok(Self::Null));
        };
        match Self::read_some(kind, bytes, spend) {
            Ok(value) => Ok(Ok(value)),
            Err(Not::Value(why)) => Ok(Err(why)),
            Err(Not::Failure(failure)) => Err(failure),
        }
    }

    fn read_some(kind: Kind, bytes: &[u8], spend: Spend<'_>) -> Result<Self, Not> {
        Ok(match kind {
            Kind::Boolean => Self::Boolean(types::bool_from_sql(bytes)?),
            Kind::Int8 => Self::Int8(types::char_from_sql(bytes)?),
            Kind::Int16 => Self::Int16(types::int2_from_sql(bytes)?),
            Kind::Int32 => Self::Int32(types::int4_from_sql(bytes)?),
            Kind::Int64 => Self::Int64(types::int8_from_sql(bytes)?),
            Kind::Floating32 => Self::Floating32(types::float4_from_sql(bytes)?),
            Kind::Floating64 => Self::Floating64(types::float8_from_sql(bytes)?),
            Kind::Str => Self::Str(types::text_from_sql(bytes)?.to_owned()),
            Kind::Binary => Self::Binary(bytes.to_vec()),
            Kind::Date => {
                let days = types::date_from_sql(bytes)?;
                Self::Date(finite(i64::from(days), i32::MIN.into(), i32::MAX.into())?)
            }
            Kind::Time => {
                let time = calendar::time(types::time_from_sql(bytes)?);
                Self::Time(time.ok_or("a time beyond the end of a day")?)
            }
            Kind::Datetime => {
                let micros = types::timestamp_from_sql(bytes)?;
                let is_end = micros == i64::MIN || micros == i64::MAX;
                let days = if is_end {
                    micros
                } else {
                    micros.div_euclid(MICROS_A_DAY)
                };
                let date = finite(days, i64::MIN, i64::MAX)?;
                let time = calendar::time(micros.rem_euclid(MICROS_A_DAY));
                Self::Datetime(date, time.ok_or("a time beyond the end of a day")?)
            }
            Kind::Timestamp => {
                let micros = types::timestamp_from_sql(bytes)?;
                if micros == i64::MIN || micros == i64::MAX {
                    return Err(INFINITE.into());
                }
                Self::Timestamp(micros.div_euclid(1_000_000) + EPOCH_S)
            }
            Kind::Uuid => Self::Uuid(uuid(types::uuid_from_sql(bytes)?)),
            Kind::Jsonb => {
                let text = bytes.strip_prefix(b"\x01");
                Self::Jsonb(text.ok_or("JSON in a form that is not known")?.to_vec())
            }
            Kind::Decimal => Self::Decimal(decimal(bytes, spend)?),
            Kind::RangeInt32 => {
                let (lower, upper) = range(bytes, |end| Ok(types::int4_from_sql(end)?))?;
                Self::RangeInt32(lower, upper)
            }
            Kind::RangeInt64 => {
                let (lower, upper) = range(bytes, |end| Ok(types::int8_from_sql(end)?))?;
                Self::RangeInt64(lower, upper)
            }
            Kind::RangeDecimal => {
                let (lower, upper) = range(bytes, |end| decimal(end, spend))?;
                Self::RangeDecimal(lower, upper)
            }
            Kind::ArrayInt32 => Self::ArrayInt32(array(bytes, spend, |one, _| {
                Ok(types::int4_from_sql(one)?)
            })?),
            Kind::ArrayInt64 => Self::ArrayInt64(array(bytes, spend, |one, _| {
                Ok(types::int8_from_sql(one)?)
            })?),
            Kind::ArrayDecimal => Self::ArrayDecimal(array(bytes, spend, decimal)?),
            Kind::ArrayStr => Self::ArrayStr(array(bytes, spend, |one, _| {
                Ok(types::text_from_sql(one)?.to_owned())
            })?),
            Kind::Interval => {
                let parts = bytes.split_first_chunk::<8>().and_then(|(micros, rest)| {
                    let (days, rest) = rest.split_first_chunk::<4>()?;
                    Some((micros, days, <&[u8; 4]>::try_from(rest).ok()?))
                });
                let (micros, days, months) = parts.ok_or("an interval of another length")?;
                Self::Interval {
                    micros: i64::from_be_bytes(*micros),
                    days: i32::from_be_bytes(*days),
                    months: i32::from_be_bytes(*months),
                }
            }
            Kind::Other(_) => Self::Unsupported(bytes.to_vec()),
        })
    }
}

const INFINITE: &str = "a time without end, or of a year that there is no form for";

fn finite(days: i64, first: i64, last: i64) -> Result<Date, Not> {
    if days == first || days == last {
        return Err(INFINITE.into());
    }
    calendar::date(days).ok_or_else(|| INFINITE.into())
}

fn decimal(bytes: &[u8], spend: Spend<'_>) -> Result<String, Not> {
    let text = numeric::text(bytes).ok_or("a number that is none")?;
    spend(text.len()).map_err(Not::Failure)?;
    Ok(text)
}

fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

fn range<T>(
    bytes: &[u8],
    mut read: impl FnMut(&[u8]) -> Result<T, Not>,
) -> Result<(Bound<T>, Bound<T>), Not> {
    let mut bound = |bound: RangeBound<Option<&[u8]>>| {
        let (end, is_in) = match bound {
            RangeBound::Inclusive(end) => (end, true),
            RangeBound::Exclusive(end) => (end, false),
            RangeBound::Unbounded => (None, false),
        };
        end.map(|end| Ok::<_, Not>((read(end)?, is_in))).transpose()
    };
    match types::range_from_sql(bytes)? {
        types::Range::Nonempty(lower, upper) => Ok((bound(lower)?, bound(upper)?)),
        types::Range::Empty => Err("a range with nothing in it, which there is no form for".into()),
    }
}

fn array<T>(
    bytes: &[u8],
    spend: Spend<'_>,
    read: impl Fn(&[u8], Spend<'_>) -> Result<T, Not>,
) -> Result<Vec<Option<T>>, Not> {
    let array = types::array_from_sql(bytes)?;
    if array.dimensions().count()? > 1 {
        return Err("an array of arrays, which there is no form for".into());
    }
    let mut values = array.values();
    let mut read_all = Vec::new();
    while let Some(value) = values.next()? {
        spend(ELEMENT_BYTES).map_err(Not::Failure)?;
        read_all.push(value.map(|bytes| read(bytes, spend)).transpose()?);
    }
    Ok(read_all)
}
