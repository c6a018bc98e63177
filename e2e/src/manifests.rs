//! The files that tests serve, as a person would write them.

use std::{fmt, net::SocketAddr};

/// A Function whose process is `headgate echo`, or another command.
#[derive(Clone, Debug)]
pub struct Function {
    name: String,
    command: Vec<String>,
    annotations: Vec<(String, String)>,
    env: Vec<(String, String)>,
    version: String,
    min: u32,
    max: u32,
}

impl Function {
    /// One that answers with its name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            command: ["headgate", "echo", "--text", name].map(Into::into).into(),
            annotations: Vec::new(),
            env: Vec::new(),
            version: "v1".into(),
            min: 0,
            max: 4,
        }
    }

    /// Has another name.
    #[must_use]
    pub fn renamed(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Runs another program.
    #[must_use]
    pub fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Gives the program more arguments.
    #[must_use]
    pub fn args(mut self, words: &[&str]) -> Self {
        self.command.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Sets an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: impl ToString) -> Self {
        self.annotations.push((key.into(), value.to_string()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.into(), value.to_string()));
        self
    }

    /// Names its version.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    /// Bounds its replicas.
    #[must_use]
    pub fn replicas(mut self, min: u32, max: u32) -> Self {
        (self.min, self.max) = (min, max);
        self
    }

    /// Requests at once per replica.
    #[must_use]
    pub fn concurrency(self, limit: u32) -> Self {
        self.annotation("autoscaling.knative.dev/container-concurrency", limit)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "apiVersion: core.openfunction.io/v1beta2\nkind: Function\nmetadata:\n  name: {}", self.name)?;
        if !self.annotations.is_empty() {
            writeln!(f, "  annotations:")?;
        }
        for (key, value) in &self.annotations {
            writeln!(f, "    {key}: {value:?}")?;
        }
        writeln!(f, "spec:\n  version: {}\n  image: headgate:dev\n  serving:", self.version)?;
        writeln!(f, "    scaleOptions: {{minReplicas: {}, maxReplicas: {}}}", self.min, self.max)?;
        writeln!(f, "    triggers:\n      http: {{port: 8080}}")?;
        writeln!(f, "    template:\n      containers:\n      - name: function\n        command: {:?}", self.command)?;
        if !self.env.is_empty() {
            writeln!(f, "        env:")?;
        }
        for (name, value) in &self.env {
            writeln!(f, "        - {{name: {name}, value: {value:?}}}")?;
        }
        Ok(())
    }
}

/// An HTTPRoute that splits a host between Services or functions by weight, on port 80 of each.
pub fn route(name: &str, host: &str, arms: &[(&str, u32)]) -> String {
    let arms: String =
        arms.iter().map(|(arm, weight)| format!("    - {{name: {arm}, port: 80, weight: {weight}}}\n")).collect();
    rules(name, host, &format!("  - backendRefs:\n{arms}"))
}

/// An HTTPRoute with rules as they stand in a file, below `  rules:`.
pub fn rules(name: &str, host: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: {name}\nspec:\n  \
         hostnames: [{host:?}]\n  rules:\n{rules}"
    )
}

/// A Service on port 80 and its endpoints, each on a port of its own.
pub fn backend(name: &str, app_protocol: Option<&str>, endpoints: &[SocketAddr]) -> String {
    let protocol = app_protocol.map(|protocol| format!(", appProtocol: {protocol}")).unwrap_or_default();
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - {{name: http, port: 80{protocol}}}\n"
    );
    for (index, endpoint) in endpoints.iter().enumerate() {
        text += &format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-{index}\n  \
             labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\nports:\n- {{name: http, port: {}}}\n\
             endpoints:\n- addresses: [{}]\n",
            endpoint.port(),
            endpoint.ip()
        );
    }
    text
}

/// The same split whose answers carry `x-version`: which version of the file a request was routed by.
pub fn marked_route(name: &str, host: &str, version: usize, arm: &str) -> String {
    rules(
        name,
        host,
        &format!(
            "  - filters:\n    - type: ResponseHeaderModifier\n      responseHeaderModifier:\n        \
             set: [{{name: x-version, value: \"{version}\"}}]\n    backendRefs:\n    - {{name: {arm}, port: 80}}\n"
        ),
    )
}
