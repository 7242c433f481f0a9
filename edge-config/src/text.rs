//! What every type with a text form shares: serde as a validated string, an OpenAPI string.
//!
//! Takes a type with `FromStr` and `as_str`. Promises that no way in leads past `FromStr`.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::de;

/// Reads a string and hands it to `FromStr`.
pub(crate) struct FromText<T> {
    expecting: &'static str,
    parsed: PhantomData<T>,
}

impl<T> FromText<T> {
    pub(crate) fn new(expecting: &'static str) -> Self {
        Self {
            expecting,
            parsed: PhantomData,
        }
    }
}

impl<T> de::Visitor<'_> for FromText<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Serde in both directions as a string, through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($name:ident, $allowed:expr) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str($crate::text::FromText::new($allowed))
            }
        }
    };
}

/// An OpenAPI string schema; `with` adds keywords of JSON Schema that hold for every accepted text.
macro_rules! text_schema {
    ($name:ident, $allowed:expr, example $example:literal $(, with |$object:ident| $with:expr)?) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let object = utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some($allowed))
                    .examples([$example]);
                $(let object = { let $object = object; $with };)?
                object.into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

/// `Display`, `AsRef<str>` and `Borrow<str>` for a type that is nothing but one checked text.
///
/// `Borrow` holds because equality, order and hash of such a type are those of its text.
macro_rules! is_text {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }
    };
}

pub(crate) use {is_text, serde_as_text, text_schema};
