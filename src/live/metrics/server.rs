//! Serves the metrics: `/metrics`, `/healthz` and a page that names them.
//!
//! A few threads, each of which answers one request and closes the connection. Small server crates
//! take a thread for each connection without a bound, or an asynchronous runtime.

use super::{Exposition, milliseconds};
use prometheus::TEXT_FORMAT;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Requests that are answered at the same time.
const THREADS: usize = 4;
/// Longest request head, bytes.
const HEAD_MAX: usize = 8 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Longest silence within a request or while it is answered.
const PATIENCE: Duration = Duration::from_millis(500);
/// Parts in which a request may come; with the patience that bounds its time.
const READS_MAX: usize = 16;

const PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><title>why502 live</title>\n\
    <h1>why502 live</h1>\n<ul>\n<li><a href=\"/metrics\">Metrics</a>\n\
    <li><a href=\"/healthz\">Health of the analysis</a>\n</ul>\n</html>\n";

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[error("{address}: no metrics can be served here: {source}")]
pub struct ServeError {
    address: SocketAddr,
    source: io::Error,
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

/// Reads the address to serve at: a port alone is one of the loopback interface.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse();
    match port {
        Ok(port) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Err(_) => text.parse().map_err(|_| {
            format!("'{text}' is no address: say 127.0.0.1:9502, [::1]:9502 or only the port")
        }),
    }
}

impl Server {
    pub(super) fn start(address: SocketAddr, shown: &Exposition) -> Result<Server, ServeError> {
        let error = |source| ServeError { address, source };
        let listener = Arc::new(TcpListener::bind(address).map_err(error)?);
        let address = listener.local_addr().map_err(error)?;
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..THREADS {
            let (listener, stop, shown) = (listener.clone(), stop.clone(), shown.clone());
            let thread = thread::Builder::new().name("metrics".to_owned());
            thread.spawn(move || serve(&listener, &stop, &shown)).map_err(error)?;
        }
        Ok(Server { address, stop })
    }

    /// Where it serves: with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Each waits for a connection.
        let mut to = self.address;
        match to.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => to.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => to.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        for _ in 0..THREADS {
            drop(TcpStream::connect_timeout(&to, PATIENCE));
        }
    }
}

fn serve(listener: &TcpListener, stop: &AtomicBool, shown: &Exposition) {
    loop {
        let connection = listener.accept();
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match connection {
            // Who does not take the answer does without.
            Ok((mut stream, _)) => drop(answer(&mut stream, shown)),
            // No file descriptor is left, for example.
            Err(_) => thread::sleep(PATIENCE),
        }
    }
}

/// Reads a request and answers it.
fn answer(stream: &mut TcpStream, shown: &Exposition) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = [0; HEAD_MAX];
    let mut read = 0;
    for _ in 0..READS_MAX {
        match stream.read(&mut head[read..])? {
            0 => return Ok(()),
            more => read += more,
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let reply = match request.parse(&head[..read]) {
            Ok(httparse::Status::Complete(_)) => {
                let (method, path) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
                Reply::to(method, path, shown)
            }
            Ok(httparse::Status::Partial) if read < HEAD_MAX => continue,
            Ok(httparse::Status::Partial) | Err(_) => {
                Reply::text("400 Bad Request", "no request\n")
            }
        };
        stream.write_all(&reply.bytes(request.method == Some("HEAD")))?;
        return stream.flush();
    }
    Ok(())
}

/// What is answered.
struct Reply {
    status: &'static str,
    kind: &'static str,
    body: Vec<u8>,
}

