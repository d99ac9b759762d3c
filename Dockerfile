# The images: the daemon, the same with tools around it (and with BIRD, to migrate from), and two neighbours for containerlab/. One file, one stage each:
#
#   for image in catbird catbird-debug catbird-frr catbird-bird catbird-migrate; do docker build --target $image -t $image:latest .; done
#
# Without an argument the binary is compiled here. Who has made a release (packaging/release) takes that one, and needs no compiler:
#
#   docker build --target catbird --build-arg BINARY=dist/bin/x86_64/catbird --build-arg RUST_IMAGE=debian:bookworm-slim -t catbird .
#
# Base images are arguments, so that a mirror can stand in for the public ones. The neighbours come first and nothing is built upon them: where
# there is no BuildKit, which leaves out what is not asked for, they cost two downloads, and building them compiles nothing.
ARG RUST_IMAGE=rust:1-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-slim

# The router of the rack: FRR as Debian ships it.
FROM ${DEBIAN_IMAGE} AS catbird-frr
RUN apt-get update \
 && apt-get install -y --no-install-recommends frr iproute2 iputils-ping procps \
 && rm -rf /var/lib/apt/lists/*
COPY containerlab/bin/pause /usr/local/bin/
# The start script ends when its daemons run; the container lives on, until it is told to end.
ENTRYPOINT ["/bin/sh", "-c", "/usr/lib/frr/frrinit.sh start && exec pause"]

# A second opinion.
FROM ${DEBIAN_IMAGE} AS catbird-bird
RUN apt-get update \
 && apt-get install -y --no-install-recommends bird2 iproute2 iputils-ping \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /run/bird
ENTRYPOINT ["bird", "-f", "-c", "/etc/bird/bird.conf"]

# The static binary, and the few files around it that an image without a distribution needs.
FROM ${RUST_IMAGE} AS build
# Its rights are in the file: a user without any others may be given them (docker run --cap-add), and the daemon takes up what it got.
RUN command -v setcap || { apt-get update && apt-get install -y --no-install-recommends libcap2-bin && rm -rf /var/lib/apt/lists/*; }
WORKDIR /src
COPY . .
# One that was built before, within this folder.
ARG BINARY=""
# There is no git in here: --build-arg CATBIRD_COMMIT="$(git rev-parse --short=12 HEAD), $(git log -1 --format=%cs)"
ARG CATBIRD_COMMIT=""
RUN set -e; mkdir -p /image/usr/bin /image/etc/catbird /image/run/catbird /image/var/lib/catbird; \
    if [ -n "$BINARY" ]; then cp "$BINARY" /image/usr/bin/catbird; else \
        target="$(uname -m)-unknown-linux-musl"; rustup target add "$target"; \
        CC=gcc RUSTFLAGS="-C linker=rust-lld -C strip=symbols" cargo build --profile dist --locked --target "$target" --bin catbird; \
        cp "target/$target/dist/catbird" /image/usr/bin/catbird; \
    fi; \
    chmod 0755 /image/usr/bin/catbird; \
    setcap cap_net_admin,cap_net_bind_service,cap_net_raw,cap_sys_nice=p /image/usr/bin/catbird; \
    printf 'root:x:0:0:root:/:/usr/bin/catbird\ncatbird:x:65532:65532:catbird:/var/lib/catbird:/usr/bin/catbird\n' > /image/etc/passwd; \
    printf 'root:x:0:\ncatbird:x:65532:\n' > /image/etc/group; \
    # Root's, too, by its group: the daemon gives up the right to write where it may not (CAP_DAC_OVERRIDE), also when root starts it.
    chown 65532:0 /image/run/catbird /image/var/lib/catbird; chmod 0775 /image/run/catbird /image/var/lib/catbird

# For people who look around, and for the `exec` lines of the stories: a shell, ip, ping. As root, for `ip` has no rights of its own.
FROM ${DEBIAN_IMAGE} AS catbird-debug
RUN apt-get update \
 && apt-get install -y --no-install-recommends iproute2 iputils-ping nftables procps \
 && rm -rf /var/lib/apt/lists/*
COPY containerlab/bin/ /usr/local/bin/
COPY --from=build /image/ /
LABEL org.opencontainers.image.title="catbird-debug" \
      org.opencontainers.image.description="catbird with a shell, ip, nft and ping" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
EXPOSE 179 9179
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/bin/catbird", "status"]
ENTRYPOINT ["/usr/bin/catbird"]
CMD ["run", "-c", "/etc/catbird/catbird.toml"]

# Both, for containerlab/migrate-from-bird: first the one runs, then the other.
FROM catbird-debug AS catbird-migrate
RUN apt-get update \
 && apt-get install -y --no-install-recommends bird2 \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /run/bird

# What runs on a node: nothing but the daemon. Last, so that it is what a build without --target makes.
FROM scratch AS catbird
COPY --from=build /image/ /
ARG VERSION=""
ARG CATBIRD_COMMIT=""
LABEL org.opencontainers.image.title="catbird" \
      org.opencontainers.image.description="A BGP speaker for Kubernetes nodes and plain Linux routers" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$CATBIRD_COMMIT"
# Where no_new_privs takes a file's rights away (Kubernetes' allowPrivilegeEscalation: false) it runs as root without any but the granted
# rights; configs/kubernetes/base says so.
USER 65532:65532
EXPOSE 179 9179
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/bin/catbird", "status"]
ENTRYPOINT ["/usr/bin/catbird"]
CMD ["run", "-c", "/etc/catbird/catbird.toml"]
