"""What all tests of the padding layers share."""

import pytest


@pytest.fixture(autouse=True)
def one_thread():
    """Thousands of tiny operations are slower, and on a busy machine far slower, on several threads."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
