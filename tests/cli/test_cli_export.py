"""vlprompt export, as a user types it."""

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def test_export_of_a_run(vlprompt, trained, tmp_path):
    said = vlprompt("export", trained, tmp_path / "model.pt2")
    assert said.code == 0, said.err
    assert (
        said.out.startswith(f"{tmp_path / 'model.pt2'}: ")
        and "[batch, 32, 32, 3] -> probabilities [batch, 3]" in said.out
    )


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("nowhere", "model.onnx"), 1, "no such run folder"),
        (("RUN", "model.onnx", "--format", "tflite"), 2, "format is"),
    ],
)
def test_mistakes(vlprompt, trained, tmp_path, words, code, told):
    said = vlprompt("export", *(trained if word == "RUN" else word for word in words))
    assert said.code == code and told in said.lines[-1]
