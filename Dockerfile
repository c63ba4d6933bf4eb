# slurmsky as an image: sbatch, srun, squeue... with the embedded engine, and the submit side for SkyPilot.
#
#   docker build -t slurmsky .                      # or podman; --build-arg EXTRAS=sky adds SkyPilot
#   docker run --rm --init -v "$PWD:/work" slurmsky sbatch --wait job.sh
#
# A queue that stays, and commands that go to it:
#
#   docker run -d --init --name queue -v "$PWD:/work" slurmsky
#   docker exec queue sbatch job.sh
#   docker exec queue squeue
ARG BASE=python:3.12-slim
FROM ${BASE}
ARG EXTRAS=top PIP_NO_CACHE_DIR=1
COPY . /usr/src/slurmsky
RUN python3 -m venv /opt/slurmsky && \
    /opt/slurmsky/bin/pip install --quiet --require-hashes -r /usr/src/slurmsky/requirements.lock && \
    /opt/slurmsky/bin/pip install --quiet "/usr/src/slurmsky[$EXTRAS]" && \
    /opt/slurmsky/bin/slurmsky version
ENV PATH=/opt/slurmsky/bin:$PATH
WORKDIR /work
CMD ["/opt/slurmsky/bin/python3", "-m", "slurmsky", "--stay"]
