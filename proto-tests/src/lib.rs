//! catbird's laboratory: what the tests stand on.
