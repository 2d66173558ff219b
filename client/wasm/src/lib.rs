//! The rules of the `shared` crate for JavaScript: the same code that node and relay run, compiled to wasm.

pub mod audit;
pub mod vectors;
