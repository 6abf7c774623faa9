# Wharf in an image that holds one static binary and nothing else. Works with the classic builder and with BuildKit.
#
#   docker build -t wharf .                      compiles inside rust:1-bookworm
#   docker build -t wharf --target packed DIR    packs DIR/wharf, built outside; needs no registry (see scripts/pack)
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

# Before any stage with a registry image: the classic builder stops at the target, so nothing is pulled.
FROM base AS packed
# An empty directory with an owner: a new volume takes it over, so a non-root Wharf can write to it.
COPY --chown=65532:65532 data /data
VOLUME /data
COPY wharf /wharf

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
 && cp target/*/release/wharf /out/wharf

FROM base
COPY --from=build --chown=65532:65532 /out/data /data
VOLUME /data
COPY --from=build /out/wharf /wharf
