"""TensorFlow builders are found by name, and only the one that is asked for is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from porter.errors import TableError
from porter.runners import builders


def test_unknown_source_is_refused():
    """A builder of no known source names the sources that there are."""
    with pytest.raises(TableError, match=r"unknown source builder 'nowhere\.net'.*model_garden") as refused:
        builders.source_of("nowhere.net")

    assert refused.value.code == "table/builder"


@pytest.mark.tensorflow
def test_unknown_network_of_a_known_source_is_refused():
    """A builder that its source lacks names those that it has."""
    pytest.importorskip("official", reason="needs tf-models-official")
    program = "from porter.runners.builders import build; build('model_garden.nothing', {})"

    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "TableError: unknown source builder 'model_garden.nothing'" in run.stderr
    assert "model_garden.mobilenet" in run.stderr
