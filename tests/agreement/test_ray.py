"""Ray Data does the same work: the rows are those of the local engine, to the last digit."""

from __future__ import annotations

import pytest
from agreement_rows import rows_of

import porter

pytestmark = pytest.mark.tensorflow


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

    assert rows_of(other) == rows_of(local)
    assert counted[-1] == (10, 10)
    assert other.to_json()["measures"] == local.to_json()["measures"]
