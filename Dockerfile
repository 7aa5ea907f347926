# The workbook with every package of the lock, and JupyterLab in front. For Docker, Binder and .devcontainer alike.
#     docker build --tag gccpm . && docker run --rm --publish 127.0.0.1:8888:8888 gccpm
# With a GPU: docker run --gpus all ... PyTorch for Linux brings CUDA along: the image takes about 7 GB.
FROM python:3.11-slim-bookworm

# libgl1 and libglib2.0-0 are OpenCV's; git tells a report which commit made it; make is for `make test`
RUN apt-get update && apt-get install --yes --no-install-recommends git libgl1 libglib2.0-0 make \
    && rm -rf /var/lib/apt/lists/*

# Binder asks for a user of this number
ARG NB_USER=jovyan NB_UID=1000
RUN useradd --create-home --uid ${NB_UID} ${NB_USER}
ENV USER=${NB_USER} HOME=/home/${NB_USER} PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# Packages first: they stay in the cache of layers while the code changes
COPY requirements.txt /tmp/
RUN pip install --require-hashes -r /tmp/requirements.txt

COPY --chown=${NB_UID} . ${HOME}/gccpm
WORKDIR ${HOME}/gccpm
RUN pip install --no-deps --editable .

USER ${NB_USER}
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "notebooks"]
