"""What enhancing a photo must give, by one plain pass through the generator."""

import numpy as np
from keras.ops import convert_to_numpy as array
from PIL import Image

# Half the view of the generator `toned_generator`: 9×9, twice 3×3 in a block, twice 3×3, 9×9.
REACH = 4 + 2 + 2 + 4
# The numbers of one pass in Keras.
PLAIN = ("runtime=keras", "mode=whole")


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def expected_result(generator, picture):
    """The photo continued by its mirror image, through the generator, cut, as 8 bits."""
    tall = np.concatenate([picture[REACH - 1 :: -1], picture, picture[: -REACH - 1 : -1]])
    framed = np.concatenate([tall[:, REACH - 1 :: -1], tall, tall[:, : -REACH - 1 : -1]], axis=1)
    output = array(generator(framed[None].astype(np.float32) / 255))[0]
    inner = output[REACH : REACH + picture.shape[0], REACH : REACH + picture.shape[1]]
    return np.rint(255 * np.clip(inner, 0, 1)).astype(np.uint8)
