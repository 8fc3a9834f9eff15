# A device on an NVIDIA Jetson; docs/jetson.md says what BASE and the wheel must be. Never built by
# its authors. On the Jetson, from the root of the checkout, with the wheel in the folder `wheels`:
#
#   docker build -f device/deploy/jetson.Dockerfile --build-arg BASE=IMAGE \
#     --build-context wheels=wheels -t driftline-jetson .
ARG BASE
FROM ${BASE}

ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG EXTRA=camera

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/venv/bin:$PATH

RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*

# Here, with one sentence, and not in the middle of an installation.
RUN python3 -c "import sys; sys.exit('BASE has Python below 3.11' if sys.version_info < (3, 11) else 0)" \
 && python3 -m venv /opt/venv

WORKDIR /opt/driftline
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY proto/driftline_proto proto/driftline_proto
COPY shared/driftline_shared shared/driftline_shared
COPY cloud/driftline_cloud cloud/driftline_cloud
COPY device/driftline_device device/driftline_device
COPY experiments/driftline_lab experiments/driftline_lab
RUN pip install -c constraints.txt ".[${EXTRA}]"

# Both packages hold the same module: the one for the CPU goes before the other comes.
RUN --mount=type=bind,from=wheels,target=/wheels \
    pip uninstall -y onnxruntime \
 && pip install --no-index --no-deps --find-links /wheels onnxruntime-gpu \
 && python -c "import onnxruntime, sys; sys.exit('the wheel has no CUDA' if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers() else 0)"

COPY device/deploy/jetson.toml /etc/driftline/device.toml

# The group video owns cameras, and on a Jetson the GPU's devices too.
RUN useradd --system --uid 10001 --create-home --groups video driftline \
 && install -d -o driftline -g driftline /var/lib/driftline
USER driftline
WORKDIR /var/lib/driftline
VOLUME /var/lib/driftline

EXPOSE 9465
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=4 \
  CMD ["driftline", "device", "status", "--config", "/etc/driftline/device.toml"]

ENTRYPOINT ["driftline"]
CMD ["device", "run", "--config", "/etc/driftline/device.toml"]
