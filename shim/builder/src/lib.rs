//! The Dockerfile builder.
