import subprocess
import sys

import vlprompt


def test_public_names_are_sorted_and_there():
    assert vlprompt.__all__ == sorted(vlprompt.__all__)
    for name in vlprompt.__all__:
        assert getattr(vlprompt, name).__name__ == name
    assert set(vlprompt.__all__) <= set(dir(vlprompt))


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'PIL', 'rich', 'matplotlib'}"
    code = f"import sys, vlprompt; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
