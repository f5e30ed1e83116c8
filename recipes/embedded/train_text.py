"""Teach the text tower the text teacher's geometry: names through templates, phrases, glosses, captions."""

import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from optimiser import Average, Optimiser, rate
from text_teacher import MiniLM
from texts import TEMPLATES, Corpus
from tokenizer import END
from tokenizers import Tokenizer
from torch import Tensor
from towers import Sizes, TextTower

SHARES = {"names": 0.73, "phrases": 0.1, "glosses": 0.05, "captions": 0.12}
TEMPERATURE = 0.05
LONGEST = 40  # tokens
HELD_OUT = 50  # one name in so many is never trained on


def token_ids(tokenizer: Tokenizer, texts: list[str], longest: int = LONGEST) -> Tensor:
    """Ids [N, L], padded with the end token, at most `longest` long."""
    end = tokenizer.token_to_id(END)
    rows = [
        [*e.ids[: longest - 1], end] if len(e.ids) > longest else e.ids for e in tokenizer.encode_batch(texts)
    ]
    length = max(map(len, rows))
    return torch.tensor([row + [end] * (length - len(row)) for row in rows])


@torch.no_grad()
def encode(tower: TextTower, tokenizer: Tokenizer, texts: list[str], batch: int = 512) -> Tensor:
    """Unit-length features [N, embed_dim] of texts, float32, on the tower's device."""
    device = tower.position_embedding.device
    parts = [
        tower(token_ids(tokenizer, texts[i : i + batch]).to(device)) for i in range(0, len(texts), batch)
    ]
    return F.normalize(torch.cat(parts).float(), dim=1)


def start_embeddings(tower: TextTower, tokenizer: Tokenizer, teacher: MiniLM) -> None:
    """Begin with the teacher's embedding of each token's own letters, reduced to the tower's width."""
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    words = [token.replace("</w>", "") for token, _ in vocabulary]
    values = teacher(words)
    values = values - values.mean(0)
    _, _, axes = torch.pca_lowrank(values, q=tower.token_embedding.weight.shape[1], niter=4)
    values = values @ axes
    with torch.no_grad():
        tower.token_embedding.weight.copy_(values / values.std() * 0.05)


class Draw:
    """Random training texts and the row of the teacher's table that each belongs to."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        self.random, rows = random.Random(seed), {text: i for i, text in enumerate(corpus.everything())}
        # Proper names and Latin ones are many and seldom asked for.
        usual = [(n, w * (0.25 if n[0].isupper() else 1.0)) for n, w in corpus.names]
        kept = [pair for i, pair in enumerate(usual) if i % HELD_OUT]
        self.names, self.weights = [n for n, _ in kept], [w for _, w in kept]
        self.corpus, self.rows = corpus, rows

    def __call__(self, count: int) -> tuple[list[str], list[int]]:
        texts, rows = [], []
        for kind, share in SHARES.items():
            k = round(count * share)
            if kind == "names":
                chosen = self.random.choices(self.names, self.weights, k=k)
            else:
                chosen = self.random.choices(getattr(self.corpus, kind), k=k)
            rows += [self.rows[text] for text in chosen]
            if kind in ("names", "phrases"):
                templates = self.random.choices(["{}"] * (len(TEMPLATES) // 4) + TEMPLATES, k=k)
                chosen = [t.format(text) for t, text in zip(templates, chosen, strict=True)]
            texts += chosen
        return texts, rows


def loss_of(features: Tensor, target: Tensor) -> Tensor:
    """Cosine distance to the teacher plus the teacher's similarities within the batch; both [B, embed_dim]."""
    features = F.normalize(features.float(), dim=1)
    wanted = F.softmax(target @ target.T / TEMPERATURE, 1)
    got = F.log_softmax(features @ target.T / TEMPERATURE, 1)
    return (1 - (features * target).sum(1)).mean() + 0.2 * F.kl_div(got, wanted, reduction="batchmean")


def train_text(
    corpus: Corpus,
    table: Tensor,
    tokenizer: Tokenizer,
    sizes: Sizes,
    work: Path,
    device: torch.device,
    minutes: float,
    batch: int = 512,
    lr: float = 2e-3,
) -> TextTower:
    """Train for `minutes`, from `text.pt` if it is there, and write it. table: the teacher's embedding of every text, [N, embed_dim]."""
    torch.manual_seed(0)
    everything = corpus.everything()
    centre = table[: len(corpus.names)].mean(0)
    targets = F.normalize(table - centre, dim=1).to(device)
    tower = TextTower(sizes)
    step = 0
    if (work / "text.pt").exists():
        state = torch.load(work / "text.pt", map_location="cpu", weights_only=True)
        tower.load_state_dict(state["tower"])
        step = state["step"]
    else:
        start_embeddings(tower, tokenizer, MiniLM(work, device))
    tower.to(device)
    optimiser, average = Optimiser(tower, lr), Average(tower)
    held = list(range(0, len(corpus.names), HELD_OUT))[:1000]
    draw, first = Draw(corpus, step), step
    start, progress, pool = time.time(), 0.0, []
    while progress < 1:
        if not pool:  # eight batches at once, each of texts of like length: half the padding
            texts, rows = draw(8 * batch)
            order = sorted(range(len(texts)), key=lambda i: len(texts[i]) + random.random())
            pool = [order[i : i + batch] for i in range(0, len(order), batch)]
            random.shuffle(pool)
        chosen = pool.pop()
        target = targets[torch.tensor([rows[i] for i in chosen], device=device)]
        ids = token_ids(tokenizer, [texts[i] for i in chosen]).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            features = tower(ids)
        loss = loss_of(features, target)
        optimiser.step(loss, rate(progress, step - first, decay=0.4))
        average.update(tower, step - first)
        step, progress = step + 1, (time.time() - start) / (60 * minutes)
        if step % 100 == 0 or progress >= 1:
            with torch.autocast(device.type, torch.bfloat16):
                plain = encode(average.module, tokenizer, [everything[i] for i in held])
                framed = encode(average.module, tokenizer, [f"a photo of a {everything[i]}." for i in held])
            now = [float((f * targets[held]).sum(1).mean()) for f in (plain, framed)]
            print(
                f"text: step {step}, {100 * progress:.0f} %, loss {loss.item():.3f}, "
                f"held-out names: cosine {now[0]:.3f}, in a template {now[1]:.3f}",
                flush=True,
            )
            torch.save({"tower": average.module.state_dict(), "step": step}, work / "text.pt")
    return average.module
