"""The packages stand as docs/ARCHITECTURE.md says: who imports whom, no circles, short modules."""

import ast
import functools
import re

import pytest

from tests.shared import ROOT

PACKAGE = ROOT / "wespe_tf"
PAGE = ROOT / "docs" / "ARCHITECTURE.md"
LONGEST = 400


def table():
    """Package → those it may import, in the order of the page's table."""
    rows = re.findall(r"^\| (`\w+`) \|.*\| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    return {name.strip("`"): set(re.findall(r"`(\w+)`", allowed)) for name, allowed in rows}


def modules():
    """Dotted name → file of every module; a package's is its `__init__.py`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def package_of(module):
    """`models` of `wespe_tf.models.layers`, `losses` of `wespe_tf.losses`."""
    return module.split(".")[1] if "." in module else "__init__"


def imported(module, path, known):
    """Modules of this project that one imports, anywhere in its file."""
    inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            if node.level:
                base = [".".join(inside.split(".")[: 1 - node.level or None]), *base]
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name:
                yield name


@functools.cache
def imports():
    """Module → modules that it imports."""
    known = modules()
    return {module: set(imported(module, path, known)) for module, path in known.items()}


def circle(edges):
    """Some nodes of a graph that lead back to the first of them, or None."""
    done = set()

    def visit(node, way):
        if node in way:
            return way[way.index(node) :] + [node]
        if node in done:
            return None
        done.add(node)
        return next(filter(None, (visit(n, [*way, node]) for n in sorted(edges[node]))), None)

    return next(filter(None, (visit(node, []) for node in edges)), None)


def test_the_table_has_every_package():
    there = {package_of(module) for module in modules()}
    assert set(table()) == there


def test_packages_may_import_those_above_them_only():
    above = set()
    for package, allowed in table().items():
        assert allowed <= above, f"{package}: {sorted(allowed - above)} stand below it"
        above.add(package)


@pytest.mark.parametrize("package", table())
def test_package_imports_what_the_table_allows(package):
    allowed = table()[package] | {package}
    wrong = [
        f"{module} imports {other}"
        for module, others in imports().items()
        if package_of(module) == package
        for other in sorted(others)
        if package_of(other) not in allowed
    ]
    assert wrong == []


def test_modules_have_no_circle():
    """Nor has a package's own module, which any of its modules may go through."""
    edges = {module: others - {module} for module, others in imports().items()}
    assert circle(edges) is None


def test_a_circle_would_be_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_imports_of_every_form_are_seen(tmp_path):
    known = {"wespe_tf", "wespe_tf.a", "wespe_tf.a.b", "wespe_tf.c", "wespe_tf.a.d"}
    path = tmp_path / "b.py"
    path.write_text(
        "import wespe_tf.c\nfrom .. import c\nfrom . import d\nfrom ..c import X\n"
        "def f():\n    from wespe_tf.a.d import Y\n"
    )
    found = list(imported("wespe_tf.a.b", path, known))
    assert found == ["wespe_tf.c", "wespe_tf.c", "wespe_tf.a.d", "wespe_tf.c", "wespe_tf.a.d"]


def test_modules_are_short_or_explained():
    explained = set(re.findall(r"^- `(\S+\.py)`: \w+", PAGE.read_text(encoding="utf-8"), re.M))
    long = {
        path.relative_to(ROOT).as_posix()
        for path in modules().values()
        if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST
    }
    assert long - explained == set()


def test_the_figure_shows_every_package():
    drawn = set(
        re.findall(r'class="name"[^>]*>(\w+)<', (PAGE.parent / "architecture.svg").read_text())
    )
    assert drawn == set(table()) - {"__init__", "__main__"}


@pytest.mark.parametrize("page", ["docs/RELIABILITY.md", "docs/PHONES.md", "benchmarks/README.md"])
def test_tests_that_pages_name_are_there(page):
    named = re.findall(r"`(?:tests/)?([\w/]*test_\w+\.py)(?:::(\w+))?`", (ROOT / page).read_text())
    named = set(named) - {("test_model.py", "")}
    assert named
    for path, name in named:
        text = (ROOT / "tests" / path).read_text()
        assert not name or f"class {name}:" in text, f"{path}::{name}"
