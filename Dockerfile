# syntax=docker/dockerfile:1
# The image of the controller and of all gateways: one program, no shell, no root.
#   docker build -t headgate:dev .
ARG RUST=1.95

FROM rust:${RUST}-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --package headgate && \
    install -D target/dist/headgate /out/headgate

# Nothing but glibc, libgcc and certificates of authorities: what the program needs.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="headgate" \
      org.opencontainers.image.description="A function gateway for the Gateway API and OpenFunction" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/headgate /usr/local/bin/headgate
# A number, for the kubelet sees no names (runAsNonRoot).
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/headgate"]
