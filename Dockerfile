# syntax=docker/dockerfile:1
# One image for web, worker and migrations; the command decides (see compose.yaml).

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements.txt /tmp/requirements.txt
RUN /opt/venv/bin/python -m pip install --require-hashes --only-binary :all: -r /tmp/requirements.txt
# Only what runs is copied; a checkout also holds environments, data and caches.
COPY app /srv/wellward/app
COPY migrations /srv/wellward/migrations
COPY schema /srv/wellward/schema
RUN find /srv/wellward -name __pycache__ -prune -exec rm -r {} + \
    && /opt/venv/bin/python -m compileall -q /srv/wellward

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/wellward --create-home wellward
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/wellward /srv/wellward
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    WELLWARD_MODE=production \
    WELLWARD_HOST=0.0.0.0 \
    WELLWARD_PORT=8000 \
    WELLWARD_DATA_DIR=/var/lib/wellward
WORKDIR /srv/wellward
USER 10001
VOLUME ["/var/lib/wellward"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['WELLWARD_PORT'] + '/healthz', timeout=4)"]
ENTRYPOINT ["python", "-m", "app.cli"]
CMD ["serve"]
