//! What is spoken with PostgreSQL (protocol 3), message by message.
//!
//! The messages and the authentication are `postgres-protocol`'s. What drives them is own: a message is reserved for once
//! its length is known to be within bounds, and no other statement is ever sent than the guest's, which clients that look
//! types up by themselves do, as often and as deeply as the server has them.

use std::sync::Arc;

use bytes::BytesMut;
use fallible_iterator_02::FallibleIterator as _;
use postgres_protocol::IsNull;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{ErrorFields, Header, Message, RowDescriptionBody};
use postgres_protocol::message::frontend;

use super::super::failure::Failure;
use super::super::pool::Pool;
use super::super::session::Protocol;
use super::super::wire::Wire;
use super::address::{Address, Encryption};
use super::error::DatabaseError;
use super::value::{Generation, Kind, Value};
use crate::host::capabilities::Capabilities;
use crate::host::outbound::{self, Trust};

const NAME: &str = "PostgreSQL";
/// What a value takes beside its bytes.
const VALUE_BYTES: usize = 80;

/// One connection to a server.
pub(in crate::host::databases) struct Client {
    wire: Wire,
    /// Whether no transaction is open on it.
    is_idle: bool,
}

/// A statement with its values, as it is sent.
pub(in crate::host::databases) struct Sent {
    bytes: BytesMut,
    /// Who asks.
    generation: Generation,
}

/// A value for a statement: in the form in which it is typed, or as it is.
pub(super) struct Parameter {
    /// As it is, for bytes.
    pub(super) is_binary: bool,
    /// Nothing for NULL.
    pub(super) bytes: Option<Vec<u8>>,
}

/// What a statement gives.
#[derive(Default)]
pub(in crate::host::databases) struct Answer {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Value>>,
    /// Rows that it changed or gave.
    pub(super) affected: u64,
}

/// A column of it.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// Why a statement gives nothing; the connection is as it was.
pub(in crate::host::databases) enum Refusal {
    /// The server's word.
    Database(DatabaseError),
    /// A value that the interface has no form for.
    Value(String),
}

pub(super) fn garbage(error: std::io::Error) -> Failure {
    Failure::Garbage(NAME, error.to_string())
}

fn unexpected(what: &str) -> Failure {
    Failure::Garbage(NAME, what.to_owned())
}

impl Sent {
    /// A statement with its values.
    ///
    /// # Errors
    /// A text that says what cannot be sent.
    pub(super) fn new(
        statement: &str,
        values: Vec<Parameter>,
        generation: Generation,
    ) -> Result<Self, String> {
        let mut sent = BytesMut::new();
        let said = |error: std::io::Error| error.to_string();
        frontend::parse("", statement, [], &mut sent).map_err(said)?;
        let formats: Vec<i16> = values.iter().map(|one| i16::from(one.is_binary)).collect();
        let write = |one: Parameter, sent: &mut BytesMut| {
            let Some(bytes) = one.bytes else {
                return Ok(IsNull::Yes);
            };
            sent.extend_from_slice(&bytes);
            Ok(IsNull::No)
        };
        // All of the answer in the form that says it exactly.
        let bound = frontend::bind("", "", formats, values, write, [1], &mut sent);
        bound.map_err(|error| match error {
            frontend::BindError::Conversion(error) => error.to_string(),
            frontend::BindError::Serialization(error) => error.to_string(),
        })?;
        frontend::describe(b'P', "", &mut sent).map_err(said)?;
        frontend::execute("", 0, &mut sent).map_err(said)?;
        frontend::sync(&mut sent);
        Ok(Self {
            bytes: sent,
            generation,
        })
    }
}

impl Protocol for Client {
    type Address = Address;
    type Ask = Sent;
    type Answer = Result<Answer, Refusal>;

    async fn begin(
        wire: Wire,
        address: &Address,
        capabilities: &Capabilities,
    ) -> Result<Self, Failure> {
        let mut client = Self {
            wire,
            is_idle: false,
        };
        client.encrypt(address, capabilities).await?;
        let own = [
            ("user", &*address.user),
            ("database", &*address.database),
            ("client_encoding", "UTF8"),
        ];
        let asked = address.settings.iter();
        let settings = own
            .into_iter()
            .chain(asked.map(|(name, value)| (*name, value.as_str())));
        let mut sent = BytesMut::new();
        frontend::startup_message(settings, &mut sent).map_err(garbage)?;
        client.wire.send(&sent).await?;
        client.authenticate(address).await?;
        client.ready().await?;
        Ok(client)
    }

