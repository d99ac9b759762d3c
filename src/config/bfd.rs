//! `bfd = ...` of a session, and the profiles `[bfd.NAME]` that it may name.
//!
//! In: what was typed. Out: [`Bfd`], whole, for each session that wants it. What a profile means on the wire is the room `bfd`'s affair.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::time::Duration;

use toml::de::DeValue;

use super::model::{Bfd, BfdKey};
use super::raw::Opt;
use super::reader::{Section, Value};
use super::report::{At, Diagnostics, Problem, Span};
use super::validate::{Validator, or, value};
use super::values::{Keyword, SecretPath, Time};
use crate::bfd::{AuthType, Profile, WithoutRealtime};

/// The profile of `bfd = true`, if there is one of this name.
const DEFAULT: &str = "default";

/// Shorter than this no interval is: below it the jitter of a kernel's timers is as long as the interval.
const LEAST: Duration = Duration::from_millis(5);

/// The longest interval; RFC 5880 has no bound, and who waits longer wants the hold timer.
const MOST: Duration = Duration::from_secs(60);

/// `bfd = true`, `false` or `"NAME"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BfdRef {
    Off,
    Default,
    Named(String),
}

impl Value for BfdRef {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<BfdRef> {
        match value {
            DeValue::Boolean(true) => Some(BfdRef::Default),
            DeValue::Boolean(false) => Some(BfdRef::Off),
            DeValue::String(_) => String::read(value, span, diagnostics).map(BfdRef::Named),
            _ => {
                super::reader::wrong_type(value, span, diagnostics, "true, false, or the name of a [bfd.NAME]");
                None
            }
        }
    }
}

impl Keyword for AuthType {
    const KEYWORDS: &'static [(&'static str, AuthType)] = &AuthType::NAMES;
}

impl Value for AuthType {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<AuthType> {
        super::values::read_keyword(value, span, diagnostics)
    }
}

impl Keyword for WithoutRealtime {
    const KEYWORDS: &'static [(&'static str, WithoutRealtime)] =
        &[("raise", WithoutRealtime::Raise), ("refuse", WithoutRealtime::Refuse), ("keep", WithoutRealtime::Keep)];
}

impl Value for WithoutRealtime {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<WithoutRealtime> {
        super::values::read_keyword(value, span, diagnostics)
    }
}

/// `[bfd.NAME]`
#[derive(Clone, Debug)]
pub struct RawBfd {
    pub name: At<String>,
    pub min_tx: Opt<Time>,
    pub min_rx: Opt<Time>,
    pub multiplier: Opt<NonZeroU8>,
    pub passive: Opt<bool>,
    pub multihop: Opt<bool>,
    pub min_ttl: Opt<NonZeroU8>,
    pub strict: Opt<bool>,
    pub graceful: Opt<bool>,
    pub link_down: Opt<bool>,
    pub without_realtime: Opt<WithoutRealtime>,
    pub auth: Opt<AuthType>,
    pub key_id: Opt<u8>,
    pub key_file: Opt<SecretPath>,
}

impl RawBfd {
    pub fn read(name: At<String>, mut section: Section<'_>) -> RawBfd {
        let raw = RawBfd {
            name,
            min_tx: section.take("min_tx"),
            min_rx: section.take("min_rx"),
            multiplier: section.take("multiplier"),
            passive: section.take("passive"),
            multihop: section.take("multihop"),
            min_ttl: section.take("min_ttl"),
            strict: section.take("strict"),
            graceful: section.take("graceful"),
            link_down: section.take("link_down"),
            without_realtime: section.take("without_realtime"),
            auth: section.take("auth"),
            key_id: section.take("key_id"),
            key_file: section.take("key_file"),
        };
        section.finish();
        raw
    }
}

/// All profiles, by name.
pub(super) fn profiles(raw: &[RawBfd], validator: &Validator<'_>) -> BTreeMap<String, Bfd> {
    raw.iter().map(|raw| (raw.name.value.clone(), validator.profile(raw))).collect()
}

