# syntax=docker/dockerfile:1
# docker build -t alleycat .                          the service
# docker build -t alleycat-lambda --target lambda .   the same binary as a transformation Lambda (docs/DEPLOY.md)
ARG RUST_VERSION=1.95
ARG NODE_VERSION=20

# The page. It is the same on every architecture, so it is built on the builder's architecture.
FROM --platform=$BUILDPLATFORM node:${NODE_VERSION}-bookworm-slim AS page
WORKDIR /build/static
COPY static/package.json static/package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund
COPY openapi/ ../openapi/
COPY static/ ./
RUN npm run build

# The binary, with the page embedded. Registry and target are cache mounts, so a code change rebuilds only the code.
FROM rust:${RUST_VERSION}-slim-bookworm AS binary
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY benches/ benches/
COPY openapi/ openapi/
COPY src/ src/
COPY --from=page /build/static/dist/ static/dist/
# The target folder is a mount and is gone after this step, so the binary is copied.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --release --locked --bin alleycat && cp target/release/alleycat /alleycat

# Contains only a C library, CA certificates and a user that is not root. No shell.
FROM gcr.io/distroless/cc-debian12:nonroot AS runtime
COPY --from=binary /alleycat /usr/local/bin/alleycat
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="alleycat" \
      org.opencontainers.image.description="All-time rankings for home fitness races: a Firehose HTTP endpoint" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 65532:65532
# Writes only to the store: set s3://…, or mount a volume and name it. The root file system may be read-only.
ENV ALLEYCAT_LOG_FORMAT=json
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/alleycat"]
CMD ["serve"]

# The Lambda Web Adapter is an extension. It runs only inside Lambda.
FROM runtime AS lambda
COPY --from=public.ecr.aws/awsguru/aws-lambda-adapter:1.0.0 /lambda-adapter /opt/extensions/lambda-adapter

FROM runtime AS service
EXPOSE 8080
# Requests /readyz on the port of ALLEYCAT_LISTEN. A long start is a recovery, not a fault.
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 CMD ["/usr/local/bin/alleycat", "healthcheck"]
