//! Whole pulls: a scripted registry on one side, a real store on the other.

mod documents;
mod image;
mod keeping;
mod kit;
mod layers;
mod resume;
mod sharing;
