//! An application for tests of cold starts: it tells a file what reached it, when and how many at once. It answers each request with what it got.

fn main() {
    headgate_e2e::application();
}
