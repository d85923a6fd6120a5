# Safe Harbor in an app's own image, so that the sidecar runs the app's code and configuration. docs/deploy.md shows how to use it.
# APP is the app's image: Debian, with the pip that installs for the app's Python first on PATH. SAFEHARBOR is this project's image.
ARG APP
ARG SAFEHARBOR=safeharbor
FROM ${SAFEHARBOR} AS safeharbor
FROM ${APP}
# the major version of the database server, or a newer one
ARG PG_MAJOR=18
USER root
# Debian has one major version. For any other its own script adds the package source of the PostgreSQL project.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates postgresql-common \
    && if ! apt-cache show "postgresql-client-${PG_MAJOR}" >/dev/null 2>&1; then /usr/share/postgresql-common/pgdg/apt.*.sh -y; fi \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "postgresql-client-${PG_MAJOR}" \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/*
# no `RUN --mount`, which an engine before 23 has only with DOCKER_BUILDKIT=1
COPY --from=safeharbor /opt/safeharbor/wheel /opt/safeharbor/wheel
RUN pip install --no-cache-dir "$(echo /opt/safeharbor/wheel/*.whl)[flask,metrics,notify]"
USER 1000:1000
HEALTHCHECK --interval=1m --timeout=30s --start-period=10s CMD ["safeharbor", "status", "--healthcheck"]
CMD ["safeharbor", "idle"]
