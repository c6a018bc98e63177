//! How the routes of Ingresses are called: by the Ingress, and by the host if it has several. Never one name for two of a namespace.

use crate::kinds::Ingress;
use headgate_config::Text;
use std::collections::HashSet;

/// The longest name of an object.
const BYTES_MOST: usize = 253;
/// What a name is cut to before a number makes it another one.
const BYTES_CUT: usize = 240;

/// Names that are taken, by namespace.
#[derive(Default)]
pub(super) struct Names(HashSet<(Text, String)>);

impl Names {
    /// A free name. `host` is given if the Ingress has several: `None` in it is any host.
    pub fn choose(&mut self, ingress: &Ingress, host: Option<&Option<String>>, suffix: &str) -> String {
        let base = match host {
            None => ingress.meta.name.to_string(),
            Some(host) => format!("{}-{}", ingress.meta.name, of_host(host.as_deref())),
        };
        let mut name = format!("{base}{suffix}");
        let short = name.char_indices().map_while(|(at, c)| (at + c.len_utf8() <= BYTES_CUT).then_some(c));
        let cut = short.collect::<String>().trim_end_matches(['-', '.']).to_owned();
        let mut number = 1;
        while name.len() > BYTES_MOST || !self.0.insert((ingress.meta.namespace.clone(), name.clone())) {
            number += 1;
            name = format!("{cut}-{number}");
        }
        name
    }
}

/// A host as a part of a name.
pub(super) fn of_host(host: Option<&str>) -> String {
    match host {
        None => "any".to_owned(),
        Some(host) => host.strip_prefix("*.").map_or_else(|| host.to_owned(), |below| format!("wildcard.{below}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::ObjectMeta;

    #[test]
    fn no_two_routes_have_one_name_and_none_is_too_long() {
        let mut names = Names::default();
        let ingress = |name: &str| Ingress {
            meta: ObjectMeta { name: name.into(), namespace: "default".into(), ..ObjectMeta::default() },
            ..Ingress::default()
        };
        let host = Some("a.example".to_owned());
        assert_eq!(names.choose(&ingress("shop"), Some(&host), ""), "shop-a.example");
        assert_eq!(names.choose(&ingress("shop"), Some(&None), ""), "shop-any");
        assert_eq!(names.choose(&ingress("shop-a.example"), None, ""), "shop-a.example-2");
        assert_eq!(names.choose(&ingress("shop"), Some(&Some("*.b".into())), "-redirect"), "shop-wildcard.b-redirect");
        let long = names.choose(&ingress(&"a".repeat(250)), Some(&host), "");
        assert_eq!(long, format!("{}-2", "a".repeat(240)));
        let odd = names.choose(&ingress(&"ä".repeat(200)), None, "");
        assert_eq!(odd, format!("{}-2", "ä".repeat(120)), "cut between characters");
    }
}
