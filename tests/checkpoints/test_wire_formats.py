from contextlib import suppress

import bundle_writer as w
import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from porter.formats import crc32c, ordered_code, protobuf, snappy
from porter.formats.malformed import Malformed

names = st.binary(max_size=40)
extents = st.lists(
    st.tuples(st.integers(0, (1 << 62) - 1), st.integers(1, (1 << 62) - 1) | st.just(ordered_code.FULL)),
    max_size=6,
).map(tuple)


@given(st.binary(max_size=5000), st.integers(1, 60))
def test_snappy_restores_what_was_compressed(plain, repeats):
    """Literals, short and long copies and overlapping copies come back as they were."""
    assert plain * repeats == snappy.decompress(w.compress(plain * repeats))


@given(st.binary(max_size=200))
def test_snappy_refuses_noise_without_other_errors(noise):
    """Any bytes decompress or are refused; the result has the declared length."""
    plain = None
    with suppress(Malformed):
        plain = snappy.decompress(noise)

    assert plain is None or protobuf.read_varint(noise, 0)[0] == len(plain)


@given(names, extents)
def test_slice_keys_decode_to_what_was_encoded(name, extents):
    """Every tensor name and extent survives the ordered code."""
    assert ordered_code.decode_slice_key(ordered_code.encode_slice_key(name, extents)) == (name, extents)


@given(names, st.lists(st.tuples(st.integers(0, 1 << 60), st.integers(1, 1 << 60) | st.none()), max_size=4))
def test_slice_keys_are_those_of_an_independent_encoder(name, parts):
    """Two encoders written apart agree, so a shared misreading is unlikely."""
    extents = tuple((start, ordered_code.FULL if length is None else length) for start, length in parts)
    assert w.slice_key(name, tuple(parts)) == ordered_code.encode_slice_key(name, extents)


@given(st.binary(max_size=60))
def test_noise_is_a_slice_key_only_where_it_encodes_back(noise):
    """Decoding never fails on noise, and what it accepts is canonical."""
    found = ordered_code.decode_slice_key(noise)
    assert found is None or ordered_code.encode_slice_key(*found) == noise


@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=50))
def test_packed_varints_decode_to_what_was_encoded(values):
    """Every unsigned 64-bit value survives, alone and packed."""
    packed = b"".join(w.varint(value) for value in values)

    assert values == protobuf.unpack_varints(packed).tolist()
    assert [(value, len(w.varint(value))) for value in values] == [
        protobuf.read_varint(w.varint(value), 0) for value in values
    ]


@given(st.lists(st.tuples(st.integers(1, 1 << 20), st.binary(max_size=200) | st.integers(0, (1 << 64) - 1))))
def test_fields_come_back_in_order(fields):
    """Each field yields its tag and value, whatever its number."""
    message = b"".join(
        w.data(n, value) if isinstance(value, bytes) else w.number(n, value) for n, value in fields
    )
    expected = [(n << 3 | (2 if isinstance(value, bytes) else 0), value) for n, value in fields]

    assert expected == list(protobuf.fields(message))


@given(st.binary(max_size=300))
def test_noise_is_a_message_or_refused(noise):
    """Reading fields of noise ends, and only ever raises Malformed."""
    found = []
    with suppress(Malformed):
        found += protobuf.fields(noise)

    assert all(tag >> 3 for tag, _ in found)


@pytest.mark.parametrize("size", [0, 1, 7, 4095, 16383, 16384, 16385, 100_001, 1 << 20])
@pytest.mark.parametrize("start", [0, 0xDEADBEEF])
def test_checksum_without_the_c_library_is_the_same(size, start):
    """The numpy fallback agrees with google-crc32c at every size, also continuing from another crc32c."""
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)

    assert google_crc32c.extend(start, data) == crc32c.extend_in_numpy(start, data)
    assert google_crc32c.extend(start, data) == crc32c.extend_in_numpy(start, data.tobytes())


def test_checksum_of_the_published_example():
    """The nine digits of the CRC catalogue give e3069283, by both implementations."""
    assert crc32c.extend(0, b"123456789") == 0xE3069283
    assert crc32c.extend_in_numpy(0, b"123456789") == 0xE3069283


def test_varint_of_65_bits_is_refused():
    """Ten bytes hold 70 bits; the last may carry one of them, alone and packed."""
    largest, beyond = b"\xff" * 9 + b"\x01", b"\xff" * 9 + b"\x02"

    assert protobuf.read_varint(largest, 0) == ((1 << 64) - 1, 10)
    assert protobuf.unpack_varints(largest).tolist() == [(1 << 64) - 1]
    for read in (lambda data: protobuf.read_varint(data, 0), protobuf.unpack_varints):
        with pytest.raises(Malformed, match="64 bits"):
            read(beyond)


@given(st.integers(1, 40), st.integers(0, 3000), st.integers(0, 255))
def test_checksums_of_pieces_combine_to_that_of_the_whole(count, length, seed):
    """The checksum of equal pieces in a row follows from theirs alone."""
    data = np.random.default_rng(seed).bytes(count * length)
    pieces = [data[start * length : (start + 1) * length] for start in range(count)]

    assert crc32c.combined([google_crc32c.value(p) for p in pieces], length) == google_crc32c.value(data)
