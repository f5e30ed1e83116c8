import importlib

import pytest

from vlprompt.renamed import MOVED, NAMES


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_module_name_still_imports_and_says_the_new_one(old):
    if old.startswith(("collections.", "sweeps.ray")):
        pytest.skip("needs an extra")
    import sys

    sys.modules.pop(f"vlprompt.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"vlprompt.{MOVED[old]}"):
        module = importlib.import_module(f"vlprompt.{old}")
    new = importlib.import_module(f"vlprompt.{MOVED[old]}")
    public = {k for k in vars(new) if not k.startswith("__")}
    assert public
    assert all(getattr(module, k) is getattr(new, k) for k in public)


def test_a_name_that_never_was_is_no_module():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("vlprompt.never_was")


@pytest.mark.parametrize(("room", "name"), [(room, name) for room, held in NAMES.items() for name in held])
def test_a_name_that_moved_to_another_room_is_still_found_and_says_the_new_place(room, name):
    module = importlib.import_module(f"vlprompt.{room}")
    new = importlib.import_module(f"vlprompt.{NAMES[room][name]}")
    with pytest.warns(DeprecationWarning, match=f"vlprompt.{NAMES[room][name]}.{name}"):
        assert getattr(module, name) is getattr(new, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing
