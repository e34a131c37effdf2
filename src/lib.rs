//! why502
pub mod blind;
pub mod capture;
pub mod cause;
pub mod cli;
pub mod flow;
pub mod http;
pub mod packet;
pub mod report;
pub mod tcp;
pub mod time;
