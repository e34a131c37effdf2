//! why502
pub mod blind;
pub mod capture;
pub mod cause;
pub mod cli;
pub mod engine;
pub mod flow;
pub mod http;
pub mod packet;
pub mod pattern;
pub mod report;
pub mod run;
pub mod tcp;
pub mod time;
