//! The scaler's joint: what it is told, and what becomes of what it says. Decides nothing.

use headgate_cluster::{Client, scale::ScaleWriter};
use headgate_config::GatewayName;
use headgate_controller::scaling::cluster::{
    Acknowledgements, Action, Input, Member, Report, Scaler, TargetState, owner,
};
use headgate_stream::{Publisher, Report as Said};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// The scaler of a controller.
pub struct Scaling {
    scaler: Scaler,
    acknowledgements: Acknowledgements,
    writer: ScaleWriter,
    publisher: Publisher,
    targets: BTreeSet<String>,
    /// What people are to be told and were not yet.
    reports: Vec<Report>,
}

impl Scaling {
    /// The scaler of an installation, and what it must be told of its writes.
    pub fn new(client: Client, publisher: Publisher, controller_name: &str) -> (Self, mpsc::UnboundedReceiver<Input>) {
        let (writer, told) = ScaleWriter::new(client);
        let scaling = Self {
            scaler: Scaler::new(owner(controller_name)),
            acknowledgements: Acknowledgements::default(),
            writer,
            publisher,
            targets: BTreeSet::new(),
            reports: Vec::new(),
        };
        (scaling, told)
    }

    /// How long nothing has to be done, unless it is told something.
    pub fn pause(&self) -> Duration {
        let at = self.scaler.next_deadline();
        at.map_or(Duration::from_secs(60), |at| at.saturating_duration_since(Instant::now()))
    }

    /// Tells the scaler something and does what it says; gives the states of targets that are new.
    pub fn tell(&mut self, input: Input) -> Vec<TargetState> {
        if let Input::Targets(specs) = &input {
            let now: BTreeSet<String> = specs.iter().map(|spec| spec.name.clone()).collect();
            let gone = self.targets.difference(&now);
            gone.for_each(|target| self.acknowledgements.forget(target));
            self.targets = now;
        }
        let actions = self.scaler.step(Instant::now(), input);
        actions.into_iter().filter_map(|action| self.carry_out(action)).collect()
    }

    /// What people are to be told of what was done since this was asked last.
    pub fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// A gateway said something.
    pub fn hear(&mut self, gateway: &GatewayName, pod: &str, said: Said) -> Vec<TargetState> {
        let member = Member { gateway: gateway.clone(), pod: pod.to_owned() };
        let inputs = match said {
            Said::Connected { .. } => vec![Input::Connected(member)],
            Said::EndpointsApplied { sequence } => self.acknowledgements.applied(&member, sequence),
            Said::Demand { list, whole } => vec![Input::Demand { member, demand: list, whole }],
            Said::Gone => {
                self.acknowledgements.disconnected(&member);
                vec![Input::Disconnected(member)]
            }
            Said::Acknowledged { .. } | Said::Following(_) => Vec::new(),
        };
        inputs.into_iter().flat_map(|input| self.tell(input)).collect()
    }

    /// A Gateway is gone.
    pub fn forget(&mut self, gateway: &GatewayName) {
        self.acknowledgements.forget_gateway(gateway);
    }

    fn carry_out(&mut self, action: Action) -> Option<TargetState> {
        let target = match &action {
            Action::SetReplicas { target, .. } | Action::Mark { target, .. } | Action::Stamp { target, .. } => {
                target.clone()
            }
            Action::Report(report) => {
                match report.is_warning() {
                    true => tracing::warn!(reason = report.reason(), "{report}"),
                    false => tracing::info!(reason = report.reason(), "{report}"),
                }
                self.reports.push(report.clone());
                return None;
            }
            Action::Publish(state) => {
                self.publish(state);
                return Some(state.clone());
            }
        };
        if let Some((namespace, workload)) = target.split_once('/') {
            self.writer.write(namespace, workload, action);
        }
        None
    }

    fn publish(&mut self, state: &TargetState) {
        for gateway in &state.gateways {
            for endpoints in &state.endpoints {
                let sequence = self.publisher.endpoints(gateway, endpoints.clone());
                self.acknowledgements.sent(gateway, sequence, &state.target, state.version);
            }
        }
    }
}
