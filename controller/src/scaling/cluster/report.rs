//! What a person wants to read of the scaler's doings: lines of a log, Events, conditions. Never a number that has no use.

use super::{Member, Reason};
use std::{fmt, time::Duration};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// Replicas are written.
    Scaling {
        /// Which.
        target: String,
        /// Before.
        from: u32,
        /// From now on.
        to: u32,
        /// Why.
        reason: Reason,
        /// Requests that wait.
        queued: u32,
    },
    /// A Pod became ready.
    Ready {
        /// Which.
        target: String,
        /// The Pod.
        pod: String,
        /// Since it was first seen.
        after: Duration,
    },
    /// The target answers with the reason from now on.
    Broken {
        /// Which.
        target: String,
        /// Why.
        reason: String,
    },
    /// A Pod gets no new request and will stop.
    Closing {
        /// Which.
        target: String,
        /// The Pod.
        pod: String,
        /// Why.
        reason: Reason,
    },
    /// Somebody else wrote replicas.
    HandedOff {
        /// Which.
        target: String,
        /// What they wrote.
        replicas: u32,
    },
    /// We write them again.
    HandedBack {
        /// Which.
        target: String,
    },
    /// A write did not succeed.
    WriteFailed {
        /// Which.
        target: String,
        /// Why.
        reason: String,
    },
    /// A gateway Pod that runs is not heard.
    Silent {
        /// Which.
        member: Member,
    },
    /// It is heard again.
    HeardAgain {
        /// Which.
        member: Member,
    },
}

impl Report {
    /// The target that it is about, by its label; `None` where it is about a gateway.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Scaling { target, .. }
            | Self::Ready { target, .. }
            | Self::Broken { target, .. }
            | Self::Closing { target, .. }
            | Self::HandedOff { target, .. }
            | Self::HandedBack { target }
            | Self::WriteFailed { target, .. } => Some(target),
            Self::Silent { .. } | Self::HeardAgain { .. } => None,
        }
    }

    /// The Pod of a gateway that it is about.
    pub fn member(&self) -> Option<&Member> {
        match self {
            Self::Silent { member } | Self::HeardAgain { member } => Some(member),
            _ => None,
        }
    }

    /// One word for machines, as an Event has it.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Scaling { .. } => "Scaling",
            Self::Ready { .. } => "Ready",
            Self::Broken { .. } => "StartFailed",
            Self::Closing { .. } => "Closing",
            Self::HandedOff { .. } => "ScaledByOther",
            Self::HandedBack { .. } => "ScaledByHeadgate",
            Self::WriteFailed { .. } => "ScalingFailed",
            Self::Silent { .. } => "GatewaySilent",
            Self::HeardAgain { .. } => "GatewayHeard",
        }
    }

    /// Whether it is something to look after.
    pub const fn is_warning(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::HandedOff { .. } | Self::WriteFailed { .. } | Self::Silent { .. })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scaling { target, from, to, reason, queued: 0 } => write!(f, "{target}: {from} to {to} ({reason})"),
            Self::Scaling { target, from, to, reason, queued } => {
                write!(f, "{target}: {from} to {to} ({reason}; {queued} waiting)")
            }
            Self::Ready { target, pod, after } => {
                write!(f, "{target}: {pod} is ready after {} ms", after.as_millis())
            }
            Self::Broken { target, reason } => write!(f, "{target} does not start: {reason}"),
            Self::Closing { target, pod, reason } => write!(f, "{target}: {pod} closes ({reason})"),
            Self::HandedOff { target, replicas } => write!(
                f,
                "{target}: somebody else wrote {replicas} replicas, so they are not written here any more; \
                 remove the annotation {} from the workload to hand it back",
                super::OWNER_ANNOTATION
            ),
            Self::HandedBack { target } => write!(f, "{target}: its replicas are written here again"),
            Self::WriteFailed { target, reason } => write!(f, "{target}: replicas could not be written: {reason}"),
            Self::Silent { member } => {
                write!(
                    f,
                    "gateway {member} runs and is not heard: nothing it may send to is stopped until it is, or is gone"
                )
            }
            Self::HeardAgain { member } => write!(f, "gateway {member} is heard again"),
        }
    }
}
