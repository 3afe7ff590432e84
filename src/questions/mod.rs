//! Where questions come from, and which of them stay.

pub mod rehearsal;
