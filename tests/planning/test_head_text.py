"""The steps of a head as a port's metadata hold them."""

from __future__ import annotations

import pytest

from porter.core.head import MOST_NESTED, from_text, to_text


def nested(levels):
    """Return the text of sums within sums."""
    text = '["softsign", {}]'
    for _ in range(levels):
        text = f'["join", {{"how": "add", "branches": [[{text}], []]}}]'
    return f"[{text}]"


def test_as_many_levels_as_a_plan_has_are_read():
    """A head with several outputs has one more than its joins."""
    text = nested(MOST_NESTED + 2)

    assert from_text(to_text(from_text(text))) == from_text(text)


@pytest.mark.parametrize(
    "text",
    [
        nested(MOST_NESTED + 3),
        nested(2_000),
        '[["join", {"how": "add"}]]',
        '[["join", {"how": "add", "branches": [[["branches", {}]]]}]]',
        '{"join": 1}',
    ],
)
def test_what_is_no_head_is_refused(text):
    """A crafted file ends in the error that its reader expects."""
    with pytest.raises(ValueError, match=r"steps|branches"):
        from_text(text)
