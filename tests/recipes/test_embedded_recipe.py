"""The recipe of the embedded backbone: its arithmetic, on tiny sizes and without the published models."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

RECIPE = Path(__file__).parents[2] / "recipes" / "embedded"
transformers = pytest.importorskip("transformers", reason="transformers, a test extra, is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers, a test extra, is not installed")


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """The recipe's files import each other by their bare names."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(RECIPE))
    yield
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).parent == RECIPE:
            del sys.modules[name]  # short names such as "texts" must not reach other tests


IMAGE = {
    "size": 64,
    "stem": {
        "reduction": 32,
        "first": {"outputs": 8, "kernel": 3, "stride": 4, "padding": [0, 1]},
        "blocks": [
            {
                "inputs": 8,
                "hidden": 8,
                "outputs": 8,
                "kernel": 3,
                "stride": 1,
                "padding": [1, 1],
                "residual": True,
            },
            {
                "inputs": 8,
                "hidden": 16,
                "outputs": 12,
                "kernel": 5,
                "stride": 8,
                "padding": [1, 2],
                "residual": False,
            },
        ],
        "last": {"inputs": 12, "outputs": 20},
    },
    "width": 16,
    "layers": 2,
    "heads": 2,
    "mlp_width": 24,
    "eps": 1e-5,
}
TEXT = {
    "vocabulary": 40,
    "context_length": 12,
    "width": 24,
    "layers": 2,
    "heads": 3,
    "mlp_width": 48,
    "eps": 1e-12,
}


def image_tower():
    from published import start_blocks
    from towers import ImageTower

    torch.manual_seed(0)
    tower = ImageTower(IMAGE).eval()
    start_blocks(tower)
    return tower


def test_blocks_that_add_nothing_leave_the_mean_of_the_grid():
    tower, pictures = image_tower(), torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        tokens = tower.tokens(tower.stem(pictures))
        assert tokens.shape == (3, 4, 16)
        torch.testing.assert_close(tower(pictures), F.normalize(tokens.mean(1), dim=1))


def test_reading_some_cells_is_reading_when_all_are_kept():
    from train import read_some

    tower, tokens = image_tower(), torch.randn(3, 4, 16)
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.testing.assert_close(read_some(tower, tokens, torch.arange(4)), tower.read(tokens))


def test_folding_batch_norm():
    from published import _folded

    torch.manual_seed(0)
    convolution, norm = torch.nn.Conv2d(3, 5, 3, bias=False), torch.nn.BatchNorm2d(5, eps=1e-3)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    torch.nn.init.normal_(norm.weight)
    norm.eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            F.conv2d(x, *_folded(convolution, norm)), norm(convolution(x)), atol=1e-5, rtol=1e-5
        )


def test_the_text_tower_is_bert(tmp_path):
    from published import fill_text
    from safetensors.torch import save_file
    from towers import TextTower

    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48,
                                     max_position_embeddings=20, attn_implementation="eager")  # fmt: skip
    bert = transformers.BertModel(config, add_pooling_layer=False).eval()
    for parameter in bert.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    save_file({k: v.clone() for k, v in bert.state_dict().items()}, tmp_path / "model.safetensors")
    kept = list(range(49, 9, -1))  # another order
    tower = TextTower(TEXT, 16).eval()
    fill_text(tower, tmp_path, kept)
    ids = torch.randint(40, (3, 7))
    mask = torch.arange(7) < torch.tensor([7, 4, 2])[:, None]
    with torch.no_grad():
        states = bert(input_ids=torch.tensor(kept)[ids], attention_mask=mask.long()).last_hidden_state
        wanted = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        torch.testing.assert_close(tower.pooled(ids, mask), wanted, atol=1e-5, rtol=1e-4)


