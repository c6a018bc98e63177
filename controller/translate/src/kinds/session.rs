//! `sessionPersistence` (experimental) of a rule or a policy: as v1.7.0 writes it, and as versions before it did. Never a token.

use crate::{
    choices,
    form::Form,
    kinds::route::read_duration,
    schema::{Fields, Reader},
};

/// `sessionPersistence`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPersistence {
    /// What carries the token.
    pub kind: SessionKind,
    /// Name of the cookie or header; always there for a header.
    pub name: Option<String>,
    /// Path of the cookie, `/` by default.
    pub path: Option<String>,
    /// Whether the client keeps the cookie when its own session ends.
    pub lifetime: CookieLifetime,
    /// How long a session lasts, in milliseconds.
    pub absolute_ms: Option<u64>,
    /// How long a session may be idle, in milliseconds (v1.5 and before): not supported.
    pub idle_ms: Option<u64>,
}

choices! {
    /// `type` of persistence.
    SessionKind { Cookie = "Cookie", Header = "Header" }
}

choices! {
    /// `lifetimeType` of a cookie.
    CookieLifetime { Session = "Session", Permanent = "Permanent" }
}

impl SessionPersistence {
    pub(crate) fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        // versions before v1.7.0 have these instead of `cookie` and `header`
        let is_earlier = ["sessionName", "cookieConfig", "idleTimeout"].iter().any(|field| fields.has(field));
        let mut session = Self {
            kind: fields.choice("type").unwrap_or_default(),
            name: fields.text("sessionName", Form::HEADER_NAME),
            absolute_ms: read_duration(&mut fields, "absoluteTimeout"),
            idle_ms: read_duration(&mut fields, "idleTimeout"),
            ..Self::default()
        };
        let bodies = [(SessionKind::Cookie, "cookie"), (SessionKind::Header, "header")];
        for (of, field) in bodies.into_iter().filter(|_| !is_earlier) {
            match (fields.has(field), session.kind == of) {
                (true, false) => {
                    let kind = session.kind.as_str();
                    at.error(format!("has {field}, but its type is {kind}"), format!("leave out {field}"));
                }
                // an API server with earlier definitions lets this through, and means the defaults
                (false, true) if !(at.report().is_admitted() && of == SessionKind::Cookie) => {
                    at.error(format!("{field} is missing"), format!("write {field}: {{}}"));
                }
                _ => {}
            }
        }
        if let Some(header) = fields.get("header") {
            session.name = header.fields().need("name").map(|at| at.text(Form::HEADER_NAME));
        }
        for cookie in ["cookie", "cookieConfig"].into_iter().filter_map(|field| fields.get(field)) {
            session.read_cookie(&mut cookie.fields());
        }
        if session.kind == SessionKind::Header && session.name.is_none() && is_earlier {
            at.error("a header has no name", "write header: with its name");
        }
        if session.lifetime == CookieLifetime::Permanent && session.absolute_ms.is_none() {
            at.error("a Permanent cookie needs a lifetime", "write absoluteTimeout: with a duration");
        }
        session
    }

    fn read_cookie(&mut self, cookie: &mut Fields<'_>) {
        self.path = cookie.text("path", Form::PATH);
        self.name = cookie.text("name", Form::HEADER_NAME).or(self.name.take());
        self.lifetime = cookie.choice("lifetimeType").unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Report;
    use serde_json::{Value, json};

    fn read(value: &Value, report: Report) -> Result<SessionPersistence, Vec<String>> {
        let session = SessionPersistence::read(&Reader::new(value, &report));
        let has_errors = report.has_errors();
        let problems = report.into_problems();
        if has_errors { Err(problems.iter().map(ToString::to_string).collect()) } else { Ok(session) }
    }

    #[test]
    fn both_ways_to_write_it_mean_the_same() {
        let now = json!({"absoluteTimeout": "1h", "cookie": {"name": "stay", "lifetimeType": "Permanent"}});
        let before = json!({"type": "Cookie", "sessionName": "stay", "absoluteTimeout": "1h",
            "cookieConfig": {"lifetimeType": "Permanent"}});
        let session = read(&now, Report::default()).unwrap();
        assert_eq!(session.absolute_ms, Some(3_600_000));
        assert_eq!(read(&before, Report::of_admitted()).unwrap(), session);
        let header = read(&json!({"type": "Header", "header": {"name": "X-Stay"}}), Report::default()).unwrap();
        let before = json!({"type": "Header", "sessionName": "X-Stay"});
        assert_eq!(read(&before, Report::default()).unwrap(), header);
    }

    #[test]
    fn what_the_api_refuses_is_refused() {
        for (value, place) in [
            (json!({"type": "Header"}), "header is missing"),
            (json!({}), "cookie is missing"),
            (json!({"type": "Header", "header": {"name": "a"}, "cookie": {}}), "has cookie"),
            (json!({"type": "Header", "header": {}}), "header.name"),
            (json!({"cookie": {"lifetimeType": "Permanent"}}), "needs a lifetime"),
            (json!({"cookie": {"name": "a b"}}), "cookie.name"),
        ] {
            let problems = read(&value, Report::default()).unwrap_err().join("\n");
            assert!(problems.contains(place), "{value}: {problems}");
        }
        assert!(read(&json!({}), Report::of_admitted()).is_ok(), "as an earlier version of the API has it");
    }
}
