//! A hub for tests: a host that takes links over real WebSockets.

use std::{net::SocketAddr, path::Path};

use futures_util::{SinkExt, StreamExt};
use node::{
    data::DataDir,
    host::{Host, HostThread, LinkCommand},
};
use shared::{LinkPath, Role};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::{accept_async, tungstenite::Message};

pub(crate) struct Hub {
    pub(crate) host: Host,
    pub(crate) address: SocketAddr,
    thread: HostThread,
    accepting: tokio::task::JoinHandle<()>,
}

impl Hub {
    /// Takes links at an address; port 0 is any free one.
    pub(crate) async fn start(data: &Path, address: SocketAddr) -> Hub {
        let (host, thread) = Host::start(DataDir::new(data).lock().unwrap().open(None).unwrap()).unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(listener, host.clone()));
        Hub { host, address, thread, accepting }
    }

    pub(crate) async fn stop(mut self) {
        self.accepting.abort();
        drop(self.accepting.await);
        self.host.stop();
        self.thread.ended().await.unwrap();
    }
}

async fn accept(listener: TcpListener, host: Host) {
    // Dropped with this task, and the links with it.
    let mut links = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        links.spawn(link(socket, host.clone()));
    }
}

async fn link(socket: TcpStream, host: Host) {
    let Ok(socket) = accept_async(socket).await else { return };
    let Ok((port, mut commands)) = host.open_link(Role::Accepted, LinkPath::Relay, None).await else { return };
    let (mut sink, mut stream) = socket.split();
    let reading = async {
        while let Some(Ok(message)) = stream.next().await {
            let sent = match message {
                Message::Binary(bytes) => port.frame(bytes.into()).await,
                Message::Text(text) if text.as_str() == "ping" => port.ping().await,
                Message::Text(text) if text.as_str() == "pong" => port.pong().await,
                _ => Ok(()),
            };
            if sent.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some(command) = commands.recv().await {
            let message = match command {
                LinkCommand::Frame(bytes) => Message::binary(bytes),
                LinkCommand::Ping => Message::text("ping"),
                LinkCommand::Pong => Message::text("pong"),
                LinkCommand::PeerUp(_) => continue,
                LinkCommand::Close { .. } => return,
            };
            if sink.send(message).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}
