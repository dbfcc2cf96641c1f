"""Ray Data does the same work: the rows are those of the local engine, to the last digit."""

from __future__ import annotations

import pytest

import porter
from porter.agreement.row_table import read_table

pytestmark = pytest.mark.tensorflow
pytest.importorskip("ray", reason="needs the [ray] extra")
pytest.importorskip("torch", reason="needs the [torch] extra")


# Ray leaves sockets and files to the garbage collector as it ends.
@pytest.mark.filterwarnings("default")
def test_rows_are_those_of_the_local_engine(source, ported, images, tmp_path):
    """Two actors of each framework against one process of each."""
    local = porter.agree(source, ported, images, out=tmp_path / "local", engine=porter.Engine(batch=4))
    counted = []
    engine = porter.Engine(name="ray", workers=2, batch=4)
    other = porter.agree(
        source, ported, images, out=tmp_path / "ray", engine=engine, progress=lambda *of: counted.append(of)
    )

    assert list(read_table(other.rows)) == list(read_table(local.rows))
    assert counted[-1] == (10, 10)
    assert other.to_json()["measures"] == local.to_json()["measures"]
