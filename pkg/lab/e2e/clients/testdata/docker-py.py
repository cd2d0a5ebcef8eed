"""docker-py, as its users use it; prints "ok STEP" or "not ok STEP: why"."""
import io
import sys
import tarfile

import docker

client = docker.from_env(timeout=300)
made = {}


def has(text, want):
    if isinstance(text, bytes):
        text = text.decode()
    if want not in text:
        raise AssertionError("%r is not in %r" % (want, text))


def versions():
    assert client.ping()
    has(client.version()["Os"], "linux")
    has(client.info()["DefaultRuntime"], "vic")


def pull():
    has(client.images.pull("busybox", tag="latest").tags[0], "busybox:latest")
    has(str([i.tags for i in client.images.list()]), "busybox:latest")


def run():
    has(client.containers.run("busybox", ["sh", "-c", "echo to stdout"], remove=True), "to stdout")


def run_fails():
    try:
        client.containers.run("busybox", ["sh", "-c", "echo no >&2; exit 3"], remove=True)
    except docker.errors.ContainerError as e:
        assert e.exit_status == 3
        has(e.stderr, "no")
        return
    raise AssertionError("exit code 3 is no error")


def detached():
    box = client.containers.run("busybox", ["sh", "-c", "echo begun; exec sleep 600"], detach=True, name="dockerpy-box", labels={"by": "docker-py"},
                                environment={"A": "b"}, mem_limit="128m")
    made["box"] = box
    box.reload()
    assert box.status == "running", box.status
    has(str([c.name for c in client.containers.list(filters={"label": "by=docker-py"})]), "dockerpy-box")


def executes():
    code, out = made["box"].exec_run(["sh", "-c", "echo $A; exit 5"])
    assert code == 5, code
    has(out, "b")
    code, out = made["box"].exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
    assert out == (b"o\n", b"e\n"), out


def logs():
    for line in made["box"].logs(stream=True, follow=True):
        has(line, "begun")
        return
    raise AssertionError("no log")


def archives():
    buf = io.BytesIO()
    with tarfile.open(fileobj=buf, mode="w") as t:
        info = tarfile.TarInfo("file")
        info.size = 9
        t.addfile(info, io.BytesIO(b"some text"))
    assert made["box"].put_archive("/tmp", buf.getvalue())
    bits, stat = made["box"].get_archive("/tmp/file")
    assert stat["size"] == 9, stat
    has(b"".join(bits), "some text")


def builds():
    image, log = client.images.build(fileobj=io.BytesIO(b"FROM busybox\nARG WHO\nRUN echo made for $WHO >/made\n"), tag="dockerpy/built:1",
                                     buildargs={"WHO": "docker-py"})
    has(image.tags[0], "dockerpy/built:1")
    has("".join(l.get("stream", "") for l in log), "Successfully tagged dockerpy/built:1")
    has(client.containers.run("dockerpy/built:1", ["cat", "/made"], remove=True), "made for docker-py")
    client.images.remove("dockerpy/built:1")


def top_and_stats():
    has(str(made["box"].top()["Processes"]), "sleep")
    has(str(made["box"].stats(stream=False)), "memory_stats")


def pauses():
    made["box"].pause()
    made["box"].reload()
    assert made["box"].status == "paused", made["box"].status
    made["box"].unpause()


def lives():
    box = made["box"]
    box.restart(timeout=1)
    box.rename("dockerpy-renamed")
    box.stop(timeout=1)
    assert box.wait()["StatusCode"] in (137, 143)
    box.remove(v=True)
    try:
        client.containers.get("dockerpy-renamed")
    except docker.errors.NotFound:
        return
    raise AssertionError("it is still there")


def networks():
    n = client.networks.create("dockerpy-net", labels={"by": "docker-py"})
    box = client.containers.create("busybox", ["true"], name="dockerpy-member")
    n.connect(box, aliases=["member"])
    n.reload()
    box.reload()
    has(str(box.attrs["NetworkSettings"]["Networks"]), "dockerpy-net")
    n.disconnect(box)
    box.remove()
    n.remove()


def volumes():
    v = client.volumes.create("dockerpy-volume")
    client.containers.run("busybox", ["sh", "-c", "echo kept >/v/f"], volumes={"dockerpy-volume": {"bind": "/v", "mode": "rw"}}, remove=True)
    has(client.containers.run("busybox", ["cat", "/v/f"], volumes={"dockerpy-volume": {"bind": "/v", "mode": "ro"}}, remove=True), "kept")
    v.remove()


def events():
    for e in client.events(since=1, until=2, decode=True):
        raise AssertionError(e)


def not_there():
    try:
        client.images.get("no-such-image")
    except docker.errors.ImageNotFound:
        return
    raise AssertionError("an image that is not there was found")


for name, step in [
    ("ping, version, info", versions), ("pull and list images", pull), ("run", run), ("run that fails", run_fails),
    ("detached run, list with filters", detached), ("exec", executes), ("logs that follow", logs), ("put and get archive", archives),
    ("build", builds), ("top and stats", top_and_stats), ("pause and unpause", pauses), ("restart, rename, stop, wait, remove", lives),
    ("networks", networks), ("volumes", volumes), ("events of a time", events), ("errors", not_there),
]:
    try:
        step()
        print("ok", name, flush=True)
    except Exception as e:  # each is told, whatever it is
        print("not ok %s: %s: %s" % (name, type(e).__name__, str(e).replace("\n", " | ")), flush=True)
        made["failed"] = True
        if "box" not in made:
            break
sys.exit(1 if "failed" in made else 0)
