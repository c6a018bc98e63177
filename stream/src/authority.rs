//! The controller's own certificate authority: makes it, and renews it and the serving certificate before they end. Pure but for the keys' randomness: time comes as an argument, and storing is the caller's.

use headgate_config::Redacted;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an authority is valid.
pub const AUTHORITY_VALID: Duration = DAY.saturating_mul(720);
/// How long a serving certificate is valid.
pub const SERVING_VALID: Duration = DAY.saturating_mul(90);
/// What is left of either when it is renewed: a third.
const RENEW_LEFT: u32 = 3;
/// A new authority is trusted for this long before it signs: every gateway has read it by then.
pub const TRUSTED_FIRST: Duration = DAY;
/// Certificates are valid from a little before they are made: clocks differ.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// The authority, one that follows it, and the serving certificate. Prints no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    signing: Signer,
    next: Option<Signer>,
    serving: Serving,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signer {
    certificate: String,
    key: Redacted,
    made_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Serving {
    chain: String,
    key: Redacted,
    made_s: u64,
    names: Vec<String>,
}

/// What stands beside the PEM texts, so that nothing needs to be parsed out of them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    signing_s: u64,
    next_s: Option<u64>,
    serving_s: u64,
    names: Vec<String>,
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuthorityError(String);

impl Material {
    /// What is to be stored and served from now on; `None`: what is held still holds. Call at start and then about once an hour.
    /// `names` are the DNS names and addresses by which gateways call the controller.
    ///
    /// # Errors
    /// If a name cannot stand in a certificate, or a stored key cannot be read.
    pub fn renewed(held: Option<&Self>, names: &[String], now: SystemTime) -> Result<Option<Self>, AuthorityError> {
        let now_s = seconds(now);
        let Some(held) = held.filter(|held| now_s < held.signing.made_s + AUTHORITY_VALID.as_secs()) else {
            return Self::new(names, now_s).map(Some);
        };
        let mut material = held.clone();
        if material.next.is_none() && is_due(material.signing.made_s, AUTHORITY_VALID, now_s) {
            material.next = Some(Signer::new(now_s)?);
        }
        if let Some(next) = material.next.take_if(|next| next.made_s + TRUSTED_FIRST.as_secs() <= now_s) {
            material.signing = next;
            material.serving = material.signing.sign(names, now_s)?;
        }
        if is_due(material.serving.made_s, SERVING_VALID, now_s) || material.serving.names != names {
            material.serving = material.signing.sign(names, now_s)?;
        }
        Ok((material != *held).then_some(material))
    }

    fn new(names: &[String], now_s: u64) -> Result<Self, AuthorityError> {
        let signing = Signer::new(now_s)?;
        let serving = signing.sign(names, now_s)?;
        Ok(Self { signing, next: None, serving })
    }

    /// What gateways trust (PEM): the authority that signs, and the one that will.
    pub fn trusted(&self) -> String {
        let next = self.next.as_ref().map_or("", |next| next.certificate.as_str());
        format!("{}{next}", self.signing.certificate)
    }

    /// The serving certificate's chain (PEM).
    pub fn chain(&self) -> &str {
        &self.serving.chain
    }

    /// The serving certificate's key (PEM).
    pub fn key(&self) -> &Redacted {
        &self.serving.key
    }

    /// As the data of a Secret. Only for there.
    pub fn to_data(&self) -> BTreeMap<String, Redacted> {
        let times = Times {
            signing_s: self.signing.made_s,
            next_s: self.next.as_ref().map(|next| next.made_s),
            serving_s: self.serving.made_s,
            names: self.serving.names.clone(),
        };
        let times = serde_json::to_string(&times).expect("numbers and texts are JSON");
        let open = |text: &str| Redacted::new(text.to_owned());
        let mut data = BTreeMap::from([
            ("ca.crt".to_owned(), open(&self.signing.certificate)),
            ("ca.key".to_owned(), self.signing.key.clone()),
            ("tls.crt".to_owned(), open(&self.serving.chain)),
            ("tls.key".to_owned(), self.serving.key.clone()),
            ("times.json".to_owned(), Redacted::new(times)),
        ]);
        if let Some(next) = &self.next {
            data.insert("next.crt".into(), open(&next.certificate));
            data.insert("next.key".into(), next.key.clone());
        }
        data
    }

    /// From the data of a Secret; `None` for one that is not of this form: then a new one is made.
    pub fn from_data(data: &BTreeMap<String, Redacted>) -> Option<Self> {
        let text = |name: &str| data.get(name).map(|text| text.reveal().to_owned());
        let signer = |certificate: &str, key: &str, made_s| {
            Some(Signer { certificate: text(certificate)?, key: data.get(key)?.clone(), made_s })
        };
        let times: Times = serde_json::from_str(&text("times.json")?).ok()?;
        let signing = signer("ca.crt", "ca.key", times.signing_s)?;
        let next = times.next_s.and_then(|made_s| signer("next.crt", "next.key", made_s));
        let serving = Serving {
            chain: text("tls.crt")?,
            key: data.get("tls.key")?.clone(),
            made_s: times.serving_s,
            names: times.names,
        };
        let whole = [&signing.key, &serving.key].into_iter().all(|key| KeyPair::from_pem(key.reveal()).is_ok());
        whole.then_some(Self { signing, next, serving })
    }
}

impl Signer {
    fn new(now_s: u64) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(|error| AuthorityError(error.to_string()))?;
        let certificate = Self::params(now_s)?.self_signed(&key).map_err(|error| AuthorityError(error.to_string()))?;
        Ok(Self { certificate: certificate.pem(), key: Redacted::new(key.serialize_pem()), made_s: now_s })
    }

    fn params(made_s: u64) -> Result<CertificateParams, AuthorityError> {
        let mut params = CertificateParams::default();
        // the time in its name tells two authorities apart that are trusted at once
        params.distinguished_name = called(&format!("headgate authority {made_s}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = valid(made_s, AUTHORITY_VALID)?;
        Ok(params)
    }

    fn sign(&self, names: &[String], now_s: u64) -> Result<Serving, AuthorityError> {
        let failed = |error: rcgen::Error| AuthorityError(error.to_string());
        let authority = KeyPair::from_pem(self.key.reveal()).map_err(failed)?;
        let issuer = Issuer::new(Self::params(self.made_s)?, authority);
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = called("headgate controller");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        // never beyond its authority
        let left = (self.made_s + AUTHORITY_VALID.as_secs()).saturating_sub(now_s);
        (params.not_before, params.not_after) = valid(now_s, SERVING_VALID.min(Duration::from_secs(left)))?;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        Ok(Serving {
            chain: certificate.pem(),
            key: Redacted::new(key.serialize_pem()),
            made_s: now_s,
            names: names.to_vec(),
        })
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

fn valid(made_s: u64, duration: Duration) -> Result<(time::OffsetDateTime, time::OffsetDateTime), AuthorityError> {
    let at = |seconds: u64| {
        time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap_or(i64::MAX))
            .map_err(|error| AuthorityError(format!("a time that no certificate can say: {error}")))
    };
    Ok((at(made_s.saturating_sub(SKEW.as_secs()))?, at(made_s + duration.as_secs())?))
}

fn is_due(made_s: u64, valid: Duration, now_s: u64) -> bool {
    now_s + valid.as_secs() / u64::from(RENEW_LEFT) >= made_s + valid.as_secs()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SystemTime = UNIX_EPOCH;

    fn names() -> Vec<String> {
        vec!["controller.headgate-system.svc".into(), "10.0.0.1".into()]
    }

    fn at(days: u64) -> SystemTime {
        START + DAY * (20_000 + days as u32)
    }

    fn renewed(held: Option<&Material>, days: u64) -> Option<Material> {
        Material::renewed(held, &names(), at(days)).unwrap()
    }

    #[test]
    fn a_serving_certificate_is_renewed_with_a_third_left_and_by_the_same_authority() {
        let first = renewed(None, 0).unwrap();
        assert_eq!(renewed(Some(&first), 59), None);
        let second = renewed(Some(&first), 60).unwrap();
        assert_ne!(second.chain(), first.chain());
        assert_eq!(second.trusted(), first.trusted());
    }

    #[test]
    fn other_names_need_another_certificate() {
        let first = renewed(None, 0).unwrap();
        let second = Material::renewed(Some(&first), &["other.svc".into()], at(1)).unwrap().unwrap();
        assert_eq!(second.trusted(), first.trusted());
        assert_ne!(second.chain(), first.chain());
    }

    #[test]
    fn a_new_authority_is_trusted_before_it_signs() {
        let first = renewed(None, 0).unwrap();
        let both = renewed(Some(&first), 480).unwrap();
        assert!(both.trusted().starts_with(&first.trusted()) && both.trusted().len() > first.trusted().len());
        let later = renewed(Some(&both), 481).unwrap();
        assert!(both.trusted().ends_with(&later.trusted()), "the second is the only one now");
        assert_ne!(later.chain(), both.chain());
        assert_eq!(renewed(Some(&later), 482), None);
    }

    #[test]
    fn one_that_has_ended_is_made_again() {
        let first = renewed(None, 0).unwrap();
        assert_ne!(renewed(Some(&first), 721).unwrap().trusted(), first.trusted());
    }

    #[test]
    fn it_comes_back_from_a_secret_and_prints_no_key() {
        let material = renewed(Some(&renewed(None, 0).unwrap()), 480).unwrap();
        assert_eq!(Material::from_data(&material.to_data()), Some(material.clone()));
        for lost in ["ca.key", "tls.crt", "times.json"] {
            let mut data = material.to_data();
            data.remove(lost);
            assert_eq!(Material::from_data(&data), None, "{lost}");
        }
        let mut garbled = material.to_data();
        garbled.insert("tls.key".into(), Redacted::new("no key".into()));
        assert_eq!(Material::from_data(&garbled), None);
        assert!(!format!("{material:?} {:?}", material.to_data()).contains("PRIVATE KEY"));
    }
}
