//! catbird's laboratory: what the tests stand on.
pub mod api_server;
pub mod chaos;
pub mod console;
pub mod dice;
pub mod dsl;
pub mod exporting;
pub mod harmless;
pub mod interop;
#[cfg(feature = "kernel")]
pub mod keeper;
pub mod lab;
pub mod netlab;
#[cfg(feature = "kernel")]
pub mod node;
pub mod one_router;
pub mod outside;
pub mod random_config;
