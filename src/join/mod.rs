//! Joins what one flow cannot say: flows with log lines.

pub mod log;