    async fn again(&mut self) -> Result<(), Failure> {
        let mut sent = BytesMut::new();
        frontend::query("DISCARD ALL", &mut sent).map_err(garbage)?;
        match self
            .ask(Sent {
                bytes: sent,
                generation: Generation::Second,
            })
            .await?
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::Closed),
        }
    }

    fn bytes(ask: &Sent) -> u64 {
        ask.bytes.len() as u64
    }

    async fn ask(&mut self, ask: Sent) -> Result<Self::Answer, Failure> {
        self.wire.send(&ask.bytes).await?;
        let mut answer = Answer::default();
        let mut refusal = None;
        loop {
            match self.message().await? {
                Message::RowDescription(body) => {
                    answer.columns = columns(&mut self.wire, &body, ask.generation)?;
                }
                Message::DataRow(body) => {
                    let mut ranges = body.ranges();
                    let mut row = Vec::new();
                    let mut columns = answer.columns.iter();
                    while let Some(range) = ranges.next().map_err(garbage)? {
                        let column = columns.next();
                        let column = column.ok_or_else(|| unexpected("a row of more columns"))?;
                        self.wire.count(VALUE_BYTES)?;
                        let bytes = range.map(|range| body.buffer().get(range).unwrap_or_default());
                        let mut spend = |bytes| self.wire.count(bytes);
                        match Value::read(column.kind, bytes, &mut spend)? {
                            Ok(value) => row.push(value),
                            Err(why) => {
                                let why = format!("column {:?}: {why}", column.name);
                                refusal.get_or_insert(Refusal::Value(why));
                            }
                        }
                    }
                    if columns.next().is_some() {
                        return Err(unexpected("a row of fewer columns"));
                    }
                    answer.rows.push(row);
                }
                Message::CommandComplete(body) => {
                    let tag = body.tag().map_err(garbage)?;
                    let number = tag.rsplit(' ').next().and_then(|last| last.parse().ok());
                    answer.affected = number.unwrap_or(0);
                }
                Message::ErrorResponse(body) => {
                    let error = DatabaseError::read(body.fields())?;
                    refusal = Some(Refusal::Database(error));
                }
                Message::ReadyForQuery(body) => {
                    self.is_idle = body.status() == b'I';
                    return Ok(refusal.map_or(Ok(answer), Err));
                }
                Message::ParseComplete
                | Message::BindComplete
                | Message::NoData
                | Message::EmptyQueryResponse => {}
                Message::CopyInResponse(_) | Message::CopyOutResponse(_) => {
                    return Err(Failure::NotOffered(
                        "COPY is not offered: the interface has no way to give or take its data"
                            .to_owned(),
                    ));
                }
                _ => return Err(unexpected("a message that does not belong here")),
            }
        }
    }

    fn is_clean(&self) -> bool {
        self.is_idle
    }

    fn wire(&self) -> &Wire {
        &self.wire
    }

    fn wire_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn pool(capabilities: &Capabilities) -> Option<&Arc<Pool<Self>>> {
        Some(&capabilities.outbound()?.databases().postgres)
    }
}

fn columns(
    wire: &mut Wire,
    body: &RowDescriptionBody,
    generation: Generation,
) -> Result<Vec<Column>, Failure> {
    let mut fields = body.fields();
    let mut columns = Vec::new();
    while let Some(field) = fields.next().map_err(garbage)? {
        wire.count(VALUE_BYTES)?;
        columns.push(Column {
            name: field.name().to_owned(),
            kind: Kind::of(field.type_oid(), generation),
        });
    }
    Ok(columns)
}

impl Client {
    async fn encrypt(
        &mut self,
        address: &Address,
        capabilities: &Capabilities,
    ) -> Result<(), Failure> {
        if address.encryption == Encryption::Never {
            return Ok(());
        }
        let mut sent = BytesMut::new();
        frontend::ssl_request(&mut sent);
        self.wire.send(&sent).await?;
        self.wire.fill(1).await?;
        let host = &address.place.host;
        match (&*self.wire.buffer.split_to(1), address.encryption) {
            (b"S", _) => match &address.authority {
                None => self.wire.encrypt(capabilities.trust(), host).await,
                Some(authority) => {
                    let trust = Trust::new(vec![authority.clone()]);
                    self.wire.encrypt(&trust, host).await
                }
            },
            (b"N", Encryption::Offered) => Ok(()),
            (b"N", _) => Err(outbound::Failure::Tls("the server has none".to_owned()).into()),
            _ => Err(unexpected("neither yes nor no to encryption")),
        }
    }

