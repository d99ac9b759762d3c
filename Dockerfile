# The images that containerlab/ names. One file, one stage each:
#
#   for image in catbird catbird-frr catbird-bird; do docker build --target $image -t $image:latest .; done
#
# Base images are arguments, so that a mirror can stand in for the public ones.
ARG RUST_IMAGE=rust:1-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# There is no git in here: docker build --build-arg CATBIRD_COMMIT=$(git rev-parse --short=12 HEAD)
ARG CATBIRD_COMMIT=""
RUN cargo build --release --locked --bin catbird

# What runs on a node. iproute2 and ping are for the `exec` lines of the stories and for people who look around.
FROM ${DEBIAN_IMAGE} AS catbird
RUN apt-get update \
 && apt-get install -y --no-install-recommends iproute2 iputils-ping \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /etc/catbird /run/catbird
COPY --from=build /src/target/release/catbird /usr/local/bin/catbird
EXPOSE 179 9179
ENTRYPOINT ["catbird"]
CMD ["run", "-c", "/etc/catbird/catbird.toml"]

# The router of the rack: FRR as Debian ships it.
FROM ${DEBIAN_IMAGE} AS catbird-frr
RUN apt-get update \
 && apt-get install -y --no-install-recommends frr iproute2 iputils-ping procps \
 && rm -rf /var/lib/apt/lists/*
# The start script ends when its daemons run; the container lives on.
ENTRYPOINT ["/bin/sh", "-c", "/usr/lib/frr/frrinit.sh start && exec sleep infinity"]

# A second opinion.
FROM ${DEBIAN_IMAGE} AS catbird-bird
RUN apt-get update \
 && apt-get install -y --no-install-recommends bird2 iproute2 iputils-ping \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /run/bird
ENTRYPOINT ["bird", "-f", "-c", "/etc/bird/bird.conf"]