impl Validator<'_> {
    /// What a session refers to.
    pub(super) fn bfd(&self, wanted: &At<BfdRef>) -> Option<Bfd> {
        match &wanted.value {
            BfdRef::Off => None,
            BfdRef::Default => Some(self.bfd.get(DEFAULT).cloned().unwrap_or_else(|| Bfd {
                name: DEFAULT.to_owned(),
                profile: Profile::default(),
                key: None,
            })),
            BfdRef::Named(name) => {
                let found = self.bfd.get(name).cloned();
                if found.is_none() {
                    let known = self.bfd.keys().cloned().collect();
                    self.diagnostics.report(wanted.span.clone(), Problem::Unresolved { kind: "[bfd.NAME]", name: name.clone(), known });
                }
                found
            }
        }
    }

    fn profile(&self, raw: &RawBfd) -> Bfd {
        let default = Profile::default();
        if let (Some(ttl), Some(false)) = (&raw.min_ttl, value(&raw.multihop)) {
            let what = "`min_ttl` is for sessions over routers".to_owned();
            let help = "on one link only 255 is taken (RFC 5881 §5); leave it out".to_owned();
            self.diagnostics.report(ttl.span.clone(), Problem::Conflict { what, help });
        }
        let profile = Profile {
            min_tx: self.micros(&raw.min_tx, default.min_tx),
            min_rx: self.micros(&raw.min_rx, default.min_rx),
            multiplier: raw.multiplier.as_ref().map_or(default.multiplier, |at| at.value.get()),
            passive: or(&raw.passive, default.passive),
            multihop: value(&raw.multihop),
            min_ttl: value(&raw.min_ttl).map(NonZeroU8::get),
            strict: or(&raw.strict, default.strict),
            graceful: or(&raw.graceful, default.graceful),
            link_down: or(&raw.link_down, default.link_down),
            without_realtime: or(&raw.without_realtime, default.without_realtime),
            key: None,
        };
        Bfd { name: raw.name.value.clone(), profile, key: self.bfd_key(raw) }
    }

    fn micros(&self, typed: &Opt<Time>, default: u32) -> u32 {
        let Some(at) = typed else { return default };
        if !(LEAST..=MOST).contains(&at.value.0) {
            let expected = "an interval from 5ms to 60s, such as \"300ms\" or \"50ms\"".to_owned();
            self.diagnostics.report(at.span.clone(), Problem::BadValue { found: at.value.to_string(), expected });
        }
        u32::try_from(at.value.0.as_micros()).unwrap_or(default)
    }

    fn bfd_key(&self, raw: &RawBfd) -> Option<BfdKey> {
        let spans =
            [raw.auth.as_ref().map(|at| &at.span), raw.key_id.as_ref().map(|at| &at.span), raw.key_file.as_ref().map(|at| &at.span)];
        let typed = spans.into_iter().flatten().next()?;
        let (Some(auth), Some(file)) = (&raw.auth, &raw.key_file) else {
            let what = "`auth` and `key_file` belong together".to_owned();
            let help = "`auth` says how packets are authenticated, and `key_file` names the file with the key; `key_id` is 1 unless set"
                .to_owned();
            self.diagnostics.report(typed.clone(), Problem::Conflict { what, help });
            return None;
        };
        let mut password = self.password(file);
        let most = auth.value.digest_len();
        if let Some(octets) = password.secret.as_ref().ok().map(String::len).filter(|octets| *octets > most) {
            let error = format!("{octets} octets where a key of {} has {most} at most (RFC 5880 §6.7)", auth.value.name());
            let problem = Problem::Unreadable { path: file.value.0.display().to_string(), error: error.clone() };
            self.diagnostics.report(file.span.clone(), problem);
            password.secret = Err(error);
        }
        Some(BfdKey { auth: auth.value, id: or(&raw.key_id, 1), password })
    }
}
