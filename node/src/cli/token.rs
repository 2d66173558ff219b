//! `cairn token`: shows the token that clients of elsewhere need, or makes another one.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use clap::Args;
use serde_json::json;

use super::{Failure, access::Access};
use crate::{config::Settings, control::ControlFile, token::Token};

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Make another token: the one before counts no more, and clients that came in by it are closed
    #[arg(long)]
    renew: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let (token, listens) = if self.renew { renew(settings)? } else { show(settings)? };
        // Without a running node its settings tell.
        let address = listens.unwrap_or(settings.listen);
        let link = if address.port() == 0 {
            Err("none before the node serves: it takes any free port".to_owned())
        } else if settings.is_reached_from_elsewhere() || !address.ip().is_loopback() {
            Ok(link(address, &token))
        } else {
            Err(format!("none: only this machine reaches {address}, and needs no token"))
        };
        let mut out = io::stdout().lock();
        let print = if self.json {
            writeln!(out, "{}", json!({ "token": token.reveal(), "link": link.ok() }))
        } else {
            writeln!(out, "token     {}\nlink      {}", token.reveal(), link.unwrap_or_else(|none| none))
        };
        print.map_err(Failure::io("the token cannot be printed"))
    }
}

fn show(settings: &Settings) -> Result<(Token, Option<SocketAddr>), Failure> {
    let token = Token::load(&settings.data.client_token())?;
    // Nobody has to be asked for it, so a file that cannot be read just tells nothing.
    let running = ControlFile::load(&settings.data.control()).ok().flatten();
    Ok((token, running.map(|file| file.listens)))
}

fn renew(settings: &Settings) -> Result<(Token, Option<SocketAddr>), Failure> {
    match Access::open(settings)? {
        Access::Through(client) => Ok((client.renew_token()?, Some(client.listens()))),
        Access::Alone(locked) => Ok((Token::make(&locked.dir().client_token())?, None)),
    }
}

/// What a browser opens to use a node: the token is in the part that no browser sends.
pub(super) fn link(listens: SocketAddr, token: &Token) -> String {
    format!("http://{}/#token={}", SocketAddr::new(reached(listens.ip()), listens.port()), token.reveal())
}

/// Where other machines reach a node that listens here: one that listens everywhere by the address that this machine has
/// towards others.
fn reached(listens: IpAddr) -> IpAddr {
    let (any, elsewhere): (IpAddr, IpAddr) = match listens {
        IpAddr::V4(ip) if ip.is_unspecified() => (ip.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        IpAddr::V6(ip) if ip.is_unspecified() => (ip.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
        ip => return ip,
    };
    // Nothing is sent: to connect a socket of this kind is to ask for the way.
    let local = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((elsewhere, 9))?;
        socket.local_addr()
    });
    match (local, any) {
        (Ok(local), _) => local.ip(),
        (Err(_), IpAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
        (Err(_), IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_an_address_that_can_be_called() {
        let token = Token::generate().unwrap();
        for (listens, reached) in [("192.168.1.5:7", "192.168.1.5:7"), ("[fd00::1]:7", "[fd00::1]:7")] {
            let expected = format!("http://{reached}/#token={}", token.reveal());
            assert_eq!(link(listens.parse().unwrap(), &token), expected);
        }
        for any in ["0.0.0.0", "::"] {
            let (any, reached): (IpAddr, IpAddr) = (any.parse().unwrap(), reached(any.parse().unwrap()));
            assert!(!reached.is_unspecified() && reached.is_ipv4() == any.is_ipv4(), "{reached}");
        }
    }
}
