"""A context of each class's own, which goes on with further classes: earlier ones keep every bit."""

from vlprompt.methods import Facts
from vlprompt.methods.sessions import Growing
from vlprompt.prompts.placing import Placing
from vlprompt.prompts.words import check_names, placeholder_template, template_prompt


class GrowingContexts(Growing):
    facts = Facts(title="Growing contexts", paper="nobody, yet", takes_new_names=False, grows=True)
    by_class = ("context",)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        names = check_names(self.task.class_names)
        self.context = self.normal(len(names), 3, self.backbone.text_width)

    def session_texts(self, classes, seen=None):
        names = self.task.class_names[classes.start : classes.stop]
        frozen = template_prompt(self.backbone, names, placeholder_template(3), prefix_length=1)
        return [Placing(frozen, 3).rows(self.rows("context")[classes.start : classes.stop])]
