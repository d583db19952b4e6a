# lwdna with the versions of constraints.txt; docs/stacks.md tells how to build and run it.
#   docker build -t lwdna .                      with CUDA, as PyPI has torch for x86-64
#   docker build -t lwdna --build-arg TORCH_INDEX=ADDRESS .   ADDRESS: PyTorch's index for CPUs
FROM python:3.11-slim

ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# what is large and seldom changes has a layer of its own
WORKDIR /src
COPY constraints.txt ./
RUN pip install -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch torchvision timm

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY recipes ./recipes
RUN pip install -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[video]" \
    && rm -rf /src \
    && mkdir -m 777 /cache /work

# whoever runs it, by --user, may keep weights that were fetched there
ENV HF_HOME=/cache/huggingface TORCH_HOME=/cache/torch XDG_CACHE_HOME=/cache HOME=/tmp
WORKDIR /work
ENTRYPOINT ["lwdna"]
CMD ["--help"]
