//! What all Gateways of one controller have in common. Never a key.

/// What all Gateways of one controller have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The image of the gateways: this program.
    pub image: String,
    /// `imagePullPolicy` of their Pods; the API server's default where none is given.
    pub image_pull_policy: Option<String>,
    /// Where they find their controllers: `headgate-controller.headgate-system.svc:9902`.
    pub controller: String,
    /// The authority of the certificates of the stream, in PEM. Public.
    pub authority: String,
}
