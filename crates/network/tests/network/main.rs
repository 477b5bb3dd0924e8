//! The engine against the real kernel, with real traffic between network namespaces.

mod cni;
mod flows;
mod isolation;
mod links;
mod reach;
mod rules;
mod scale;
mod stage;
