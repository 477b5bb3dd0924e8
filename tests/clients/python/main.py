"""An unmodified grpcio client: pulls an image, creates, attaches, starts, waits, reads the log, removes, and sees the events
of it, over the daemon's unix socket or over TCP with mutual TLS.

    main.py GENERATED IMAGE unix:SOCKET
    main.py GENERATED IMAGE HOST:PORT CERTIFICATES

CERTIFICATES is the folder that deploy/certificates made. GENERATED is the folder of the code that `python -m grpc_tools.protoc` made of proto/ (tests/clients/run does it).
"""

import sys
import threading

import grpc

GENERATED, IMAGE, ADDRESS, *CERTIFICATES = sys.argv[1:]
sys.path.insert(0, GENERATED)

from gantry.containers.v1 import container_pb2, container_service_pb2, container_service_pb2_grpc  # noqa: E402
from gantry.events.v1 import event_pb2, event_service_pb2, event_service_pb2_grpc  # noqa: E402
from gantry.images.v1 import image_service_pb2, image_service_pb2_grpc  # noqa: E402
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402

TIMEOUT_S = 30


def main():
    channel = connect()
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert health.status == health_pb2.HealthCheckResponse.SERVING, health
    events = watch(channel)
    pull(channel)
    output, code = run(channel)
    assert (output, code) == (b"read: hello\n", 7), (output, code)
    kinds = events()
    assert kinds == [
        event_pb2.EVENT_KIND_CONTAINER_CREATE,
        event_pb2.EVENT_KIND_CONTAINER_START,
        event_pb2.EVENT_KIND_CONTAINER_EXIT,
        event_pb2.EVENT_KIND_CONTAINER_REMOVE,
    ], kinds
    refused(channel)
    print("OK")


def connect():
    if not CERTIFICATES:
        return grpc.insecure_channel(ADDRESS)

    def read(name):
        with open(f"{CERTIFICATES[0]}/{name}", "rb") as file:
            return file.read()

    return grpc.secure_channel(ADDRESS, grpc.ssl_channel_credentials(read("ca.pem"), read("key.pem"), read("cert.pem")))


def watch(channel):
    """Starts a watch; the returned function gives the kinds of the container's events up to its removal."""
    stub = event_service_pb2_grpc.EventServiceStub(channel)
    stream = stub.WatchEvents(event_service_pb2.WatchEventsRequest(filter="resource==container"), timeout=TIMEOUT_S)
    assert next(stream).HasField("started")
    kinds = []

    def read():
        for message in stream:
            kinds.append(message.event.kind)
            if kinds[-1] == event_pb2.EVENT_KIND_CONTAINER_REMOVE:
                return

    reader = threading.Thread(target=read)
    reader.start()

    def done():
        reader.join(TIMEOUT_S)
        stream.cancel()
        return kinds

    return done


def pull(channel):
    stub = image_service_pb2_grpc.ImageServiceStub(channel)
    last = None
    for last in stub.PullImage(image_service_pb2.PullImageRequest(name=IMAGE), timeout=TIMEOUT_S):
        pass
    assert last.HasField("result") and last.result.image.id.startswith("sha256:"), last


def run(channel):
    """Runs a shell that reads a line, attached from before its start; its output and exit code."""
    stub = container_service_pb2_grpc.ContainerServiceStub(channel)
    process = container_pb2.ProcessOptions(args=["sh", "-c", "read line; echo read: $line; exit 7"], stdin_open=True)
    created = stub.CreateContainer(
        container_service_pb2.CreateContainerRequest(
            image=IMAGE, options=container_pb2.ContainerOptions(process=process), request_id=f"python-{len(CERTIFICATES)}"
        ),
        timeout=TIMEOUT_S,
    ).container
    again = stub.CreateContainer(
        container_service_pb2.CreateContainerRequest(image=IMAGE, request_id=f"python-{len(CERTIFICATES)}"), timeout=TIMEOUT_S
    ).container
    assert again.id == created.id, "a retry made a second container"
    started = threading.Event()

    def requests():
        selection = container_service_pb2.AttachSelection(container=created.id, stdin=True)
        yield container_service_pb2.AttachContainerRequest(select=selection)
        started.wait(TIMEOUT_S)
        yield container_service_pb2.AttachContainerRequest(stdin=b"hello\n")

    output = b""
    exit_code = None
    for message in stub.AttachContainer(requests(), timeout=TIMEOUT_S):
        if message.HasField("attached"):
            stub.StartContainer(
                container_service_pb2.StartContainerRequest(container=created.id), timeout=TIMEOUT_S
            )
            started.set()
        elif message.HasField("output"):
            output += message.output.data
        elif message.HasField("exit"):
            exit_code = message.exit.code
    waited = stub.WaitContainer(
        container_service_pb2.WaitContainerRequest(container=created.id), timeout=TIMEOUT_S
    )
    assert waited.exit.code == exit_code, waited
    logged = b"".join(
        entry.data
        for message in stub.GetContainerLogs(
            container_service_pb2.GetContainerLogsRequest(container=created.id), timeout=TIMEOUT_S
        )
        for entry in message.entries
    )
    assert logged == output, (logged, output)
    stub.RemoveContainer(container_service_pb2.RemoveContainerRequest(container=created.id), timeout=TIMEOUT_S)
    return output, exit_code


def refused(channel):
    """A refusal has a code and a sentence."""
    stub = container_service_pb2_grpc.ContainerServiceStub(channel)
    try:
        stub.GetContainer(container_service_pb2.GetContainerRequest(container="no-such"), timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert "no-such" in error.details(), error
        return
    raise AssertionError("a container that does not exist was found")


main()
