//! The Python packages of `tests/clients`: a client of Meta's Cloud API that nobody here wrote.

use std::{env, path::PathBuf};

use staffetta_locate::{GRAPH_CLIENT_VARIABLE, fetched_graph_client};

use super::python_packages;
use crate::workspace::Workspace;

/// What is installed, each with its hash.
const REQUIREMENTS: &str = "tests/clients/requirements.txt";

/// The folder with the packages; filled where it is not, or holds others than are asked for now.
pub(super) fn packages(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    if let Some(named) = env::var_os(GRAPH_CLIENT_VARIABLE) {
        return Ok(named.into());
    }
    let instead = format!("let {GRAPH_CLIENT_VARIABLE} name a folder with it");
    python_packages::fill(workspace, REQUIREMENTS, fetched_graph_client(workspace.target()), &instead)
}
