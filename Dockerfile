# Wharf in an image that holds one static binary and nothing else. Works with the classic builder and with BuildKit.
#
#   docker build -t wharf .    compiles inside rust:1-bookworm
#   scripts/pack TAG           packs a binary built outside, without a registry: this file without its `build` stage
#
# Runs as root by default, because /var/run/docker.sock belongs to root on most hosts. To run it as nobody:
#   docker run --user 65532:65532 --group-add "$(stat -c %g /var/run/docker.sock)" ...
# Ports 80 and 443 need no capability: Docker sets net.ipv4.ip_unprivileged_port_start=0 in containers.

FROM scratch AS base
ENV WHARF_DATA=/data
EXPOSE 80 443
# Every probe makes three Docker events, so not too often; the start is watched by whoever started it.
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s --retries=3 CMD ["/wharf", "healthcheck"]
ENTRYPOINT ["/wharf"]
CMD ["run"]

FROM rust:1-bookworm AS build
WORKDIR /src
# Dependencies first, against an empty crate: this layer stays cached until Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN mkdir src \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs \
 && cargo build --release --locked --bin wharf \
 && rm -r src
COPY src src
# Cargo compares times, and the copied files may be older than the empty crate's output.
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked --bin wharf \
 && mkdir -p /out/data \
 && cp target/*/release/wharf /out/wharf \
 && cp /etc/ssl/certs/ca-certificates.crt /out/

FROM base
# An empty directory with an owner: a new volume takes it over, so a non-root Wharf can write to it.
COPY --from=build --chown=65532:65532 /out/data /data
# The same for the socket of `wharf socket-proxy`.
COPY --from=build --chown=65532:65532 /out/data /run/wharf
VOLUME /data
# For the APIs of DNS providers; ACME has the public roots built in.
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/wharf /wharf
