"""The SQLite file under the caches: shared, damaged, read-only, forked."""

from __future__ import annotations

import os
import pickle
import threading

import pytest

from vlprompt.sqlite_store import Store

SCHEMA = "CREATE TABLE held (key TEXT PRIMARY KEY, value INTEGER);"


def put(store: Store, key: str, value: int) -> None:
    store.do(lambda c: c.execute("INSERT OR REPLACE INTO held VALUES (?, ?)", (key, value)), writing=True)


def get(store: Store, key: str) -> int | None:
    row = store.do(lambda c: c.execute("SELECT value FROM held WHERE key = ?", (key,)).fetchone())
    return row[0] if row else None


def test_what_one_writes_another_reads(tmp_path):
    one, other = Store(tmp_path / "sub" / "s.db", SCHEMA), Store(tmp_path / "sub" / "s.db", SCHEMA)
    put(one, "a", 1)
    assert get(other, "a") == 1 and one.size() > 0
    one.shrink()
    one.close()
    assert get(one, "a") == 1


def test_without_a_file_it_does_nothing():
    store = Store(None, SCHEMA)
    put(store, "a", 1)
    assert get(store, "a") is None and store.size() == 0


def test_a_failed_transaction_leaves_nothing(tmp_path):
    store = Store(tmp_path / "s.db", SCHEMA)

    def half(connection):
        connection.execute("INSERT INTO held VALUES ('a', 1)")
        raise KeyError

    with pytest.raises(KeyError):
        store.do(half, writing=True)
    assert get(store, "a") is None


def test_a_damaged_file_is_replaced_with_one_warning(tmp_path):
    (tmp_path / "s.db").write_bytes(b"no database" * 1000)
    store = Store(tmp_path / "s.db", SCHEMA)
    with pytest.warns(RuntimeWarning, match="is damaged"):
        put(store, "a", 1)
    put(store, "a", 2)
    assert get(store, "a") == 2


def test_a_place_that_cannot_be_used_is_said_once(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "s.db", SCHEMA)
    with pytest.warns(RuntimeWarning, match="cannot be used"):
        put(store, "a", 1)
    assert get(store, "a") is None and store.path is None


def test_it_travels_between_threads_and_processes(tmp_path):
    store = Store(tmp_path / "s.db", SCHEMA)
    put(store, "a", 1)
    threads = [threading.Thread(target=put, args=(store, str(i), i)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [get(store, str(i)) for i in range(8)] == list(range(8))
    assert get(pickle.loads(pickle.dumps(store)), "a") == 1
    child = os.fork()
    if not child:
        put(store, "child", 5)
        os._exit(0)
    os.waitpid(child, 0)
    assert get(store, "child") == 5


def test_a_store_that_outlives_its_module_goes_without_a_word(tmp_path, monkeypatch):
    store = Store(tmp_path / "s.db", SCHEMA)
    put(store, "a", 1)
    with monkeypatch.context() as ending:  # as at the end of a program
        ending.setattr("vlprompt.sqlite_store.os", None)
        store.__del__()
    assert get(store, "a") == 1
