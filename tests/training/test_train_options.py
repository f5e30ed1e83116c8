import pytest

from vlprompt.errors import OptionError
from vlprompt.methods.base import Recipe
from vlprompt.training.train_options import TrainOptions


def test_what_is_not_given_comes_from_the_recipe():
    options = TrainOptions(lr=0.5, momentum=0.0).resolved(Recipe(epochs=7, batch=3), {"features"})
    assert (options.epochs, options.batch, options.lr, options.momentum) == (7, 3, 0.5, 0.0)
    assert (options.optimizer, options.weight_decay, options.warmup_epochs) == ("sgd", 5e-4, 1)


@pytest.mark.parametrize(("views", "count"), [("epoch", 7), ("center", 0), ("3", 3), (3, 3), ("100", 7)])
def test_views_are_counted(views, count):
    assert TrainOptions(views=views).resolved(Recipe(epochs=7), {"features"}).view_count() == count


@pytest.mark.parametrize(
    ("pictures", "least", "epochs"),
    [(10, 200, 200), (16, 200, 100), (320, 200, 10), (320, 401, 11), (10, 0, 10), (4, 7, 10), (0, 200, 10)],
)
def test_few_pictures_are_seen_until_there_are_so_many_steps(pictures, least, epochs):
    options = TrainOptions(epochs=10, batch=8, least_steps=least).resolved(Recipe(), {"pixels"})
    assert options.lasting(pictures).epochs == epochs


@pytest.mark.parametrize(
    "values", [{"views": "many"}, {"views": 0}, {"optimizer": "rmsprop"}, {"epochs": -1}]
)
def test_bad_values_are_refused(values):
    with pytest.raises(OptionError):
        TrainOptions(**values)
