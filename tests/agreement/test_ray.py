"""Ray Data does the same work: the rows are those of the local engine, to the last digit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from agreement_rows import rows_of

import porter
from porter.errors import ParityError, PorterError
from porter.runners.agreement_job import AgreementJob

# Ray leaves sockets and files to the garbage collector as it ends.
pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("default")]

NODE = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 100 << 20}


def test_rows_are_those_of_the_local_engine(source, ported, images, tmp_path):
    """Two actors of each framework against one process of each."""
    local = porter.agree(source, ported, images, out=tmp_path / "local", engine=porter.Engine(batch=4))
    counted = []
    engine = porter.Engine(name="ray", workers=2, batch=4)
    other = porter.agree(
        source, ported, images, out=tmp_path / "ray", engine=engine, progress=lambda *of: counted.append(of)
    )

    assert rows_of(other) == rows_of(local)
    assert counted[-1] == (10, 10)
    assert other.to_json()["measures"] == local.to_json()["measures"]


@pytest.fixture
def cluster():
    """A Ray cluster on this machine whose head holds no actor; graphics cards are Ray's word only."""
    import ray
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "num_gpus": 0})
    yield started
    ray.shutdown()
    started.shutdown()


def actors(name):
    """The processes of Ray's actors that run a step."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text()
        except OSError:  # it has ended meanwhile
            continue
        if words.startswith("ray::") and name in words:
            found.append(int(path.parent.name))
    return found


def test_a_killed_actor_and_a_killed_node_change_nothing(
    cluster, undisturbed, source, ported, images, tmp_path
):
    """Their images are done again, elsewhere: no row is lost or there twice."""
    node = cluster.add_node(**NODE)
    killed = []

    def disturb(done, _total):
        if done == 2:
            killed.extend(actors("_Source"))
            os.kill(killed[0], signal.SIGKILL)
        if done == 5:
            cluster.add_node(**NODE)
            cluster.remove_node(node, allow_graceful=False)
            killed.append(node)

    engine = porter.Engine(name="ray", batch=1, ray_address=cluster.address)
    report = porter.agree(source, ported, images, out=tmp_path / "out", engine=engine, progress=disturb)

    assert len(killed) == 2
    assert rows_of(report) == undisturbed


def test_an_actor_has_the_share_of_a_graphics_card_that_was_asked_for(cluster):
    """Ray gives it one, and what hides the cards from a framework elsewhere does not here."""
    import ray

    class Told:
        def __init__(self, _job):
            pass

        def __call__(self, _row):
            share = ray.get_runtime_context().get_assigned_resources()["GPU"]
            return {"share": share, "visible": os.environ["CUDA_VISIBLE_DEVICES"]}

    cluster.add_node(**NODE)
    job = AgreementJob(source="", ported="", table="", variant="", gpu=True)
    engine = porter.Engine(name="ray", gpus_per_worker=0.5)
    from porter.agreement.ray_engine import RayEngine

    with RayEngine(cluster.address, engine.workers, engine.gpus_per_worker) as running:
        rows = ray.data.from_items([{"id": 0}]).map(Told, **running._pool(job)).take_all()

    assert rows == [{"share": 0.5, "visible": "0"}]


def test_a_cluster_that_is_too_small_is_refused(cluster, source, ported, images, tmp_path):
    """Ray would wait for a graphics card for ever, and say nothing."""
    cluster.add_node(**NODE)
    engine = porter.Engine(name="ray", ray_address=cluster.address, gpus_per_worker=1)

    with pytest.raises(ParityError, match="too small") as refused:
        porter.agree(source, ported, images, out=tmp_path / "out", engine=engine)
    assert (refused.value.expected, refused.value.found) == ("2 CPU, 2 GPU", "2 CPU, 1 GPU")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_a_cluster_that_does_not_answer_is_refused_at_once(address, monkeypatch):
    """Ray itself tries for minutes."""
    import ray

    from porter.agreement.ray_engine import RayEngine

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was asked"))

    with pytest.raises(PorterError, match="no Ray cluster answers") as refused:
        RayEngine(address, 1, 0)
    assert refused.value.code == "agree/ray"
