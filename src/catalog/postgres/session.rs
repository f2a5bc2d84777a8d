//! A connection to one server, and how it is made.
//!
//! Each connection is to one server by name: the library's own list of hosts would wait for a host
//! that is stopped, whose kernel still accepts connections. Time limits are this process's own, for
//! the same reason: the kernel of a stopped server also acknowledges what is sent to it.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Row, Statement};

use super::password::{Passwords, host_and_port};
use super::tls::Encryption;
use crate::roles::{Address, DatabaseUrl};
use crate::storage::StorageError;

/// For TCP to connect. A server on the next machine takes a millisecond.
const CONNECT_LIMIT: Duration = Duration::from_millis(200);
/// After how long without an acknowledgement the kernel gives a connection up.
const TCP_LIMIT: Duration = Duration::from_secs(1);

/// The settings of each session. They win over those of the role and of the database.
///
/// A commit waits for the standbys. A lock that a dead client's session holds is waited for less
/// long than a call takes, so that the server gives up before its client does; it looks itself
/// whether its client lives.
const OPTIONS: &str = "-c synchronous_commit=on \
                       -c default_transaction_isolation=read\\ committed \
                       -c default_transaction_read_only=off \
                       -c lock_timeout=500ms \
                       -c idle_in_transaction_session_timeout=1s \
                       -c statement_timeout=2s \
                       -c client_connection_check_interval=100ms";

/// How to log in to the servers of a database.
pub(super) struct Login {
    url: DatabaseUrl,
    passwords: Passwords,
    encryption: Encryption,
}

/// A connection to one server. It ends when it is dropped, and is never made anew.
pub(super) struct ServerSession {
    pub(super) server: Address,
    client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
    warnings: Arc<Warnings>,
}

/// What the server warned of without being asked.
#[derive(Default)]
struct Warnings {
    /// Warnings before the first answer are about the session's start, such as one of a collation.
    has_answered: AtomicBool,
    first: OnceLock<String>,
}

impl Login {
    pub(super) fn new(url: &DatabaseUrl) -> Result<Self, StorageError> {
        Ok(Self {
            url: url.clone(),
            passwords: Passwords::of_environment()?,
            encryption: Encryption::new(url.tls())?,
        })
    }

    pub(super) fn servers(&self) -> &[Address] {
        self.url.servers()
    }

    /// Connects and logs in. The caller sets the time limit.
    pub(super) async fn dial(&self, server: &Address) -> Result<ServerSession, StorageError> {
        let config = self.config(server);
        let warnings = Arc::new(Warnings::default());
        let failed = |error| classify(server, &error);
        let client = match &self.encryption {
            Encryption::Off => {
                let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
                drive(connection, Arc::clone(&warnings));
                client
            }
            #[cfg(feature = "tls")]
            Encryption::On(connector) => {
                let (client, connection) =
                    config.connect(connector.clone()).await.map_err(failed)?;
                drive(connection, Arc::clone(&warnings));
                client
            }
        };
        Ok(ServerSession { server: server.clone(), client, statements: Mutex::default(), warnings })
    }

    fn config(&self, server: &Address) -> Config {
        let (host, port) = host_and_port(server);
        let mut config = Config::new();
        config
            .user(self.url.user())
            .dbname(self.url.name())
            .host(host)
            .port(port.parse().expect("it was parsed as a port"))
            .application_name("toystore")
            .options(OPTIONS)
            .connect_timeout(CONNECT_LIMIT)
            .tcp_user_timeout(TCP_LIMIT)
            .keepalives_idle(TCP_LIMIT)
            .keepalives_interval(TCP_LIMIT)
            .keepalives_retries(1)
            .ssl_mode(match self.encryption {
                Encryption::Off => SslMode::Disable,
                #[cfg(feature = "tls")]
                Encryption::On(_) => SslMode::Require,
            });
        if let Some(password) = self.passwords.password_for(&self.url, server) {
            config.password(password);
        }
        config
    }
}

/// Moves bytes between the socket and the session's calls, and notes warnings. A warning comes
/// before the end of the answer that it belongs to, and is noted before that answer is given.
fn drive<S, T>(mut connection: Connection<S, T>, warnings: Arc<Warnings>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => warnings.note(&notice),
                Ok(_) => {}
                // The session's calls fail, and say why.
                Err(_) => return,
            }
        }
    });
}

impl Warnings {
    /// Keeps the first warning. Two of them say that a commit is not on the standbys: 01000, the
    /// wait was cancelled; 57P01, the server ends. Another one would be a surprise, and ends the
    /// term as well.
    fn note(&self, notice: &DbError) {
        if notice.severity() != "WARNING" || !self.has_answered.load(Ordering::Relaxed) {
            return;
        }
        let _first = self.first.set(format!("{} ({})", notice.message(), notice.code().code()));
    }
}

impl ServerSession {
    /// Prepares a statement, once.
    pub(super) async fn prepare(&self, sql: &'static str) -> Result<Statement, StorageError> {
        let known = || self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(statement) = known().get(sql) {
            return Ok(statement.clone());
        }
        let prepared =
            self.client.prepare(sql).await.map_err(|error| classify(&self.server, &error))?;
        known().insert(sql, prepared.clone());
        Ok(prepared)
    }

    /// Asks for rows. A statement that writes has been committed when this returns, and no warning
    /// has come that says otherwise.
    pub(super) async fn query(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StorageError> {
        let statement = self.prepare(sql).await?;
        let rows = self.client.query(&statement, parameters).await;
        let rows = rows.map_err(|error| classify(&self.server, &error))?;
        self.warnings.has_answered.store(true, Ordering::Relaxed);
        match self.warnings.first.get() {
            Some(warning) => Err(self.lost(warning)),
            None => Ok(rows),
        }
    }

    /// Asks for one row.
    pub(super) async fn query_one(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, StorageError> {
        let row = self.query(sql, parameters).await?.into_iter().next();
        row.ok_or_else(|| self.lost("an answer has no row"))
    }

    /// Runs statements that return nothing.
    pub(super) async fn run(&self, sql: &str) -> Result<(), StorageError> {
        self.client.batch_execute(sql).await.map_err(|error| classify(&self.server, &error))
    }

    /// The error of a server that did not answer as it should.
    pub(super) fn lost(&self, why: &str) -> StorageError {
        StorageError::Lost(format!("{}: {why}", self.server))
    }
}

/// What an error says. One that a person must mend is told from one that time may.
fn classify(server: &Address, error: &tokio_postgres::Error) -> StorageError {
    let Some(answer) = error.as_db_error() else {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        return StorageError::Lost(format!("{server}: {error}{cause}"));
    };
    let code = answer.code().code();
    let said = format!("{server}: {} ({code})", answer.message());
    if *answer.code() == SqlState::UNDEFINED_TABLE {
        let advice = "the database has no store yet; run `toystore catalog --migrate`";
        return StorageError::Unusable(format!("{said}; {advice}"));
    }
    // Who may log in, that the database exists, rights, and what the statements need.
    if ["28", "3D", "42"].iter().any(|class| code.starts_with(class)) {
        return StorageError::Unusable(said);
    }
    StorageError::Lost(said)
}
