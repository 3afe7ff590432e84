//! Tests of recipes: what is wrong is said, all of it, with the line and the remedy.
