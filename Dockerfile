# The sidecar: backs up a database and uploads, and restores them. `docker compose build` builds it; docs/deploy.md shows how to use it.
# BASE is any Debian whose package source has the clients in PG_MAJORS. That of the official postgres image has them all.
ARG BASE=postgres:18-bookworm

FROM ${BASE} AS system
# the last one is the newest; its server programs come along, for a private server to try a restore on
ARG PG_MAJORS="15 16 17 18"
# the package of a server makes a cluster and wants to start it, unless told not to
RUN mkdir -p /etc/postgresql-common \
    && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        -o Dpkg::Options::=--force-confold ca-certificates libnss-wrapper openssh-client python3 restic tzdata \
        $(printf 'postgresql-client-%s ' ${PG_MAJORS}) "postgresql-${PG_MAJORS##* }" \
    && apt-get clean \
    # what nothing here uses: the official image's ways to start, and a compiler of queries, which the server does without
    && rm -rf /usr/local/bin/docker-* /usr/local/bin/gosu /docker-entrypoint-initdb.d \
        /usr/lib/*/libLLVM* /usr/lib/*/libz3.* /usr/lib/llvm-* /usr/lib/postgresql/*/lib/bitcode \
        /usr/lib/postgresql/*/lib/llvmjit* /usr/share/locale /usr/share/man \
        /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt /var/log/*.log

FROM system AS package
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv \
    && python3 -m venv /build \
    && python3 -m venv --without-pip /opt/safeharbor
COPY requirements/build.txt requirements/runtime.txt /source/requirements/
RUN /build/bin/pip install --no-cache-dir --require-hashes --requirement /source/requirements/build.txt \
    && /build/bin/pip --python /opt/safeharbor/bin/python install --no-cache-dir \
        --require-hashes --requirement /source/requirements/runtime.txt
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
COPY docs /source/docs
COPY man /source/man
COPY deploy /source/deploy
COPY deploy/offsite/*.sh /opt/safeharbor/offsite/
# the wheel stays in the image, for an app's own image to take it (deploy/docker/Dockerfile.app)
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/safeharbor/wheel /source \
    && /build/bin/pip --python /opt/safeharbor/bin/python install --no-cache-dir --no-deps --no-index \
        /opt/safeharbor/wheel/*.whl

FROM system AS whole
ARG UID=1000
ARG GID=1000
RUN groupadd --gid "${GID}" safeharbor \
    && useradd --uid "${UID}" --gid "${GID}" --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin safeharbor \
    # a new named volume gets the owner of the directory that it covers
    && install -d -o "${UID}" -g "${GID}" -m 0700 /backups \
    && install -d -o "${UID}" -g "${GID}" -m 0755 /backup-status /data /data/uploads

# from scratch, because the volume, the port and the stop signal of a base image cannot be taken back (decision 37)
FROM scratch
COPY --from=whole / /
COPY --from=package /opt/safeharbor /opt/safeharbor
ENV PATH=/opt/safeharbor/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
ARG VERSION=0.2.0
ARG REVISION=unknown
ARG CREATED=unknown
# from [project.urls] in pyproject.toml; `make release` prints the command that passes them on
ARG SOURCE=unknown
ARG DOCUMENTATION=unknown
ARG BASE
LABEL org.opencontainers.image.title="Safe Harbor" \
    org.opencontainers.image.description="Backups of a PostgreSQL database and its uploads that are proven to restore" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.documentation="${DOCUMENTATION}" \
    org.opencontainers.image.base.name="${BASE}"
ARG UID=1000
ARG GID=1000
USER ${UID}:${GID}
HEALTHCHECK --interval=1m --timeout=30s --start-period=10s CMD ["safeharbor", "status", "--healthcheck"]
CMD ["safeharbor", "idle"]
