//! The engine against the real kernel, with real traffic between network namespaces.

mod links;
mod rules;
mod stage;
