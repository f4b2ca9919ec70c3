//! The configuration file of each service, written at every start so that a person can read it and run the service alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pix_parts::{Nats, Postgres, Redis};

use crate::place::{Place, write_private};
use crate::seed::{Bank, INDIRECT_BALANCE, VIRTUALS};

/// The roles that the switch's services serve with: they may not change what is appended.
pub(crate) const ROLES: [&str; 3] = [SETTLEMENT_ROLE, SPI_ROLE, DICT_ROLE];
const SETTLEMENT_ROLE: &str = "settlement_app";
const SPI_ROLE: &str = "spi_app";
const DICT_ROLE: &str = "dict_app";

/// One may ask here where a payment is (`pix logs --e2e`): its steps are logged.
const LOG_LEVEL: &str = "info,payment=debug";

/// What every service of the instance reaches.
pub(crate) struct Parts<'a> {
    pub(crate) postgres: &'a Postgres,
    pub(crate) redis: &'a Redis,
    pub(crate) nats: &'a Nats,
}

/// `seed` is what an empty registry begins with.
pub(crate) fn write_settlement(place: &Place, parts: &Parts<'_>, seed: &Path) -> anyhow::Result<PathBuf> {
    let ports = place.ports;
    let pki = |name: &str| text(&place.path("pki/inside").join(name));
    write(
        place,
        "settlement",
        &[
            ("listen", format!("127.0.0.1:{}", ports.settlement())),
            ("ops.listen", format!("127.0.0.1:{}", ports.settlement_ops())),
            (
                "database.url",
                parts.postgres.url_as(SETTLEMENT_ROLE, "settlement"),
            ),
            ("database.owner_url", parts.postgres.url("settlement")),
            ("nats.url", parts.nats.url()),
            ("spi.url", format!("https://127.0.0.1:{}", ports.spi_inside())),
            // The first seed: once there is a registry, it is the truth.
            ("participants.file", text(seed)),
            ("inside.certificate", pki("settlement.crt")),
            ("inside.key", pki("settlement.key")),
            ("inside.ca", pki("ca.crt")),
            ("log.format", "json".into()),
            ("log.level", LOG_LEVEL.into()),
        ],
    )
}

pub(crate) fn write_spi(place: &Place, parts: &Parts<'_>) -> anyhow::Result<PathBuf> {
    let ports = place.ports;
    let listen = |port: u16| format!("127.0.0.1:{port}");
    let pki = |name: &str| text(&place.path("pki").join(name));
    write(
        place,
        "spi",
        &[
            ("listen.primary", listen(ports.spi_primary())),
            ("listen.secondary", listen(ports.spi_secondary())),
            ("grpc.listen", listen(ports.spi_inside())),
            ("ops.listen", listen(ports.spi_ops())),
            ("database.url", parts.postgres.near_url_as(SPI_ROLE, "spi")),
            ("database.owner_url", parts.postgres.url("spi")),
            ("nats.url", parts.nats.url()),
            ("redis.url", parts.redis.url()),
            ("settlement.url", settlement(place)),
            ("tls.certificate", pki("spi/server.crt")),
            ("tls.key", pki("spi/server.key")),
            ("tls.client_ca", pki("ca.crt")),
            ("signature.certificate", pki("spi/signature.crt")),
            ("signature.key", pki("spi/signature.key")),
            ("inside.certificate", pki("inside/spi.crt")),
            ("inside.key", pki("inside/spi.key")),
            ("inside.ca", pki("inside/ca.crt")),
            ("log.format", "json".into()),
            ("log.level", LOG_LEVEL.into()),
        ],
    )
}

pub(crate) fn write_dict(place: &Place, parts: &Parts<'_>) -> anyhow::Result<PathBuf> {
    let ports = place.ports;
    let listen = |port: u16| format!("127.0.0.1:{port}");
    let pki = |name: &str| text(&place.path("pki").join(name));
    write(
        place,
        "dict",
        &[
            ("listen", listen(ports.dict())),
            ("np.listen", listen(ports.dict_np())),
            ("grpc.listen", listen(ports.dict_inside())),
            ("ops.listen", listen(ports.dict_ops())),
            ("database.url", parts.postgres.near_url_as(DICT_ROLE, "dict")),
            ("database.owner_url", parts.postgres.url("dict")),
            ("nats.url", parts.nats.url()),
            ("redis.url", parts.redis.url()),
            ("settlement.url", settlement(place)),
            ("tls.certificate", pki("dict/server.crt")),
            ("tls.key", pki("dict/server.key")),
            ("tls.client_ca", pki("ca.crt")),
            ("signature.certificate", pki("dict/signature.crt")),
            ("signature.key", pki("dict/signature.key")),
            ("inside.certificate", pki("inside/dict.crt")),
            ("inside.key", pki("inside/dict.key")),
            ("inside.ca", pki("inside/ca.crt")),
            ("log.format", "json".into()),
            ("log.level", LOG_LEVEL.into()),
        ],
    )
}

