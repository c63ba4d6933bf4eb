"""The notice of a spot machine, from each cloud's metadata service."""

from __future__ import annotations

import calendar
import json
import socket
import time

import pytest
from metadata_service import MetadataService

from slurmsky.agent.cloud.spot_notice import Metadata, Notice, wait

AWS = {"/latest/meta-data/instance-id": "i-1"}
AWS_NOTICE = "/latest/meta-data/spot/instance-action"
GOOGLE = {"/computeMetadata/v1/instance/id": "17", "/computeMetadata/v1/instance/preempted": "FALSE"}
AZURE_EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
AZURE = {
    "/metadata/instance/compute/name?api-version=2021-02-01&format=text": "vm1",
    AZURE_EVENTS: '{"DocumentIncarnation": 1, "Events": []}',
}


def event(kind: str, machine: str, when: str) -> str:
    return json.dumps({"Events": [{"EventType": kind, "Resources": [machine], "NotBefore": when}]})


def reader(service: MetadataService):
    read = Metadata(service.address).find()
    assert read is not None
    return read


@pytest.mark.parametrize("token", ["", "secret"])
def test_aws_states_the_time_of_the_end(token):
    header = f"X-aws-ec2-metadata-token: {token}" if token else ""
    with MetadataService(dict(AWS), header, token) as service:
        read = reader(service)
        assert read() is None
        service.answers[AWS_NOTICE] = '{"action": "terminate", "time": "2031-09-18T08:22:00Z"}'
        assert read() == Notice(calendar.timegm((2031, 9, 18, 8, 22, 0)), "AWS")


def test_google_gives_thirty_seconds():
    with MetadataService(dict(GOOGLE), "Metadata-Flavor: Google") as service:
        read = reader(service)
        assert read() is None
        service.answers["/computeMetadata/v1/instance/preempted"] = "TRUE"
        notice = read()
        assert notice.cloud == "Google Cloud" and 25 < notice.at - time.time() <= 30


def test_azure_names_the_machine_and_the_time():
    with MetadataService(dict(AZURE), "Metadata: true") as service:
        read = reader(service)
        assert read() is None
        service.answers[AZURE_EVENTS] = event("Preempt", "vm2", "Mon, 19 Sep 2031 18:29:47 GMT")
        assert read() is None
        service.answers[AZURE_EVENTS] = event("Reboot", "vm1", "Mon, 19 Sep 2031 18:29:47 GMT")
        assert read() is None
        service.answers[AZURE_EVENTS] = event("Preempt", "vm1", "Mon, 19 Sep 2031 18:29:47 GMT")
        assert read() == Notice(calendar.timegm((2031, 9, 19, 18, 29, 47)), "Azure")
        service.answers[AZURE_EVENTS] = event("Preempt", "vm1", "")
        assert read().at <= time.time()


@pytest.mark.parametrize("text", ["", "[", "{}", "[]", '{"time": 3}', '{"time": "soon"}', "null"])
def test_an_answer_that_the_cloud_does_not_document_is_no_notice(text):
    with MetadataService({**AWS, AWS_NOTICE: text}) as service:
        assert reader(service)() is None


def test_a_machine_without_a_metadata_service_is_not_polled():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert wait(Metadata("127.0.0.1:%d" % unused.getsockname()[1]), lambda _: pytest.fail("polled")) is None


def test_an_unknown_service_is_not_polled():
    with MetadataService({"/": "hello"}) as service:
        assert wait(Metadata(service.address), lambda _: pytest.fail("polled")) is None
        assert len(service.requests) == 3


def test_the_notice_is_polled_until_it_arrives(tmp_path):
    with MetadataService(dict(AWS)) as service:
        slept = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 2:
                service.answers[AWS_NOTICE] = '{"action": "stop", "time": "2031-09-18T08:22:00Z"}'

        notice = wait(Metadata(service.address), sleep)
        assert slept == [5.0, 5.0] and notice is not None
        notice.write(str(tmp_path / "notice"))
        assert Notice.read(str(tmp_path / "notice")) == notice and Notice.read(str(tmp_path / "none")) is None
