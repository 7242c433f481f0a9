//! `postgres://user:password@host:port/database?…`, and `host=… user=…`.

use super::super::address::{bounded, decoded, invalid, place, url};
use super::super::failure::Failure;
use super::super::session;

/// A grant of either name is one of the other.
const SCHEMES: &[&str] = &["postgres", "postgresql"];

/// Whether what is said is encrypted; wherever it is, the server must be whom it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    Never,
    /// Where the server offers it.
    Offered,
    Always,
}

/// A PostgreSQL server, as whom, and for which database.
#[derive(PartialEq, Eq)]
pub(in crate::host::databases) struct Address {
    pub(super) place: session::Place,
    pub(super) encryption: Encryption,
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) database: String,
    /// What else a connection begins with.
    pub(super) settings: Vec<(&'static str, String)>,
    /// The authority alone that the server's certificate may be of (DER), where the guest names one.
    pub(super) authority: Option<Vec<u8>>,
}

impl session::Address for Address {
    fn place(&self) -> &session::Place {
        &self.place
    }
}

#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    encryption: Option<Encryption>,
    settings: Vec<(&'static str, String)>,
}

impl Address {
    /// As a guest writes it.
    ///
    /// # Errors
    /// [`Failure::Address`].
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let mut parts = Parts::default();
        if text.contains("://") {
            let url = url(text, SCHEMES)?;
            let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            parts.host = url.host_str().and_then(said);
            parts.port = url.port();
            parts.user = said(url.username())
                .map(|user| decoded(&user, "user"))
                .transpose()?;
            parts.password = url
                .password()
                .map(|password| decoded(password, "password"))
                .transpose()?;
            parts.database = said(url.path().trim_start_matches('/'))
                .map(|name| decoded(&name, "database"))
                .transpose()?;
            for (key, value) in url.query_pairs() {
                parts.set(&key, value.into_owned())?;
            }
        } else {
            bounded(text)?;
            let mut rest = text.trim_start();
            while !rest.is_empty() {
                let (key, after) = rest
                    .split_once('=')
                    .ok_or_else(|| invalid("a word of it has no '='"))?;
                let (value, after) = word(after.trim_start())?;
                parts.set(key.trim_end(), value)?;
                rest = after.trim_start();
            }
        }
        parts.whole()
    }
}

/// A value as it stands behind a `=`, and what follows it.
fn word(text: &str) -> Result<(String, &str), Failure> {
    let quoted = text.strip_prefix('\'');
    let mut value = String::new();
    let inner = quoted.unwrap_or(text);
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        let rest = || inner.get(at + c.len_utf8()..).unwrap_or_default();
        match c {
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            '\'' if quoted.is_some() => return Ok((value, rest())),
            c if quoted.is_none() && c.is_whitespace() => return Ok((value, rest())),
            c => value.push(c),
        }
    }
    if quoted.is_some() {
        return Err(invalid("a quoted value of it has no end"));
    }
    Ok((value, ""))
}

impl Parts {
    fn set(&mut self, key: &str, value: String) -> Result<(), Failure> {
        if value.contains('\0') {
            return Err(invalid(&format!("its {key:?} has a zero byte")));
        }
        match key {
            "host" => self.host = Some(value),
            "port" => {
                let port = value
                    .parse()
                    .map_err(|_| invalid("its port is none; allowed: 1 to 65535"))?;
                self.port = Some(port);
            }
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "sslmode" => {
                self.encryption = Some(match &*value {
                    "disable" => Encryption::Never,
                    "prefer" => Encryption::Offered,
                    "require" | "verify-ca" | "verify-full" => Encryption::Always,
                    _ => {
                        return Err(invalid(
                            "its sslmode is not one of disable, prefer, require, verify-ca and verify-full",
                        ));
                    }
                });
            }
            "application_name" => self.settings.push(("application_name", value)),
            "options" => self.settings.push(("options", value)),
            // The node has limits of its own, and connects to one server.
            "connect_timeout"
            | "keepalives"
            | "keepalives_idle"
            | "keepalives_interval"
            | "keepalives_retries"
            | "tcp_user_timeout" => {}
            "target_session_attrs" if value == "any" => {}
            "channel_binding" if value == "disable" || value == "prefer" => {}
            _ => {
                let shown: String = key.chars().take(64).collect();
                return Err(invalid(&format!(
                    "it has the part {shown:?}, or a value for it, that is not offered"
                )));
            }
        }
        Ok(())
    }

    fn whole(self) -> Result<Address, Failure> {
        let host = self.host.ok_or_else(|| invalid("it names no host"))?;
        if host.starts_with('/') || host.contains(',') {
            return Err(invalid(
                "its host is not one name or address: sockets and lists are not offered",
            ));
        }
        let place = place(SCHEMES, &host, self.port)?;
        let user = self.user.filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| invalid("it names no user"))?;
        Ok(Address {
            place,
            encryption: self.encryption.unwrap_or(Encryption::Offered),
            database: self.database.unwrap_or_else(|| user.clone()),
            user,
            password: self.password,
            settings: self.settings,
            authority: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let url = Address::parse(
            "postgresql://me:p%40s%20s@DB.example.com:6432/shop?sslmode=require&application_name=a",
        );
        let words = Address::parse(
            r"host = db.example.com port=6432 user='me' password='p@s s' dbname=shop sslmode=require application_name=a",
        );
        let (url, words) = (url.unwrap(), words.unwrap());
        assert!(url == words);
        assert_eq!(url.password.as_deref(), Some("p@s s"));
        assert_eq!(url.encryption, Encryption::Always);
        let least = Address::parse("postgres://me@[::1]").unwrap();
        assert_eq!((&*least.place.host, least.place.port), ("::1", 5432));
        assert_eq!(&*least.database, "me");
        assert_eq!(least.encryption, Encryption::Offered);
        let escaped = Address::parse(r"host=a.test user=me password='it\'s \\ it' ").unwrap();
        assert_eq!(escaped.password.as_deref(), Some(r"it's \ it"));
    }

    #[test]
    fn what_leads_nowhere_is_no_address_and_no_password_is_repeated() {
        for text in [
            "",
            "host",
            "host=a.test",
            "user=me password=secret",
            "host='a.test user=me password=secret",
            "host=a.test,b.test user=me password=secret",
            "host=/run/postgresql user=me password=secret",
            "host=a.test port=0 user=me password=secret",
            "host=a.test user=me password=secret sslmode=allow",
            "host=a.test user=me password=secret channel_binding=require",
            "host=a.test user=me password=secret nonsense=1",
            "postgres://me:secret@/shop",
            "postgres://:secret@a.test/shop",
            "mysql://me:secret@a.test/shop",
            "postgres://me:secret%00@a.test/shop",
            "postgres://me:secret@a.test/shop?nonsense=1",
        ] {
            let Err(failure) = Address::parse(text) else {
                panic!("{text} is one");
            };
            assert!(!failure.to_string().contains("secret"), "{failure}");
        }
    }
}