def test_kernel_regression_is_exact_on_its_own_texts_and_fits_two_layers():
    from closed_form import kernel_regression
    from towers import TextTower

    torch.manual_seed(0)
    sentences, targets = torch.randn(12, 24), torch.randn(12, 16)
    solved = kernel_regression(sentences, targets, torch.ones(12), 12, 0.5, 1e-4)
    tower = TextTower(TEXT | {"hidden": 12}, 16)
    with torch.no_grad():
        tower.hidden.weight.copy_(solved.hidden)
        tower.hidden.bias.copy_(solved.bias)
        tower.projection.weight.copy_(solved.projection)
        tower.projection.bias.zero_()
        torch.testing.assert_close(tower.joint(sentences), F.normalize(targets, dim=1), atol=1e-2, rtol=1e-2)


def test_pivots_leave_out_what_is_known():
    from closed_form import pivots

    torch.manual_seed(0)
    texts = F.normalize(torch.randn(4, 8), dim=1).repeat(3, 1)
    assert sorted(i % 4 for i in pivots(texts, torch.ones(12), 4, 0.5)) == [0, 1, 2, 3]


def test_principal_axes_centre_the_features():
    from closed_form import principal_axes

    torch.manual_seed(0)
    x = torch.randn(50, 6) * torch.tensor([5, 4, 3, 0.1, 0.1, 0.1]) + 7
    weight, bias = principal_axes(x, 3)
    y = x @ weight.T + bias
    torch.testing.assert_close(y.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.pow(2).mean(), torch.tensor(1.0))


def test_rows_in_int8_use_their_whole_range():
    from export import rows_to_int8

    torch.manual_seed(0)
    value = torch.randn(5, 64) * torch.logspace(-3, 2, 5)[:, None]
    stored, scale = rows_to_int8(value)
    assert stored.dtype == torch.int8
    error = (stored.float() * scale.float()[:, None] - value).abs().amax(1)
    assert (error <= value.abs().amax(1) / 127).all()


def test_a_folder_reads_back(tmp_path):
    from export import export
    from reading import weights
    from towers import TextTower

    tower, text = image_tower(), TextTower(TEXT | {"hidden": 5}, 16)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    export({"image": {"size": 64}}, tower, text, tokenizer, tmp_path)
    read = weights(tmp_path)
    assert set(read) == {f"image.{k}" for k in tower.state_dict()} | {f"text.{k}" for k in text.state_dict()}
    torch.testing.assert_close(
        read["text.token_embedding.weight"], text.token_embedding.weight.detach(), atol=0.02, rtol=0.02
    )
    torch.testing.assert_close(read["image.grid.weight"], tower.grid.weight.detach(), atol=1e-3, rtol=1e-3)


def test_a_smaller_vocabulary_splits_known_texts_as_before(tmp_path):
    from vocabulary import needed, pruned

    tokens = [
        "[PAD]",
        "[unused0]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "##a",
        "dog",
        "##s",
        "s",
        "d",
        "##g",
        "zebra",
        "!",
    ]
    published = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]")
    )
    published.normalizer = tokenizers.normalizers.BertNormalizer()
    published.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    published.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 3), ("[SEP]", 4)]
    )
    published.save(str(tmp_path / "tokenizer.json"))
    kept = needed(published, ["a Dogs!"])
    smaller, rows = pruned(tmp_path, kept)
    assert "zebra" not in kept and kept[:4] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    assert (
        smaller.encode("A dogs!").tokens
        == published.encode("A dogs!").tokens
        == ["[CLS]", "a", "dog", "##s", "!", "[SEP]"]
    )
    assert [tokens[i] for i in rows] == kept
    assert smaller.encode("a").ids == [2, kept.index("a"), 3]


def test_texts_that_are_the_same_count_in_equal_parts():
    from train import contrast

    features = F.normalize(torch.tensor([[1.0, 0], [1, 0], [0, 1]]), dim=1)
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    assert contrast(features, features, same, 100.0) == pytest.approx(
        2 / 3 * torch.log(torch.tensor(2.0)).item(), abs=1e-4
    )


def test_damping_goes_from_the_closed_form_to_the_trained_blocks():
    from train import damped

    tower, tokens = image_tower(), torch.randn(3, 4, 16)
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        torch.testing.assert_close(damped(tower, 1.0).read(tokens), tower.read(tokens))
        torch.testing.assert_close(damped(tower, 0.0).read(tokens), F.normalize(tokens.mean(1), dim=1))
