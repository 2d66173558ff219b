//! The real binary, with real files, real signals and real sockets.

mod admission;
mod bad_input;
mod canary;
mod commands;
mod crash;
mod groups;
mod hub;
mod keys;
mod links;
mod quic;
mod repair;
mod support;
