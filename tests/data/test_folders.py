"""Finding pictures and pairs of pictures in folders."""

import errno
import os

import pytest

from wespe_tf.data.folders import find_pairs, find_pictures, natural_order
from wespe_tf.errors import UserError


@pytest.fixture
def tree(tmp_path):
    """Function that makes empty files, folders included, below a folder."""

    def make(root, *names):
        for name in names:
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / root

    return make


def names(folder, paths):
    return [path.removeprefix(f"{folder}/") for path in paths]


class TestFindPictures:
    def test_links_are_followed_once(self, tree):
        """Even where they lead above themselves, or several to one folder."""
        folder = tree("a", "1.jpg", "sub/2.jpg")
        other = tree("b", "3.jpg")
        (folder / "loop").symlink_to(".")
        (folder / "sub" / "back").symlink_to("..")
        (folder / "one").symlink_to(other)
        (other / "to_a").symlink_to(folder)
        (folder / "two").symlink_to(other)
        found = [path.rsplit("/", 1)[1] for path in find_pictures(str(folder), "key")]
        assert sorted(found) == ["1.jpg", "2.jpg", "3.jpg"]

    def test_some_are_skipped(self, tree):
        folder = tree("a", "1.jpg", "2_done.jpg")
        found = find_pictures(str(folder), "key", lambda path: "_done" in path)
        assert names(folder, found) == ["1.jpg"]
        with pytest.raises(UserError, match="key: no pictures"):
            find_pictures(str(folder), "key", lambda path: True)

    @pytest.mark.parametrize("name", ["", "sub"])
    def test_a_folder_that_cannot_be_read(self, tree, monkeypatch, name):
        """As without rights, which root has everywhere."""
        folder = tree("a", "1.jpg", "sub/2.jpg")
        locked, scandir = str(folder / name), os.scandir

        def refuse(path):
            if str(path) == locked:
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(UserError, match=f"key: {locked} cannot be read .Permission denied."):
            find_pictures(str(folder), "key")

    def test_natural_order(self, tree):
        folder = tree("a", "10.jpg", "9.jpg", "100.jpg", "1.jpg", "img2.png", "img10.png")
        expected = ["1.jpg", "9.jpg", "10.jpg", "100.jpg", "img2.png", "img10.png"]
        assert names(folder, find_pictures(folder, "source_dir")) == expected

    def test_sub_folders_count(self, tree):
        folder = tree("a", "day10/1.jpg", "day2/x/7.png", "0.jpg")
        expected = ["0.jpg", "day2/x/7.png", "day10/1.jpg"]
        assert names(folder, find_pictures(folder, "source_dir")) == expected

    def test_suffixes_of_any_case_and_nothing_else(self, tree):
        pictures = ["a.JPG", "b.jpeg", "c.Png", "d.webp", "e.tif", "f.TIFF", "g.bmp"]
        folder = tree("a", *pictures, "notes.txt", "h.jpg.part", "jpg", "i.gif", ".hidden.jpg")
        assert names(folder, find_pictures(folder, "source_dir")) == pictures

    def test_linked_folders_are_followed(self, tree, tmp_path):
        tree("elsewhere", "1.jpg")
        folder = tree("a", "2.jpg")
        (folder / "link").symlink_to(tmp_path / "elsewhere")
        assert names(folder, find_pictures(folder, "source_dir")) == ["2.jpg", "link/1.jpg"]

    def test_mixed_names_can_be_ordered(self):
        """Numbers and words in the same place."""
        assert sorted(["b", "1", "a2", "10", "a10"], key=natural_order) == [
            "1",
            "10",
            "a2",
            "a10",
            "b",
        ]

    def test_digits_that_are_no_numbers(self, tree):
        folder = tree("a", "1²3.jpg", "²", "1.jpg")
        assert names(folder, find_pictures(folder, "source_dir")) == ["1.jpg", "1²3.jpg"]

    def test_missing_folder_names_key_and_path(self, tmp_path):
        with pytest.raises(UserError) as caught:
            find_pictures(tmp_path / "gone", "target_dir")
        assert str(caught.value) == f"target_dir: no folder {tmp_path / 'gone'}"

    def test_file_instead_of_a_folder(self, tree):
        folder = tree("a", "1.jpg")
        with pytest.raises(UserError, match="source_dir: no folder .*1.jpg"):
            find_pictures(folder / "1.jpg", "source_dir")

    @pytest.mark.parametrize("content", [[], ["notes.txt"]])
    def test_folder_without_pictures_names_what_was_looked_for(self, tree, tmp_path, content):
        (tmp_path / "a").mkdir()
        folder = tree("a", *content)
        with pytest.raises(UserError, match=r"source_dir: no pictures \(\.jpg .*\) in .*a$"):
            find_pictures(folder, "source_dir")


