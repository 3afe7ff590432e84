//! The operations of a decoder.
//!
//! Each is written once in plain burn operations ([`plain`]), which run and differentiate on every
//! device.

pub(crate) mod plain;

pub(crate) use plain::{
    attention, bias_and_rotate, cross_entropy, embedding, linear, rms_norm, swiglu,
};
