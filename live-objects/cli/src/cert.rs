//! `logo cert`: who may be in a cluster across machines.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use logo::Authority;
use serde_json::json;

use crate::join::{self, Failure, print};

/// What to do about certificates.
#[derive(Subcommand)]
pub(crate) enum CertArgs {
    /// Make a cluster's authority: `ca.key`, which signs, and `ca.pem`, which all nodes trust.
    New {
        /// Where to write it. Keep `ca.key` to yourself.
        folder: PathBuf,
        /// Tell how it went as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a node's identity: `node.key`, `node.pem` and `ca.pem`. Its id is the hash of its key.
    Sign {
        /// The authority's folder.
        authority: PathBuf,
        /// Where to write the identity. Take it to the node's machine.
        folder: PathBuf,
        /// Tell how it went as one line of JSON.
        #[arg(long)]
        json: bool,
    },
}

impl CertArgs {
    pub(crate) fn run(self) -> ExitCode {
        join::run(self.work())
    }

    async fn work(self) -> Result<ExitCode, Failure> {
        match self {
            Self::New { folder, json } => {
                if folder.join("ca.key").exists() {
                    let why = format!("{} holds an authority already", folder.display());
                    return Err(Failure::new(why));
                }
                Authority::create().save(&folder)?;
                let path = folder.display().to_string();
                print(json, &json!({ "authority": path }), || format!("an authority in {path}"));
            }
            Self::Sign { authority, folder, json } => {
                if folder.join("node.key").exists() {
                    let why = format!("{} holds an identity already", folder.display());
                    return Err(Failure::new(why));
                }
                let identity = Authority::load(&authority)?.issue();
                identity.save(&folder)?;
                let (node, path) = (identity.node().to_string(), folder.display().to_string());
                let told = json!({ "node": node, "folder": path });
                print(json, &told, || format!("node {node} in {path}"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