class TestFindPairs:
    def test_equal_names_are_pairs_suffix_aside(self, tree):
        phone = tree("phone", "2.jpg", "10.jpg", "sub/1.JPG")
        good = tree("good", "10.png", "sub/1.png", "2.tif")
        pairs = find_pairs(phone, good)
        assert [tuple(names(f, [p])[0] for f, p in zip((phone, good), pair)) for pair in pairs] == [
            ("2.jpg", "2.tif"),
            ("10.jpg", "10.png"),
            ("sub/1.JPG", "sub/1.png"),
        ]

    def test_of_several_with_one_name_those_of_equal_suffixes_are_pairs(self, tree):
        """As where a camera writes IMG_1.jpg and IMG_1.png; the letters' case does not matter."""
        phone, good = (
            tree("phone", "1.png", "1.JPG", "2.jpg"),
            tree("good", "1.jpg", "1.PNG", "2.png"),
        )
        pairs = {tuple(os.path.basename(path) for path in pair) for pair in find_pairs(phone, good)}
        assert pairs == {("1.JPG", "1.jpg"), ("1.png", "1.PNG"), ("2.jpg", "2.png")}

    def test_equal_numbers_of_other_suffixes_are_refused(self, tree):
        phone, good = tree("phone", "1.png", "1.jpg"), tree("good", "1.jpg", "1.tif")
        with pytest.raises(UserError, match="cannot both be in one pair"):
            find_pairs(phone, good)

    def test_dots_in_names_are_no_suffix(self, tree):
        phone, good = tree("phone", "a.1.jpg", "a.2.jpg"), tree("good", "a.1.png", "a.2.png")
        assert len(find_pairs(phone, good)) == 2

    def test_source_without_partner(self, tree):
        phone, good = tree("phone", "1.jpg", "2.jpg", "3.jpg"), tree("good", "1.jpg")
        with pytest.raises(UserError) as caught:
            find_pairs(phone, good)
        assert str(caught.value) == (
            f"val_target_dir: {good} has no partner for {phone}/2.jpg (2 of 3 lack one); "
            "pairs must have equal names"
        )

    def test_target_without_partner(self, tree):
        phone, good = tree("phone", "1.jpg"), tree("good", "1.jpg", "4.jpg")
        with pytest.raises(UserError, match=r"input: .*phone has no partner for .*4.jpg \(1 of 2"):
            find_pairs(phone, good, "input", "target")

    def test_names_of_another_sub_folder_do_not_match(self, tree):
        phone, good = tree("phone", "day1/1.jpg"), tree("good", "day2/1.jpg")
        with pytest.raises(UserError, match="no partner"):
            find_pairs(phone, good)

    @pytest.mark.parametrize("missing", ["phone", "good"])
    def test_missing_folder_names_its_key(self, tree, tmp_path, missing):
        tree({"phone": "good", "good": "phone"}[missing], "1.jpg")
        key = {"phone": "val_source_dir", "good": "val_target_dir"}[missing]
        with pytest.raises(UserError, match=f"{key}: no folder .*{missing}"):
            find_pairs(tmp_path / "phone", tmp_path / "good")

    def test_two_pictures_of_one_name_are_refused(self, tree):
        """1.jpg and 1.png beside one partner: which of them is meant?"""
        phone, good = tree("phone", "1.jpg", "1.png"), tree("good", "1.png")
        with pytest.raises(UserError, match="val_source_dir: .*1.jpg and .*1.png"):
            find_pairs(phone, good)
