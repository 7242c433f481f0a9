//! `redis://user:password@host:port/database`.

use super::super::address::{decoded, invalid, place, url};
use super::super::failure::Failure;
use super::super::session;

const PLAIN: &[&str] = &["redis"];
const TLS: &[&str] = &["rediss"];

/// A Redis server, and as whom.
#[derive(PartialEq, Eq)]
pub(in crate::host::databases) struct Address {
    pub(super) place: session::Place,
    pub(super) is_tls: bool,
    /// The default one where there is a password alone.
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u32,
}

impl session::Address for Address {
    fn place(&self) -> &session::Place {
        &self.place
    }
}

impl Address {
    /// As a guest writes it.
    ///
    /// # Errors
    /// [`Failure::Address`].
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let url = url(text, &["redis", "rediss"])?;
        let is_tls = url.scheme() == "rediss";
        if url.query().is_some() {
            return Err(invalid("it has a part after '?'"));
        }
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| invalid("it names no host"))?;
        let place = place(if is_tls { TLS } else { PLAIN }, host, url.port())?;
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            digits => digits
                .parse()
                .map_err(|_| invalid("its database is no number"))?,
        };
        let user = Some(url.username()).filter(|user| !user.is_empty());
        Ok(Self {
            place,
            is_tls,
            user: user.map(|user| decoded(user, "user")).transpose()?,
            password: url
                .password()
                .map(|password| decoded(password, "password"))
                .transpose()?,
            database,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_writes_is_taken_as_spin_takes_it() {
        let all = Address::parse("rediss://me:p%40ss@Cache.example.com:6380/3").unwrap();
        assert_eq!(
            (&*all.place.host, all.place.port),
            ("cache.example.com", 6380)
        );
        assert_eq!(
            (all.user.as_deref(), all.password.as_deref()),
            (Some("me"), Some("p@ss"))
        );
        assert!(all.is_tls && all.database == 3);
        let least = Address::parse("redis://[::ffff:127.0.0.1]").unwrap();
        assert_eq!((&*least.place.host, least.place.port), ("127.0.0.1", 6379));
        assert!(!least.is_tls && least.database == 0 && least.user.is_none());
        let password = Address::parse("redis://:secret@localhost").unwrap();
        assert_eq!(
            (password.user, password.password.as_deref()),
            (None, Some("secret"))
        );
    }

    #[test]
    fn what_leads_nowhere_is_no_address_and_no_password_is_repeated() {
        for text in [
            "",
            "localhost:6379",
            "http://localhost",
            "redis://",
            "redis:///0",
            "redis+unix:///run/redis",
            "redis://user:secret@localhost/x",
            "redis://user:secret@localhost:0",
            "redis://user:secret@localhost:70000",
            "redis://user:secret@two..dots",
            "redis://user:secret@localhost/0?protocol=resp3",
            "redis://user:secret@localhost/0#x",
            "redis://user:secret%00@localhost/0",
        ] {
            let Err(failure) = Address::parse(text) else {
                panic!("{text} is one");
            };
            assert!(!failure.to_string().contains("secret"), "{failure}");
        }
    }
}
