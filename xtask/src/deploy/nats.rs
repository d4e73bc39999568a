//! NATS' configuration, read by the server that it is for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::ensure;

use super::{Site, fault_of, files_below};

const FOLDER: &str = "deploy/nats";

/// Public keys, as `staffetta nats-keys` prints them.
const ISSUER: &str = "ABJHLOVMPA4CI6R5KLNGOB4GSLNIY7IOUPAJC4YFNDLQVIOBYQGUWVLA";
const XKEY: &str = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT";

/// Each file is taken by the server, with the variables that it asks for and certificates made for the day.
pub(super) fn check(site: &Site) -> anyhow::Result<Vec<String>> {
    let files = files_below(&site.path(FOLDER), &["conf"])?;
    ensure!(!files.is_empty(), "{FOLDER} has no configuration");
    let folder = site.scratch.join("nats");
    fs::create_dir_all(&folder)?;
    let mut faults = Vec::new();
    faults.extend(make_certificate(site, &folder)?);
    let mut variables = BTreeMap::new();
    let (mut copies, mut parts) = (Vec::new(), BTreeSet::new());
    for file in &files {
        let text = fs::read_to_string(file)?;
        variables.extend(names(&text).map(|name| (name.to_owned(), value(name))));
        // Files include each other by name, so all lie beside each other here too.
        let copy = folder.join(file.file_name().unwrap_or_default());
        fs::write(&copy, with_certificate(&text, &folder))?;
        copies.push(copy);
        parts.extend(included(&text).map(|name| folder.join(name)));
    }
    // A part is read with what includes it: by itself it may be half a block.
    for copy in copies.into_iter().filter(|copy| !parts.contains(copy)) {
        let mut server = site.workspace.command(&site.tools.nats_server);
        faults.extend(fault_of(server.arg("-t").arg("-c").arg(&copy).envs(&variables))?);
    }
    Ok(faults)
}

fn included(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("include "));
    lines.map(|name| name.trim().trim_matches(['"', '\'']))
}

/// Every `$NAME`; some are only subjects, which the server does not look up.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    code.flat_map(|line| line.split('$').skip(1)).filter_map(|after| {
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        (end > 0).then_some(&after[..end])
    })
}

/// Something of the kind that the name promises.
fn value(name: &str) -> String {
    let value = match name {
        name if name.ends_with("ISSUER") => ISSUER,
        name if name.ends_with("XKEY") => XKEY,
        name if name.ends_with("PORT") => "4222",
        name if name.ends_with("STORE") || name.ends_with("SIZE") || name.ends_with("BYTES") => "1GB",
        name if name.ends_with("ROUTES") => "[ nats://127.0.0.1:6222 ]",
        name if name.ends_with("ZONE") => "zone:somewhere",
        _ => "something",
    };
    value.to_owned()
}

fn make_certificate(site: &Site, folder: &Path) -> anyhow::Result<Option<String>> {
    let mut openssl = site.workspace.command("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-days", "1", "-subj", "/CN=nats", "-addext", "subjectAltName=DNS:nats"]);
    let [certificate, key] = certificate_files(folder);
    fault_of(openssl.arg("-out").arg(certificate).arg("-keyout").arg(key))
}

fn certificate_files(folder: &Path) -> [PathBuf; 2] {
    ["certificate.pem", "key.pem"].map(|name| folder.join(name))
}

/// The text with our own files wherever it names a certificate or a key.
fn with_certificate(text: &str, folder: &Path) -> String {
    let [certificate, key] = certificate_files(folder);
    let mut copy = String::new();
    for line in text.lines() {
        let file = match line.trim_start().split([':', '=', ' ']).next() {
            Some("cert_file" | "ca_file") => Some(&certificate),
            Some("key_file") => Some(&key),
            _ => None,
        };
        match file {
            Some(file) => {
                let name = line.trim_start().split([':', '=', ' ']).next().unwrap_or_default();
                copy += &format!("{name}: {:?}", file.display().to_string());
            }
            None => copy += line,
        }
        copy.push('\n');
    }
    copy
}
