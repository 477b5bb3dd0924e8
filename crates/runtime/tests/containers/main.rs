//! Containers for real: a busybox in a temporary folder, from a spec through the compiler and the executor.
//! Needs root and a static busybox; says SKIP with the reason otherwise. Nothing is left behind.

mod attributes;
mod command;
mod confinement;
mod hooks;
mod hostile;
mod hostile_root;
mod join;
mod namespaces;
mod pipeline;
mod remount;
mod replacements;
mod support;
mod swaps;
mod terminal;
