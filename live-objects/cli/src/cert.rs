//! `logo cert`: who may be in a cluster across machines.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use live_objects::NodeId;
use logo::{Authority, Identity};
use serde_json::json;

use crate::join::{self, Failure, print};

/// What to do about certificates.
#[derive(Subcommand)]
pub(crate) enum CertArgs {
    /// Make a cluster's authority: `ca.key`, which signs, and `ca.pem`, which all nodes trust.
    ///
    /// Example: logo cert new authority
    New {
        /// Where to write it. Keep `ca.key` to yourself.
        folder: PathBuf,
        /// Tell how it went as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a node's identity: `node.key`, `node.pem`, `ca.pem`, and `ca.crl` if there is one. Its
    /// id is the hash of its key.
    ///
    /// With --again the node keeps its key, and so its id: it gets a new certificate, and what the
    /// authority trusts and has revoked by now. A node that runs with --identity FOLDER takes it
    /// without a restart, within five seconds.
    ///
    /// Example: logo cert sign authority node-1
    Sign {
        /// The authority's folder. A copy of the certificate is kept in its `issued`.
        authority: PathBuf,
        /// Where to write the identity. Take it to the node's machine.
        folder: PathBuf,
        /// Sign again for the key that is in the folder.
        #[arg(long)]
        again: bool,
        /// Tell how it went as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take a new key for the authority, in three steps of which none stops a node.
    ///
    /// First, logo cert rotate AUTHORITY: its `ca.pem` now has the new certificate and the old
    /// ones. Copy `ca.pem` to the folders of all nodes, which then trust what either key signs.
    ///
    /// Second, logo cert sign AUTHORITY FOLDER --again, for each node.
    ///
    /// Third, logo cert rotate AUTHORITY --drop-old, and copy `ca.pem` to all nodes once more.
    /// Whoever was not signed for again is refused from then on.
    Rotate {
        /// The authority's folder.
        authority: PathBuf,
        /// Take no new key, but trust the old ones no longer.
        #[arg(long)]
        drop_old: bool,
        /// Tell how it went as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a node: those who have the new `ca.crl` refuse its key, and close its links.
    ///
    /// Copy the authority's `ca.crl` to the folders of all nodes: those that run with --identity
    /// take it within five seconds. A node stays revoked for good.
    ///
    /// Example: logo cert revoke authority 6f2c9a04e1b87d35c0ffee00aa55f00d
    Revoke {
        /// The authority's folder.
        authority: PathBuf,
        /// The node's id: 32 hexadecimal digits, as `logo node` and `logo members` tell it.
        #[arg(value_parser = node_id)]
        node: NodeId,
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
                Authority::found(&folder)?;
                let path = folder.display().to_string();
                print(json, &json!({ "authority": path }), || format!("an authority in {path}"));
            }
            Self::Sign { authority, folder, again, json } => {
                let identity = sign(&authority, &folder, again)?;
                let (node, path) = (identity.node().to_string(), folder.display().to_string());
                let told = json!({ "node": node, "folder": path, "again": again });
                print(json, &told, || format!("node {node} in {path}"));
            }
            Self::Rotate { authority: folder, drop_old: false, json } => {
                Authority::load(&folder)?.rotate(&folder)?;
                let path = folder.display().to_string();
                let told = json!({ "authority": path, "rotated": true });
                print(json, &told, || {
                    format!(
                        "a new key in {path}: copy ca.pem to all nodes, then sign them again, then \
                         rotate with --drop-old"
                    )
                });
            }
            Self::Rotate { authority: folder, drop_old: true, json } => {
                let dropped = Authority::load(&folder)?.drop_old(&folder)?;
                let path = folder.display().to_string();
                let told = json!({ "authority": path, "dropped": dropped });
                print(json, &told, || match dropped {
                    0 => format!("{path} trusts no old certificate: there was nothing to drop"),
                    _ => format!("dropped {dropped} of {path}: copy ca.pem to all nodes"),
                });
            }
            Self::Revoke { authority: folder, node, json } => {
                Authority::load(&folder)?.revoke(&folder, node)?;
                let (node, path) = (node.to_string(), folder.display().to_string());
                let told = json!({ "authority": path, "revoked": node });
                print(json, &told, || {
                    format!("node {node} is revoked: copy {path}/ca.crl to all nodes")
                });
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn sign(authority: &Path, folder: &Path, again: bool) -> Result<Identity, Failure> {
    let issuer = Authority::load(authority)?;
    if !again {
        return Ok(issuer.sign_into(authority, folder)?);
    }
    if !folder.join("node.key").exists() {
        let place = folder.display();
        let why = format!(
            "{place} has no node.key to sign again for: name the folder of a node, or leave out \
             --again for a new one"
        );
        return Err(Failure::new(why));
    }
    Ok(issuer.sign_again_into(authority, folder)?)
}

fn node_id(text: &str) -> Result<NodeId, String> {
    let mut id = [0; NodeId::LEN];
    if text.len() != 2 * NodeId::LEN || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let digits = 2 * NodeId::LEN;
        return Err(format!("a node's id has {digits} hexadecimal digits, 0 to 9 and a to f"));
    }
    for (at, byte) in id.iter_mut().enumerate() {
        let digits = &text[2 * at..2 * at + 2];
        *byte = u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
    }
    Ok(NodeId::from_bytes(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_told() {
        let id = NodeId::from_public_key(b"a key");
        assert_eq!(node_id(&id.to_string()), Ok(id));
        for text in ["", "a", "+1", &"g".repeat(32), &"a".repeat(33), &"ä".repeat(16)] {
            assert!(node_id(text).is_err(), "{text}");
        }
    }
}
