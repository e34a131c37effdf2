//! Parts of `why502 live`, which analyses what passes on this host as it happens.

pub mod evidence;
