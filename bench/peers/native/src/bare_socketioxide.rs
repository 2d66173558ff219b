//! A Socket.IO server in Rust that hands on what one client says to all others, and does nothing else: what the fan-out of a
//! node is measured beside.
//!
//! It speaks as `socketio.mjs serve`: `say` with a payload goes to all others as `said`, and is acknowledged when it is in the
//! queue of each. Durability: none, nothing is kept. It verifies nothing.
//!
//! At SIGTERM it exits: with 1 if a client's queue was full and something did not go into it.

use std::{
    future::ready,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, serve::ListenerExt};
use clap::Parser;
use n0_future::future::now_or_never;
use serde_json::value::RawValue;
use socketioxide::{
    BroadcastError, SendError, SocketError, SocketIo,
    extract::{AckSender, Data, SocketRef},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

#[derive(Parser)]
struct Options {
    /// Packets that wait for a client that reads slowly. More are lost, which the library's own bound of 128 does often.
    #[arg(long, default_value = "4096")]
    packets: NonZeroUsize,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let lost = Arc::new(AtomicU64::new(0));
    let (layer, io) = SocketIo::builder().max_buffer_size(options.packets.get()).build_layer();
    let counter = lost.clone();
    io.ns("/", async move |socket: SocketRef| {
        socket.on("say", move |socket: SocketRef, Data((payload,)): Data<(Box<RawValue>,)>, ack: AckSender| {
            // What an async handler does, a task of its own does, and then what one client says is not handed on in order. Without
            // other servers a broadcast never waits.
            let said = now_or_never(socket.broadcast().emit("said", &payload));
            counter.fetch_add(full_queues(said), Ordering::Relaxed);
            if matches!(ack.send(&()), Err(SendError::Socket(SocketError::InternalChannelFull))) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            ready(())
        });
    });
    let mut terminated = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    println!("{{\"listening\":\"http://{}\"}}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // An error means that it is gone already.
        drop(stream.set_nodelay(true));
    });
    tokio::select! {
        served = axum::serve(listener, Router::new().layer(layer)).into_future() => served?,
        _ = terminated.recv() => {}
    }
    match lost.load(Ordering::Relaxed) {
        0 => Ok(ExitCode::SUCCESS),
        lost => {
            eprintln!("{lost} packets were lost: a client's queue of {} packets was full", options.packets);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// For how many clients there was no room. Those who are gone are not among them.
fn full_queues(said: Option<Result<(), BroadcastError>>) -> u64 {
    match said {
        Some(Ok(())) => 0,
        Some(Err(BroadcastError::Socket(errors))) => {
            errors.iter().filter(|error| matches!(error, SocketError::InternalChannelFull)).count() as u64
        }
        Some(Err(error)) => panic!("a broadcast failed: {error}"),
        None => panic!("a broadcast to clients of this server waits"),
    }
}