    async fn authenticate(&mut self, address: &Address) -> Result<(), Failure> {
        let password = || {
            let password = address.password.as_deref().map(str::as_bytes);
            password.ok_or_else(|| Failure::Refused("it asks for a password".to_owned()))
        };
        let mut sent = BytesMut::new();
        match self.message().await? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                frontend::password_message(password()?, &mut sent).map_err(garbage)?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(address.user.as_bytes(), password()?, body.salt());
                frontend::password_message(hash.as_bytes(), &mut sent).map_err(garbage)?;
            }
            Message::AuthenticationSasl(body) => {
                let mut offered = body.mechanisms();
                let has = offered.any(|name| Ok(name == SCRAM_SHA_256));
                if !has.map_err(garbage)? {
                    return Err(not_offered());
                }
                return self.scram(password()?).await;
            }
            Message::ErrorResponse(body) => return Err(refused(body.fields())),
            _ => return Err(not_offered()),
        }
        self.wire.send(&sent).await?;
        self.let_in().await
    }

    async fn scram(&mut self, password: &[u8]) -> Result<(), Failure> {
        let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
        let mut sent = BytesMut::new();
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut sent)
            .map_err(garbage)?;
        self.wire.send(&sent).await?;
        match self.message().await? {
            // It bounds how much there is to compute.
            Message::AuthenticationSaslContinue(body) => {
                scram.update(body.data()).map_err(garbage)?;
            }
            Message::ErrorResponse(body) => return Err(refused(body.fields())),
            _ => return Err(unexpected("a message that does not belong here")),
        }
        sent.clear();
        frontend::sasl_response(scram.message(), &mut sent).map_err(garbage)?;
        self.wire.send(&sent).await?;
        match self.message().await? {
            // The server knows the password too.
            Message::AuthenticationSaslFinal(body) => scram.finish(body.data()).map_err(garbage)?,
            Message::ErrorResponse(body) => return Err(refused(body.fields())),
            _ => return Err(unexpected("a message that does not belong here")),
        }
        self.let_in().await
    }

    async fn let_in(&mut self) -> Result<(), Failure> {
        match self.message().await? {
            Message::AuthenticationOk => Ok(()),
            Message::ErrorResponse(body) => Err(refused(body.fields())),
            _ => Err(not_offered()),
        }
    }

    /// Waits until it takes statements.
    async fn ready(&mut self) -> Result<(), Failure> {
        loop {
            match self.message().await? {
                Message::BackendKeyData(_) => {}
                Message::ReadyForQuery(body) => {
                    self.is_idle = body.status() == b'I';
                    return Ok(());
                }
                Message::ErrorResponse(body) => return Err(refused(body.fields())),
                _ => return Err(unexpected("a message that does not belong here")),
            }
        }
    }

    /// The next message, without those that come unasked.
    async fn message(&mut self) -> Result<Message, Failure> {
        loop {
            self.wire.fill(5).await?;
            let header = Header::parse(&self.wire.buffer).map_err(garbage)?;
            let length = header.and_then(|header| usize::try_from(header.len()).ok());
            let length = length.ok_or_else(|| unexpected("a message without a length"))?;
            // First, as what reads it reserves for it.
            self.wire.fill(length.saturating_add(1)).await?;
            match Message::parse(&mut self.wire.buffer).map_err(garbage)? {
                Some(
                    Message::NoticeResponse(_)
                    | Message::ParameterStatus(_)
                    | Message::NotificationResponse(_),
                ) => {}
                Some(message) => return Ok(message),
                None => return Err(unexpected("a message that is not whole")),
            }
        }
    }
}

fn refused(fields: ErrorFields<'_>) -> Failure {
    match DatabaseError::read(fields) {
        Ok(error) => Failure::Refused(error.to_string()),
        Err(failure) => failure,
    }
}

fn not_offered() -> Failure {
    Failure::NotOffered(
        "the server asks for a way to authenticate that is not offered; offered: password, md5, scram-sha-256"
            .to_owned(),
    )
}
