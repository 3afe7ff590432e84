//! Asks a teacher each question and keeps what it answers.
