"""How far a generator's layers see."""

from wespe_tf import Generator
from wespe_tf.models.staged import reach


def test_reach_follows_from_the_layers():
    assert reach(Generator()) == 4 + 8 + 2 + 4
    assert reach(Generator(blocks=1)) == 4 + 2 + 2 + 4
    assert reach(Generator(), norms_only=True) == 4 + 8
