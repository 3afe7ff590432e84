//! Parses, runs, prints errors with their hints, and sets the exit code.

fn main() {}
