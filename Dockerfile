# syntax=docker/dockerfile:1
# Two images from one file:
#   docker build --target serve -t slimrank:serve .   serves; has no torch, so it cannot compress
#   docker build --target full  -t slimrank:full  .   serves and compresses
# A smaller CPU build of torch: see "Docker" in docs/operations.md for PIP_EXTRA_INDEX_URL.

FROM python:3.11-slim-bookworm AS python
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/slimrank/bin:$PATH

# The dependencies come before the code, so that a change of code does not install them again.
# The empty package stands for the code until then.
FROM python AS packages
WORKDIR /build
RUN python -m venv /opt/slimrank
COPY pyproject.toml requirements.lock README.md LICENSE ./
RUN mkdir app && touch app/__init__.py && pip install -c requirements.lock .

FROM packages AS packages-full
# Empty means: no index besides pip's own.
ARG PIP_EXTRA_INDEX_URL=""
RUN pip install -c requirements.lock '.[compress]'
COPY app app
RUN pip install --no-deps --force-reinstall .

FROM packages AS packages-serve
COPY app app
RUN pip install --no-deps --force-reinstall .

# What both images share but for the packages.
FROM python AS base
RUN groupadd --gid 10001 slimrank \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin slimrank \
    && install -d -o slimrank -g slimrank /var/lib/slimrank/store /var/lib/slimrank/cache
WORKDIR /srv/slimrank
COPY models models
ENV SLIMRANK_HOST=0.0.0.0 \
    SLIMRANK_PORT=8000 \
    SLIMRANK_MODELS=/srv/slimrank/models \
    SLIMRANK_STORE=/var/lib/slimrank/store \
    SLIMRANK_CACHE=/var/lib/slimrank/cache
VOLUME ["/var/lib/slimrank/store", "/var/lib/slimrank/cache"]
EXPOSE 8000
USER 10001
# Live, not ready: a service whose first models are still being compressed must not be restarted for it.
# http.client, because it never goes through a proxy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['SLIMRANK_PORT']), timeout=3); c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]
# SIGTERM drains; `docker stop` must wait longer than SLIMRANK_DRAIN_SECONDS.
ENTRYPOINT ["slimrank"]
CMD ["serve"]

FROM base AS full
COPY --from=packages-full /opt/slimrank /opt/slimrank

FROM base AS serve
COPY --from=packages-serve /opt/slimrank /opt/slimrank
ENV SLIMRANK_COMPRESSOR=false
