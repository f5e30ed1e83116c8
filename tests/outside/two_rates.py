"""A method whose tensors learn by optimisers of their own: the context by SGD, a shift of the features by AdamW."""

import torch
from torch import nn

from vlprompt.methods import Facts, Method, ParameterGroup
from vlprompt.prompts.words import check_names, placeholder_template, template_prompt


class TwoRates(Method):
    facts = Facts(title="Two rates", paper="nobody, yet", needs={"pixels", "features"})

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        names = check_names(self.task.class_names)
        self.context = self.normal(2, self.backbone.text_width)
        self.shift = nn.Parameter(torch.full((self.backbone.embed_dim,), 0.01, device=self.backbone.device))
        self.prompt = template_prompt(self.backbone, names, placeholder_template(2), prefix_length=3)

    def parameter_groups(self):
        return [ParameterGroup([self.shift], optimizer="adamw", lr=1e-4, weight_decay=0.0)]

    def see(self, batch):
        frozen = self.backbone.image_features(batch.pixels)
        assert torch.allclose(frozen, batch.features, atol=1e-5)  # of the very same view
        return super().see(batch)

    def texts(self, seen=None):
        return [self.prompt.with_context(self.context)]

    def compare(self, seen, features):
        return self.output(seen.features + self.shift, features[0][0])
