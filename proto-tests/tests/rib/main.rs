//! Tables by themselves, and models beside them: decision, export, what is planned for the kernel. No session, no clock.

mod export_classes;
mod export_groups;
mod fib_model;
mod rfc1997;
mod rfc4271_attributes_out;
mod rfc4271_decision;
mod rfc4271_export;
mod rfc4456_export;
mod rfc4456_reflection;
mod rfc5004;
mod rfc8212;
mod rib_model;
