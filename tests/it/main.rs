//! Tests from outside: the house's invariants, and the real binary.

mod architecture;
