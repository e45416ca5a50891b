//! Certificates: made, and looked at (pure, but for randomness).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::x509::X509Name;

use super::profile::Profile;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an authority's own certificate is valid.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());
/// How long what it signs is valid.
const LEAF_LIFE: Duration = Duration::from_secs(365 * DAY.as_secs());
/// An authority is made anew when fewer days are left.
pub(super) const AUTHORITY_RESERVE: Duration = Duration::from_secs(180 * DAY.as_secs());
/// What it signed is made anew when fewer days are left.
pub(super) const LEAF_RESERVE: Duration = Duration::from_secs(30 * DAY.as_secs());
/// How far certificates reach back, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// Random bytes of a serial number; with the first bit cleared it is positive.
const SERIAL_BYTES: usize = 8;

/// A certificate and its key, both PEM. It has no `Debug`, so that a key cannot get into a message.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Why a certificate is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A file of it is not there.
    Missing,
    /// It cannot be read, or certificate and key do not belong together.
    Damaged(String),
    /// So many days are left.
    Ending { days: i64 },
    /// The clock was put back.
    NotYetValid,
    /// It says something else than it should: subject, names, usages, server.
    Outdated(&'static str),
    /// It is not signed by the authority that is there now.
    OtherAuthority,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("was missing"),
            Self::Damaged(what) => write!(f, "was damaged: {what}"),
            Self::Ending { days } if *days < 0 => write!(f, "ended {} days ago", -days),
            Self::Ending { days } => write!(f, "would have ended in {days} days"),
            Self::NotYetValid => f.write_str("was of a later time than now"),
            Self::Outdated(what) => write!(f, "had another {what}"),
            Self::OtherAuthority => f.write_str("was signed by another authority"),
        }
    }
}

/// Something that should not have failed; never with a key in it.
type Made<T> = Result<T, String>;

fn failed(error: rcgen::Error) -> String {
    error.to_string()
}

/// Makes a key: ECDSA on P-256.
pub(super) fn new_key() -> Made<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)
}

/// Reads a key.
///
/// # Errors
/// It is none, or not one on P-256.
pub(super) fn parse_key(pem: &str) -> Result<KeyPair, Reason> {
    KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256)
        .map_err(|_| Reason::Damaged("its key is not one on P-256".into()))
}

/// An authority that can sign.
pub(super) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    pub(super) certificate: String,
    not_after: SystemTime,
}

impl Signer {
    /// Makes an authority.
    pub(super) fn new(common_name: &str, now: SystemTime) -> Made<(Self, Pair)> {
        let key = new_key()?;
        let mut params = params(common_name, now, now + AUTHORITY_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        params.subject_alt_names = vec![dns_name(common_name)?];
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        let pair = Pair { certificate: certificate.clone(), key: key.serialize_pem() };
        let issuer = Issuer::new(params, key);
        Ok((Self { issuer, certificate, not_after: now + AUTHORITY_LIFE }, pair))
    }

    /// Takes an authority that is there.
    ///
    /// # Errors
    /// It has to be made anew.
    pub(super) fn open(pair: &Pair, common_name: &str, now: SystemTime) -> Result<Self, Reason> {
        let damaged = |what: &str| Reason::Damaged(what.into());
        let key = parse_key(&pair.key)?;
        let not_after = with_certificate(&pair.certificate, |certificate| {
            if !belongs(certificate, &key) {
                return Err(damaged("certificate and key are not of one pair"));
            }
            let constraints = certificate.basic_constraints().ok().flatten();
            if !constraints.is_some_and(|constraints| constraints.value.ca)
                || !is_signed_by(certificate, key.public_key_raw())
            {
                return Err(damaged("it is no authority of its own"));
            }
            if single(certificate.subject().iter_common_name()) != Some(common_name) {
                return Err(Reason::Outdated("subject"));
            }
            in_time(certificate, now, AUTHORITY_RESERVE)?;
            Ok(not_after(certificate))
        })?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key)
            .map_err(|_| damaged("the certificate is not understood"))?;
        Ok(Self { issuer, certificate: pair.certificate.clone(), not_after })
    }