impl Reply {
    fn to(method: &str, path: &str, shown: &Exposition) -> Reply {
        if !matches!(method, "GET" | "HEAD") {
            return Reply::text("405 Method Not Allowed", "only GET and HEAD\n");
        }
        match path.split_once('?').map_or(path, |(path, _)| path) {
            "/metrics" => match shown.text() {
                Ok(body) => Reply { status: "200 OK", kind: TEXT_FORMAT, body },
                Err(error) => Reply::text("500 Internal Server Error", &format!("{error}\n")),
            },
            "/healthz" => match shown.silence(milliseconds()) {
                None => Reply::text("200 OK", "ok\n"),
                Some(silence) => Reply::text(
                    "503 Service Unavailable",
                    &format!("the analysis has been silent for {} s\n", silence / 1_000),
                ),
            },
            "/" => Reply { kind: "text/html; charset=utf-8", ..Reply::text("200 OK", PAGE) },
            _ => Reply::text("404 Not Found", "not here; see /\n"),
        }
    }

    fn text(status: &'static str, text: &str) -> Reply {
        Reply { status, kind: "text/plain; charset=utf-8", body: text.as_bytes().to_vec() }
    }

    fn bytes(self, head_only: bool) -> Vec<u8> {
        let Reply { status, kind, body } = self;
        let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
        let mut bytes = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            body.len(),
        )
        .into_bytes();
        if !head_only {
            bytes.extend(body);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    fn ask(server: &Server, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        for part in request.as_bytes().chunks(10) {
            stream.write_all(part).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn served() -> (Metrics, Server) {
        let metrics = Metrics::new(2).unwrap();
        let server = metrics.serve("127.0.0.1:0".parse().unwrap()).unwrap();
        (metrics, server)
    }

    #[test]
    fn metrics_health_and_a_page() {
        let (_metrics, server) = served();
        let metrics = ask(&server, "GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
        assert!(metrics.contains("\nwhy502_packets_total 0\n"), "{metrics}");
        let (head, body) = metrics.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert!(ask(&server, "GET /healthz HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nok\n"));
        let page = ask(&server, "GET / HTTP/1.1\r\n\r\n");
        assert!(page.contains("text/html") && page.contains("href=\"/metrics\""), "{page}");
        let head = ask(&server, "HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(head.ends_with("\r\n\r\n") && !head.contains("Content-Length: 0"), "{head}");
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let (_metrics, server) = served();
        for (request, status) in [
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /etc/passwd HTTP/1.1\r\n\r\n", "404"),
            ("\x16\x03\x01\x02\x00\x01\r\n\r\n", "400"),
        ] {
            let answer = ask(&server, request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
    }

    #[test]
    fn silent_connections_end() {
        let (_metrics, server) = served();
        let connect = || TcpStream::connect(server.address()).unwrap();
        let mut silent: Vec<TcpStream> = (0..3 * THREADS).map(|_| connect()).collect();
        assert!(ask(&server, "GET /healthz HTTP/1.1\r\n\r\n").ends_with("ok\n"));
        let mut nothing = Vec::new();
        assert_eq!(silent[0].read_to_end(&mut nothing).unwrap(), 0);
    }

    #[test]
    fn a_silent_analysis_is_not_healthy() {
        let (metrics, server) = served();
        metrics.exposition.heard.store(milliseconds() - 11_000, Ordering::Relaxed);
        let answer = ask(&server, "GET /healthz HTTP/1.1\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("silent for 11 s"));
        metrics.set_capture(&super::super::Capture::default());
        assert!(ask(&server, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn the_port_is_free_again_and_a_taken_one_is_told() {
        let (metrics, server) = served();
        let address = server.address();
        let error = metrics.serve(address).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{address}: no metrics")), "{error}");
        drop(server);
        let free = (0..100).any(|_| {
            thread::sleep(Duration::from_millis(20));
            metrics.serve(address).is_ok()
        });
        assert!(free);
    }

    #[test]
    fn addresses() {
        for text in ["9502", ":9502", "127.0.0.1:9502"] {
            assert_eq!(address(text).unwrap().to_string(), "127.0.0.1:9502");
        }
        assert_eq!(address("[::]:1").unwrap().to_string(), "[::]:1");
        for text in ["", "0.0.0.0", "70000", "localhost:9502"] {
            assert!(address(text).unwrap_err().contains("127.0.0.1:9502"), "{text}");
        }
    }
}
