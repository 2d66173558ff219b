//! Those at the door: connections of Socket.IO that are in no namespace yet, so many at most in all and of one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use shared::limits::neighbourhood;
use thiserror::Error;

/// Connections at the door in all. Each has the time of a handshake to come in, and that takes milliseconds.
const IN_ALL: usize = 4_096;
/// Of one address, where a token is wanted. Without one all of them are this machine's own.
const OF_ONE: usize = 256;

/// Too many stand at the door.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("{limit} connections {} have not come in yet, try again", if *.of_one { "of this address" } else { "to this node" })]
pub(crate) struct Crowded {
    limit: usize,
    of_one: bool,
}

#[derive(Debug)]
pub(super) struct Newcomers {
    of_one: usize,
    places: Mutex<Places>,
}

/// How many there are of each address; as many addresses as connections at most.
#[derive(Debug, Default)]
struct Places {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

impl Newcomers {
    pub(super) fn new(strangers: bool) -> Self {
        Self { of_one: if strangers { OF_ONE } else { IN_ALL }, places: Mutex::default() }
    }

    pub(super) fn enter(self: &Arc<Self>, from: IpAddr) -> Result<Newcomer, Crowded> {
        let from = neighbourhood(from);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.all >= IN_ALL {
            return Err(Crowded { limit: IN_ALL, of_one: false });
        }
        let of_one = places.of.entry(from).or_default();
        if *of_one >= self.of_one {
            return Err(Crowded { limit: self.of_one, of_one: true });
        }
        *of_one += 1;
        places.all += 1;
        Ok(Newcomer(Arc::new(Mutex::new(Some(Place { newcomers: self.clone(), from })))))
    }
}

/// One connection at the door, until it comes in or is gone.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer(Arc<Mutex<Option<Place>>>);

impl Newcomer {
    /// It has come in.
    pub(crate) fn admitted(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[derive(Debug)]
struct Place {
    newcomers: Arc<Newcomers>,
    from: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.newcomers.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.all -= 1;
        if let Some(of_one) = places.of.get_mut(&self.from) {
            *of_one -= 1;
            if *of_one == 0 {
                places.of.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn an_address_has_its_share_of_the_door_and_gets_it_back() {
        let newcomers = Arc::new(Newcomers::new(true));
        let mut standing: Vec<Newcomer> = (0..OF_ONE).map(|_| newcomers.enter(address(1)).unwrap()).collect();
        assert_eq!(newcomers.enter(address(1)).unwrap_err(), Crowded { limit: OF_ONE, of_one: true });
        drop(newcomers.enter(address(2)).unwrap());
        // One comes in, and another one goes away.
        standing[0].admitted();
        standing.pop();
        standing.extend((0..2).map(|_| newcomers.enter(address(1)).unwrap()));
        assert!(newcomers.enter(address(1)).is_err());
        drop(standing);
        let places = newcomers.places.lock().unwrap();
        assert_eq!((places.all, places.of.len()), (0, 0));
    }

    #[test]
    fn the_door_has_an_end_for_all_together() {
        for strangers in [true, false] {
            let newcomers = Arc::new(Newcomers::new(strangers));
            let from = |n: usize| address(if strangers { n as u32 } else { 1 });
            let standing: Vec<Newcomer> = (0..IN_ALL).map(|n| newcomers.enter(from(n)).unwrap()).collect();
            let crowded = newcomers.enter(from(IN_ALL)).unwrap_err();
            assert_eq!(crowded.to_string(), "4096 connections to this node have not come in yet, try again");
            drop(standing);
            newcomers.enter(from(0)).unwrap();
        }
    }
}
