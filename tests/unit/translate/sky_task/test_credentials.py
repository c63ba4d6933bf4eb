"""Which variables of the user's environment stay on this machine."""

from __future__ import annotations

import pytest

from slurmsky.model.spec import JobSpec
from slurmsky.translate.sky_task import credentials

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIA", "AWS_PROFILE": "work", "AZURE_CLIENT_SECRET": "x", "KUBECONFIG": "/home/me/.kube/c",
    "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/key.json", "HF_TOKEN": "hf_x", "WANDB_API_KEY": "x", "GITHUB_PAT": "x",
    "DATABASE_URL": "postgres://me:pw@db/x", "HTTPS_PROXY": "http://me:pw@proxy:3128", "PGPASSWORD": "x",
    "openai_api_key": "x", "SLURM_JWT": "x", "VAULT_ADDR": "https://vault", "TOKEN": "x",
}  # fmt: skip
PLAIN = {
    "PATH": "/usr/bin", "TOKENIZERS_PARALLELISM": "false", "I_MPI_PIN": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HOME": "/data", "WANDB_PROJECT": "x", "HTTP_PROXY": "http://proxy:3128", "MAX_TOKENS": "5",

    "ARM_LICENSE_DIR": "/opt", "SECRET": "", "SLURM_JOB_ID": "7", "PASSPORT": "x", "KEYBOARD": "de",
}  # fmt: skip


def test_credentials_are_known_by_name_or_by_a_password_in_a_url():
    assert credentials.left_out(SECRETS | PLAIN, JobSpec(), ()) == sorted(SECRETS)


@pytest.mark.parametrize(
    "spec, allowed",
    [
        (JobSpec(export="ALL,HF_TOKEN"), ()),
        (JobSpec(export="HF_TOKEN"), ()),
        (JobSpec(export="HF_TOKEN=hf_y,ALL"), ()),
        (JobSpec(), ("HF_*",)),
        (JobSpec(export="ALL"), ("HF_TOKEN",)),
    ],
)
def test_what_the_user_or_the_site_names_goes(spec, allowed):
    assert credentials.left_out({"HF_TOKEN": "x", "WANDB_API_KEY": "x"}, spec, allowed) == ["WANDB_API_KEY"]


def test_a_file_of_variables_names_them_all():
    assert credentials.left_out(SECRETS, JobSpec(export_file="env"), ()) == []


def test_one_line_says_what_stays():
    assert credentials.line([]) == ""
    assert credentials.line(["A_TOKEN", "B_TOKEN"]) == (
        "not sent to the cloud: A_TOKEN, B_TOKEN (--export=ALL,A_TOKEN or [sky] credentials of the site file sends it)"
    )
    assert "A11 and 8 more" in credentials.line([f"A{number}" for number in range(20)])
