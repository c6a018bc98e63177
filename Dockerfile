# syntax=docker/dockerfile:1
# The image of the controller and of all gateways: one static program and the certificates of public authorities; no shell, no root.
#   make image IMAGE=headgate:dev
ARG RUST=1.95

FROM rust:${RUST}-bookworm AS build
ARG PROFILE=dist
WORKDIR /src
COPY . .
# With a target named, the flag is for the program and not for macros, which cannot be static.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    host=$(rustc -vV | sed -n 's/^host: //p') && \
    RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --locked --profile "$PROFILE" --target "$host" --package headgate && \
    install -D "target/$host/$PROFILE/headgate" /out/usr/local/bin/headgate && \
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt

FROM scratch
LABEL org.opencontainers.image.title="headgate" \
      org.opencontainers.image.description="A function gateway for the Gateway API and OpenFunction" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out /
# A number, for the kubelet sees no names (runAsNonRoot).
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/headgate"]
