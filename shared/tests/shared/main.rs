//! Whole replicas over stores in memory, and the golden vectors. One program: each further one would compile all of a replica again.

mod audit;
mod common;
mod directed;
mod door;
mod erase;
mod flood;
mod heads;
mod hostile;
mod incoming;
mod invites;
mod laws;
mod members;
mod names;
mod overlay;
mod own_lane;
mod presence;
mod repair;
mod replica;
mod restored;
mod sealed;
mod vectors;
