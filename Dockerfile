# Thinkery in a container. Build: docker build -t thinkery .
# Run: docker run --gpus all --ipc=host --ulimit memlock=-1 -p 127.0.0.1:8642:8642 -v thinkery:/data thinkery
# It starts without a GPU as well; the setup link is in `docker logs`.

FROM node:20-bookworm-slim AS web
WORKDIR /build/web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY web ./
RUN npm run build

FROM rust:1.95-bookworm AS binary
WORKDIR /build
COPY . .
COPY --from=web /build/web/dist /build/panel
# The panel is built already: this stage needs no Node.
RUN THINKERY_WEB_DIST=/build/panel cargo build --release --locked && strip target/release/thinkery

# libcuda comes from the host's driver; NVRTC and the headers it includes come from this image.
FROM nvidia/cuda:13.0.0-devel-ubuntu24.04
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 thinkery && mkdir /data && chown thinkery /data
COPY --from=binary /build/target/release/thinkery /usr/local/bin/thinkery
USER thinkery
ENV THINKERY_DATA_DIR=/data
VOLUME /data
EXPOSE 8642
HEALTHCHECK --interval=30s --timeout=5s CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8642/healthz')"]
CMD ["thinkery", "up", "--listen", "0.0.0.0:8642"]
