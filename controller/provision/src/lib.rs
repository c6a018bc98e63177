//! What a Gateway needs in a cluster: Deployment, Services, ServiceAccount, PodDisruptionBudget, as manifests. Pure; never talks to an API server.
