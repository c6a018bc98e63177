//! What a controller hears of gateways. Counts and acknowledgements only; never a request.

use headgate_config::{Demand, GatewayName, Version};

/// What one Pod of a Gateway says. A Pod that connects again replaces its stream before; it is `Gone` only if no stream is left.
#[derive(Clone, Debug, PartialEq)]
pub struct FromGateway {
    /// Whose.
    pub gateway: GatewayName,
    /// Which Pod.
    pub pod: String,
    /// What.
    pub report: Report,
}

/// What is said.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// It is here. Its counts start from nothing.
    Connected {
        /// Version of its program.
        program: String,
    },
    /// It follows this controller (`true`), or another replica from now on: then acknowledgements do not come here.
    Following(bool),
    /// A version is live there.
    Acknowledged {
        /// Which: what [`crate::Publisher::publish`] returned, or a later one.
        version: Version,
        /// What is wrong in it, one sentence each; all else serves.
        problems: Vec<String>,
    },
    /// Endpoints are live there.
    EndpointsApplied {
        /// Up to here: what [`crate::Publisher::endpoints`] returned, or later.
        sequence: u64,
    },
    /// Counts of scale targets, the newest of each; every second, even if there is none.
    Demand {
        /// By target.
        list: Vec<Demand>,
        /// Whether a target that is not named has nothing listed and nothing asked for; otherwise it is as it was.
        whole: bool,
    },
    /// It is gone: what it counted is over, or counted by nobody.
    Gone,
}