pub(crate) fn write_virtual(place: &Place) -> anyhow::Result<PathBuf> {
    let ports = place.ports;
    let icom = |port: u16| format!("https://127.0.0.1:{port}");
    let by_commas = |pairs: Vec<String>| pairs.join(",");
    let folders = VIRTUALS
        .iter()
        .map(|one| format!("{}={}", one.ispb, text(&place.path(one.folder()))));
    let indirect = VIRTUALS
        .iter()
        .map(|one| format!("{}={}", one.indirect, one.ispb));
    write(
        place,
        "virtual",
        &[
            ("participants", by_commas(folders.collect())),
            ("indirect", by_commas(indirect.collect())),
            ("icom.primary", icom(ports.spi_primary())),
            ("icom.secondary", icom(ports.spi_secondary())),
            (
                "spi.signature_certificate",
                text(&place.path("pki/spi/signature.crt")),
            ),
            ("listen.ops", format!("127.0.0.1:{}", ports.virtual_ops())),
            ("log.format", "json".into()),
            ("log.level", LOG_LEVEL.into()),
        ],
    )
}

/// `index` from zero, the order of the banks.
pub(crate) fn write_bank(
    place: &Place,
    parts: &Parts<'_>,
    bank: &Bank,
    index: u16,
) -> anyhow::Result<PathBuf> {
    let ports = place.ports;
    let ispb = bank.ispb();
    let pki = |name: &str| text(&place.path(format!("pki/{ispb}")).join(name));
    let indirect: Vec<_> = bank.settles_for().map(|ispb| ispb.to_string()).collect();
    write(
        place,
        &format!("bank-{ispb}"),
        &[
            ("ispb", ispb.to_string()),
            ("name", bank.name.into()),
            ("color", bank.color.into()),
            ("listen", format!("127.0.0.1:{}", ports.bank(index))),
            ("database.url", parts.postgres.url(&database(bank))),
            (
                "icom.primary",
                format!("https://127.0.0.1:{}", ports.spi_primary()),
            ),
            (
                "icom.secondary",
                format!("https://127.0.0.1:{}", ports.spi_secondary()),
            ),
            ("dict.url", format!("https://127.0.0.1:{}", ports.dict())),
            ("dict.np_url", format!("https://127.0.0.1:{}", ports.dict_np())),
            ("tls.certificate", pki("channel.crt")),
            ("tls.key", pki("channel.key")),
            ("tls.ca", pki("ca.crt")),
            ("signature.certificate", pki("signature.crt")),
            ("signature.key", pki("signature.key")),
            ("spi.signature_certificate", pki("spi-signature.crt")),
            ("dict.signature_certificate", pki("dict-signature.crt")),
            ("customers.file", text(&place.customers(ispb))),
            ("indirect", indirect.join(",")),
            ("indirect_balance", INDIRECT_BALANCE.to_string()),
            ("log.format", "json".into()),
            ("log.level", LOG_LEVEL.into()),
        ],
    )
}

/// Where the switch's services have their participants from.
fn settlement(place: &Place) -> String {
    format!("https://127.0.0.1:{}", place.ports.settlement())
}

/// The database of one bank.
pub(crate) fn database(bank: &Bank) -> String {
    format!("bank_{}", bank.ispb().to_string().to_ascii_lowercase())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn write(place: &Place, name: &str, settings: &[(&str, String)]) -> anyhow::Result<PathBuf> {
    let path = place.path(format!("config/{name}.toml"));
    let program = name.split('-').next().unwrap_or(name);
    let mut file = format!(
        "# Written by `pix up` at every start. To change a setting, set PIX_{}_<SETTING> in the environment of `pix up`\n\
         # (dots become underscores), or run `{program} --config {}` yourself with flags.\n\n",
        program.to_ascii_uppercase(),
        path.display(),
    );
    for (key, value) in settings {
        writeln!(file, "{key} = {}", toml::Value::String(value.clone())).expect("a String takes everything");
    }
    write_private(&path, &file)?;
    Ok(path)
}
