//! `pix pki sign` and `verify`: one envelope by hand, for those who try a connection with curl.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use iso20022::Envelope;
use pix_xmldsig::{Signer, VerifyingKey};

/// The Id of the signature's KeyInfo, as in the Central Bank's own client.
const KEY_INFO_ID: &str = "key-info-id";

/// Signs standard input to standard output.
pub(crate) fn sign(folder: &Path) -> anyhow::Result<ExitCode> {
    let signer = Signer::from_pem(&read(folder, "signature.crt")?, &read(folder, "signature.key")?)
        .with_context(|| {
            format!(
                "{} holds no usable signature certificate and key",
                folder.display()
            )
        })?;
    let envelope: Envelope = iso20022::parse_unsigned(&standard_input()?)
        .map_err(|refusal| anyhow::anyhow!("the SPI would refuse this envelope: {refusal}"))?;
    write(&iso20022::seal_envelope(&envelope, &signer, KEY_INFO_ID))
}

/// Verifies standard input, and writes it to standard output.
pub(crate) fn verify(folder: &Path) -> anyhow::Result<ExitCode> {
    let spi = VerifyingKey::from_certificate_pem(&read(folder, "spi-signature.crt")?)
        .with_context(|| format!("{}/spi-signature.crt is no certificate", folder.display()))?;
    let bytes = standard_input()?;
    iso20022::open(&bytes, &spi).map_err(|refusal| anyhow::anyhow!("not signed by this SPI: {refusal}"))?;
    write(&bytes)
}

fn read(folder: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let path = folder.join(name);
    std::fs::read(&path).with_context(|| {
        format!(
            "{} cannot be read: name the folder that `pix pki participant --out` made",
            path.display()
        )
    })
}

fn standard_input() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let max = iso20022::MESSAGE_BYTES_MAX as u64 + 1;
    std::io::stdin()
        .take(max)
        .read_to_end(&mut bytes)
        .context("standard input cannot be read")?;
    Ok(bytes)
}

fn write(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}
