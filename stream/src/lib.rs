//! The stream between controller and gateway: routes, endpoints and keys down, acknowledgements and counts up. Never decides what is served, and never prints a key.
