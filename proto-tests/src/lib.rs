//! catbird's laboratory: what the tests stand on.
pub mod dsl;
pub mod exporting;
pub mod lab;
pub mod netlab;
