from mgts_trt.access.key_hash import hash_of, id_of, is_key, new_key, new_salt


def test_keys_differ_and_tell_their_id() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == len({id_of(key) for key in keys}) == 100
    key = keys.pop()
    for other in ("", "x", key[:-1], key + "0", key.upper(), f" {key}", key.replace("mgts", "mgtz")):
        assert id_of(other) is None


def test_a_hash_is_of_one_key_and_one_salt() -> None:
    key, salt = new_key(), new_salt()
    assert is_key(key, salt, hash_of(key, salt))
    assert not is_key(new_key(), salt, hash_of(key, salt))
    assert hash_of(key, new_salt()) != hash_of(key, salt)
    # RFC 7914's function, with the numbers that files of keys were written with.
    assert hash_of("a", "00" * 16).startswith("03e32e51b68c4b75")
