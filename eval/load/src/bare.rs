//! The least that actix-web can do to answer a query: one handler, and a body that is there.

use std::io::Read as _;

use actix_web::{App, HttpResponse, HttpServer, web};

use crate::Problem;

/// What the store answers, to the byte.
const TOY: &str = r#"{"data":{"name":"Tux","price":15.99,"quantity":1000000}}"#;
/// The list that the store's client begins with.
const TOYS: &str = r#"{"data":[{"name":"Tux","price":15.99,"quantity":1000000}]}"#;

/// Serves until the standard input ends, so that it cannot outlive the script that started it.
pub(crate) fn serve(address: &str) -> Result<(), Problem> {
    actix_web::rt::System::new().block_on(async {
        let server = HttpServer::new(|| {
            App::new()
                .route("/products/{name}", web::get().to(|| async { answer(TOY) }))
                .route("/products", web::get().to(|| async { answer(TOYS) }))
        })
        .disable_signals()
        .bind(address)?
        .run();
        let handle = server.handle();
        std::thread::spawn(move || {
            // However the input ends, it is over.
            let _read = std::io::stdin().read_to_end(&mut Vec::new());
            // The server is told by the call; to await the future is to wait until it has ended.
            drop(handle.stop(false));
        });
        println!("ready");
        server.await?;
        Ok(())
    })
}

fn answer(body: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header(("cache-control", "no-store"))
        .insert_header(("x-cache", "hit"))
        .body(body)
}