    /// Makes a key and signs a certificate for it.
    pub(super) fn issue(&self, profile: &Profile, now: SystemTime) -> Made<Pair> {
        let key = new_key()?;
        let mut params = params(&profile.common_name, now, (now + LEAF_LIFE).min(self.not_after))?;
        if let Some(organization) = profile.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.use_authority_key_identifier_extension = true;
        if profile.is_server {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if profile.is_client {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.subject_alt_names = profile.names.iter().map(|name| dns_name(name)).collect::<Made<_>>()?;
        params.subject_alt_names.extend(profile.addresses.iter().copied().map(SanType::IpAddress));
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Checks what an authority has signed.
    ///
    /// # Errors
    /// It has to be made anew.
    pub(super) fn examine(&self, pair: &Pair, profile: &Profile, now: SystemTime) -> Result<(), Reason> {
        let key = parse_key(&pair.key)?;
        with_certificate(&pair.certificate, |certificate| {
            if !belongs(certificate, &key) {
                return Err(Reason::Damaged("certificate and key are not of one pair".into()));
            }
            if !is_signed_by(certificate, self.issuer.key().public_key_raw()) {
                return Err(Reason::OtherAuthority);
            }
            says(certificate, profile)?;
            in_time(certificate, now, LEAF_RESERVE)
        })
    }
}

fn params(common_name: &str, now: SystemTime, not_after: SystemTime) -> Made<CertificateParams> {
    let mut serial = [0; SERIAL_BYTES];
    SystemRandom::new().fill(&mut serial).map_err(|_| "the system gives no random numbers".to_owned())?;
    // Positive, and without leading zeros, of which the encoding allows none.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = (now - BACKDATE).into();
    params.not_after = not_after.into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    Ok(params)
}

fn dns_name(name: &str) -> Made<SanType> {
    name.try_into().map(SanType::DnsName).map_err(failed)
}

fn with_certificate<T>(
    pem: &str,
    look: impl FnOnce(&X509Certificate<'_>) -> Result<T, Reason>,
) -> Result<T, Reason> {
    let damaged = || Reason::Damaged("the certificate is not understood".into());
    let (_, pem) = parse_x509_pem(pem.as_bytes()).map_err(|_| damaged())?;
    let certificate = pem.parse_x509().map_err(|_| damaged())?;
    look(&certificate)
}

fn belongs(certificate: &X509Certificate<'_>, key: &KeyPair) -> bool {
    certificate.public_key().subject_public_key.data == key.public_key_raw()
}

fn is_signed_by(certificate: &X509Certificate<'_>, public_key: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key)
        .verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
        .is_ok()
}

fn not_after(certificate: &X509Certificate<'_>) -> SystemTime {
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn in_time(certificate: &X509Certificate<'_>, now: SystemTime, reserve: Duration) -> Result<(), Reason> {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let now = seconds(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let validity = certificate.validity();
    if validity.not_before.timestamp() > now {
        return Err(Reason::NotYetValid);
    }
    let left = validity.not_after.timestamp() - now;
    if left < seconds(reserve) {
        return Err(Reason::Ending { days: left.div_euclid(seconds(DAY)) });
    }
    Ok(())
}

/// Returns the one value of an attribute of a name.
fn single<'a>(
    mut values: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>,
) -> Option<&'a str> {
    let first = values.next()?.as_str().ok();
    first.filter(|_| values.next().is_none())
}

fn subject(name: &X509Name<'_>) -> (Option<String>, Option<String>) {
    let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
    (owned(single(name.iter_common_name())), owned(single(name.iter_organization())))
}

fn says(certificate: &X509Certificate<'_>, profile: &Profile) -> Result<(), Reason> {
    let wanted = (Some(profile.common_name.clone()), profile.organization.map(ToOwned::to_owned));
    if subject(certificate.subject()) != wanted {
        return Err(Reason::Outdated("subject"));
    }
    let usages = certificate.extended_key_usage().ok().flatten();
    let usages = usages.map(|usages| (usages.value.server_auth, usages.value.client_auth));
    if usages != Some((profile.is_server, profile.is_client)) {
        return Err(Reason::Outdated("usage"));
    }
    if alternatives(certificate) != Some((profile.names.clone(), profile.addresses.clone())) {
        return Err(Reason::Outdated("list of names"));
    }
    Ok(())
}

/// Returns the names and addresses that a certificate is for; `None` if there is another kind of name.
fn alternatives(certificate: &X509Certificate<'_>) -> Option<(BTreeSet<String>, BTreeSet<IpAddr>)> {
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    let extension = certificate.subject_alternative_name().ok()?;
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.insert((*name).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.insert(address(bytes)?),
            _ => return None,
        };
    }
    Some((names, addresses))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
