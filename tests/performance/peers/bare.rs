//! The upper limit: a server of nothing but hyper, of the version that Littoral has, one thread a core, each with its own
//! socket, which answers everything with what `hello` says. This bench, started again as a child, so that its CPU time and
//! memory are a process's like those of the others.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};

/// The argument that makes this bench the server.
pub(crate) const ARGUMENT: &str = "serve-bare";

/// Serves until killed; says where on standard output.
pub(crate) fn serve() {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let runtime = runtime();
    let first = runtime.block_on(async { listen(any) });
    let address = first.local_addr().expect("a bound socket");
    println!("{address}");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 1..cores {
        std::thread::spawn(move || {
            let runtime = self::runtime();
            runtime.block_on(async { accept(listen(address)).await });
        });
    }
    runtime.block_on(accept(first));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("Linux has it");
    socket.bind(address).expect("the address is ours");
    socket.listen(1024).expect("a bound socket")
}

async fn accept(listener: TcpListener) {
    let tasks = tokio::task::LocalSet::new();
    let serve = tasks.run_until(async {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::task::spawn_local(async move {
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(hello));
                // A client that hangs up is no news.
                let _ = connection.await;
            });
        }
    });
    serve.await;
}

async fn hello(_: Request<hyper::body::Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"Hello from the edge!\n")));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}
