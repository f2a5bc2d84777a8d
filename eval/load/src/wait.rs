//! Waits for the first sign of something: that a role is ready, or that the store sells.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Problem;
use crate::loops::TOYS;
use crate::store::Store;

/// How often it is looked: as long as what is measured may be wrong by.
const INTERVAL: Duration = Duration::from_millis(1);
/// How long one answer may take. A front-end holds a purchase that cannot be sold yet for longer,
/// and it is the answer to this one that counts.
const LONGEST_ANSWER: Duration = Duration::from_secs(12);

/// Waits until the role at an address is ready (`ready`) or a front-end there has sold a toy
/// (`sold`), and prints the time in microseconds since 1970.
pub(crate) fn until(sign: &str, address: &str, seconds: &str) -> Result<(), Problem> {
    let address: SocketAddr = address.parse()?;
    let deadline = Instant::now() + Duration::from_secs(seconds.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        loop {
            let seen = match sign {
                "ready" => tokio::time::timeout(LONGEST_ANSWER, is_ready(address)).await,
                "sold" => tokio::time::timeout(LONGEST_ANSWER, sells(address)).await,
                _ => return Err("the sign is ready or sold".into()),
            };
            match seen {
                Ok(Ok(())) => break,
                Ok(Err(problem)) if Instant::now() > deadline => return Err(problem),
                Err(late) if Instant::now() > deadline => return Err(late.into()),
                Ok(Err(_)) | Err(_) => tokio::time::sleep(INTERVAL).await,
            }
        }
        println!("{}", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros());
        Ok(())
    })
}

async fn is_ready(address: SocketAddr) -> Result<(), Problem> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(answer.into()) }
}

async fn sells(address: SocketAddr) -> Result<(), Problem> {
    Store::connect(address).await?.order(TOYS[0]).await
}
