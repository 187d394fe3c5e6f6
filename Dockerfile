# The server as a container: docs/deployment.md says how it is run.
#
#   docker build --build-arg COMMIT="$(git rev-parse --short=12 HEAD)" -t modelramp .

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
# What `modelramp --version` names; there is no git in here.
ARG COMMIT=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    MODELRAMP_COMMIT="$COMMIT" cargo build --locked --release \
    && cp target/release/modelramp /usr/local/bin/modelramp \
    && install -d -o 65532 -g 65532 /empty

FROM debian:trixie-slim
# The certificates of the providers' hosts change: the newest are wanted, not a version of today.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/modelramp /usr/local/bin/modelramp
COPY --from=build --chown=65532:65532 /empty /data
# Numbers and not names, so that an orchestrator sees that it is not root.
USER 65532:65532
WORKDIR /data
VOLUME /data
ENV APP_ENV=production \
    HOST=0.0.0.0 \
    LOG_FORMAT=json \
    DATABASE_URL=sqlite:///data/modelramp.db
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["modelramp", "health"]
ENTRYPOINT ["modelramp"]
