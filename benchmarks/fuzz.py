"""Reads damaged and hostile files of every family, and checks that each is read or refused.

    python benchmarks/fuzz.py [families=yaml,images,…] [files=5000] [seed=0] [key=value …]

The script makes small files and changes them. It changes bits, bytes, and numbers that may be
lengths. It swaps, doubles, removes and inserts blocks, cuts off ends, and joins parts of two files.
In archives, PNG files and checkpoint indices, most changes are made to data below a checksum, which
is then corrected. File `number` of a seed is always the same.
Every file is read as the project reads it, in batches, each in a process of its own. A good outcome
is that the file is read, or refused by a `UserError` of one line. A bad outcome is any other
exception, a crash of the process, a hang (90 s of computing, or ten minutes of waiting), or more
than 2 GB of memory. Files with a bad outcome are kept in the output folder. The counts are appended
to a CSV file, and the table of the latest counts in a document is replaced. The exit status is 1 if
there was a bad outcome.
"""

import contextlib
import dataclasses
import functools
import io
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from datetime import date
from pathlib import Path

import numpy as np

from wespe_tf.config.command import as_command
from wespe_tf.config.loading import load, to_yaml
from wespe_tf.config.schema import TrainConfig, setting
from wespe_tf.errors import UserError
from wespe_tf.progress import progress, say
from wespe_tf.tables import append_row, read_rows, replace_tables

HERE = Path(__file__).resolve().parent
USAGE = "usage: python benchmarks/fuzz.py [families=NAME,…] [key=value …]"
BATCH = 500
# Seconds of processor time, which other processes do not affect, and of the clock.
HANG = 90
WAIT = 600
SLOW = 10
MEMORY = 2 * 10**9
# A process never gets more than this, so that a file cannot bring down the machine.
CEILING = 6 * 10**9
BAD = ("exception", "crash", "hang", "memory")
COLUMNS = (
    *("date", "family", "seed", "files", "read", "refused", *BAD),
    *("slowest_seconds", "most_memory_gb", "seconds"),
)


@dataclasses.dataclass
class Settings:
    """Settings of this script."""

    families: str = setting(
        "yaml,images,phones,tf1,npz,h5,mat,keras,metadata,raw",
        "families of files, with commas between them",
    )
    files: int = setting(5000, "number of files of each family", at_least=1)
    first: int = setting(0, "number of the first file", at_least=0)
    seed: int = setting(0, "seed of the changes", at_least=0)
    seconds: int = setting(0, "longest time for a family; 0: no limit", "seconds", at_least=0)
    output: str = setting("fuzz_results", "folder for the files with a bad outcome")
    csv: str = setting(str(HERE / "fuzz.csv"), "the counts are appended to it")
    document: str = setting(str(HERE.parent / "docs" / "RELIABILITY.md"), "its table is replaced")


@as_command(USAGE, Settings)
def main(config):
    """Fuzzes."""
    families = config.families.split(",")
    for family in families:
        if family not in FAMILIES:
            raise UserError(f"families={family}: expected some of {', '.join(FAMILIES)}")
    table, bad = Path(config.csv), 0
    for family in families:
        row = fuzz(family, config)
        append_row(table, COLUMNS, row)
        say(", ".join(f"{key} {value}" for key, value in row.items()))
        bad += sum(row[name] for name in BAD)
    replace_tables(Path(config.document), list(lines(read_rows(table))), "fuzz")
    if bad:
        sys.exit(1)


def fuzz(family, config):
    """The row of a family: the outcomes of its files."""
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    begin, number, end = time.monotonic(), config.first, config.first + config.files
    tally = dict.fromkeys(("read", "refused", *BAD), 0)
    slowest, memory = 0.0, 0
    bar = progress(total=config.files, desc=family)
    while number < end and not 0 < config.seconds < time.monotonic() - begin:
        for result in batch(family, config.seed, number, min(number + BATCH, end), output):
            tally[result["outcome"]] += 1
            slowest, memory = max(slowest, result["seconds"]), max(memory, result["memory"])
            if result["outcome"] in BAD:
                say(f"{family} {number}: {result['outcome']}: {result['why']}")
            elif result["seconds"] > SLOW:
                say(f"{family} {number}: {result['seconds']} s: {result['why']}")
            number += 1
            bar.update()
    bar.close()
    return {
        "date": date.today().isoformat(),
        "family": family,
        "seed": config.seed,
        "files": number - config.first,
        **tally,
        "slowest_seconds": f"{slowest:.1f}",
        "most_memory_gb": f"{memory / 1e9:.2f}",
        "seconds": f"{time.monotonic() - begin:.0f}",
    }


def batch(family, seed, first, end, output):
    """Outcomes of some files, one after another. It stops after a file that ends the process."""
    command = [sys.executable, __file__, "batch", family, *map(str, (seed, first, end)), output]
    with (
        open(output / f"{family}.log", "a", encoding="utf-8") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, bufsize=0) as process,
    ):
        for _ in range(first, end):
            ready, _, _ = select.select([process.stdout], [], [], WAIT)
            line = process.stdout.readline() if ready else b""
            if line:
                yield json.loads(line)
                continue
            if not ready:
                process.kill()
            status = process.wait()
            why = signal.Signals(-status).name if status < 0 else f"status {status}"
            outcome = "crash" if ready else "hang"
            yield {"outcome": outcome, "why": why, "seconds": 0.0, "memory": 0}
            return


# Within a batch's process.


def run_batch(family, seed, first, end, output):
    """Reads the files of a batch and prints a line of JSON for each."""
    resource.setrlimit(resource.RLIMIT_DATA, (CEILING, CEILING))
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, _too_long)
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(sys.stderr):
        os.chdir(scratch)
        originals, change, read = FAMILIES[family]
        originals = originals(Path(scratch))
        # The first file is not damaged. It makes the process load TensorFlow and other libraries.
        outcome_of(read, put(Path(scratch) / "whole", *originals[0]))
        for number in range(first, end):
            rng = np.random.default_rng((seed, list(FAMILIES).index(family), number))
            name, content = originals[rng.integers(len(originals))]
            path = put(Path(scratch) / f"{number}", name, change(content, rng, originals))
            result = outcome_of(read, path)
            if result["outcome"] in BAD:
                keep(path, output)
            for file in path.parent.iterdir():
                file.unlink()
            path.parent.rmdir()
            print(json.dumps(result), file=sys.__stdout__, flush=True)


class TooLong(BaseException):
    """Reading a file takes too long."""


def _too_long(number, frame):
    raise TooLong


def put(folder, name, content):
    """Writes a file, or several if the content is a dictionary. Returns the path without suffix."""
    folder.mkdir()
    for suffix, part in content.items() if isinstance(content, dict) else [("", content)]:
        (folder / f"{name}{suffix}").write_bytes(part)
    return folder / name


def keep(path, output):
    """Copies a bad file, and the files beside it."""
    for file in path.parent.iterdir():
        (output / f"{path.parent.name}_{file.name}").write_bytes(file.read_bytes())


def outcome_of(read, path):
    """Reads a file. Returns outcome, reason, processor seconds, and bytes of memory."""
    Path("/proc/self/clear_refs").write_text("5")  # Resets the peak memory.
    before, start = memory("VmRSS"), computed()
    outcome, why = "read", ""
    signal.setitimer(signal.ITIMER_PROF, HANG)
    try:
        read(path)
    except UserError as error:
        outcome, why = "refused", str(error)
        if len(why.splitlines()) != 1 or len(why) > 1000:
            outcome = "exception"
    except TooLong:
        outcome = "hang"
    except Exception as error:  # The script looks for all other exceptions.
        outcome, why = "exception", f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    taken = memory("VmHWM") - before
    if taken > MEMORY:
        outcome, why = "memory", f"{taken / 1e9:.1f} GB, {outcome} {why}"
    seconds = round(computed() - start, 3)
    return {"outcome": outcome, "why": why[:300], "seconds": seconds, "memory": taken}


def computed():
    """Processor seconds of this process and its children."""
    return sum(os.times()[:4])


def memory(entry):
    """An entry of this process's status in bytes."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(entry))


# Changes.

NUMBERS = (0, 1, 2, 3, 255, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)


def place(content, rng):
    """An index into a file. Half of these are in its header."""
    end = min(len(content), 512) if rng.random() < 0.5 else len(content)
    return int(rng.integers(max(1, end)))


def flip_bits(content, rng):
    for _ in range(rng.integers(1, 9)):
        content[place(content, rng)] ^= 1 << int(rng.integers(8))


def set_bytes(content, rng):
    for _ in range(rng.integers(1, 9)):
        content[place(content, rng)] = int(rng.integers(256))


def set_number(content, rng):
    """Sets a number of any width to a special value, or to one near its old value."""
    width = int(rng.choice((1, 2, 4, 8)))
    order = ("little", "big")[rng.integers(2)]
    start = place(content, rng)
    there = int.from_bytes(content[start : start + width], order)
    chosen = int(rng.choice(NUMBERS[:11])) if rng.random() < 0.8 else NUMBERS[-1]
    number = chosen if rng.random() < 0.6 else there + int(rng.integers(-16, 17))
    content[start : start + width] = (number % 256**width).to_bytes(width, order)


def block(content, rng):
    start = place(content, rng)
    return start, start + int(rng.integers(1, 65 if rng.random() < 0.7 else 2049))


def cut_off(content, rng):
    del content[int(rng.integers(len(content) + 1)) :]


def cut_out(content, rng):
    start, end = block(content, rng)
    del content[start:end]


def double(content, rng):
    start, end = block(content, rng)
    content[end:end] = content[start:end]


def swap(content, rng):
    (start, end), (other, _) = block(content, rng), block(content, rng)
    length = min(end, len(content)) - start
    first, second = content[start : start + length], content[other : other + length]
    if len(first) == len(second) and abs(start - other) >= length:
        content[start : start + length], content[other : other + length] = second, first


def put_in(content, rng):
    start, end = block(content, rng)
    length = min(end - start, 256)
    content[start:start] = (bytes(length), b"\xff" * length, rng.bytes(length))[rng.integers(3)]


SAME_LENGTH = (flip_bits, set_bytes, set_number, swap)
CHANGES = (*SAME_LENGTH, set_number, cut_off, cut_out, double, put_in)


def changed(content, rng, changes=CHANGES):
    """Bytes with one to four changes."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        if content:
            changes[rng.integers(len(changes))](content, rng)
    return bytes(content)


def change_any(content, rng, originals):
    """Changes a file. In a tenth of all cases, it first joins it with the end of another file."""
    if rng.random() < 0.1:
        other = originals[rng.integers(len(originals))][1]
        content = content[: place(content, rng)] + other[place(other, rng) :]
    return changed(content, rng)


def change_archive(content, rng, originals):
    """Changes a member of a ZIP archive and corrects its checksum, or the archive's own bytes."""
    if rng.random() < 0.25:
        return change_any(content, rng, originals)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        compression = archive.infolist()[0].compress_type
    name = list(members)[rng.integers(len(members))]
    is_json = name.endswith(".json") and rng.random() < 0.8
    members[name] = (change_json if is_json else changed)(members[name], rng)
    if rng.random() < 0.05:
        members[f"../{name}"] = members.pop(name)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return file.getvalue()


VALUES = (
    *(None, True, [], {}, "", "x" * 3000, "../../up", "\n", -1, 0, 1, 3, 5, 64, 1000, 10**5),
    *(10**9, 10**30, -0.5, 0.0, 1e-300, 1e308, float("nan"), float("inf"), "instance", "batch"),
    *([1, 2], {"class_name": "Lambda", "module": "keras.layers", "config": {}}, "keras.Lambda"),
)


def change_json(content, rng):
    """Replaces a few values of JSON; removes or adds keys."""
    described = json.loads(content)
    for _ in range(rng.integers(1, 4)):
        inner = described
        while rng.random() < 0.7:
            deeper = [item for item in inner.values() if isinstance(item, dict) and item]
            if not deeper:
                break
            inner = deeper[rng.integers(len(deeper))]
        key = list(inner)[rng.integers(len(inner))] if inner else "config"
        value = VALUES[rng.integers(len(VALUES))]
        kind = rng.random()
        if kind < 0.7:
            inner[key] = value
        elif kind < 0.85:
            inner.pop(key, None)
        else:
            inner[f"{key}s"] = value
    return json.dumps(described).encode()


def change_picture(content, rng, originals):
    """Changes the data below the checksums of a PNG file's chunks, or any bytes of other files."""
    if not content.startswith(b"\x89PNG") or rng.random() < 0.25:
        return change_any(content, rng, originals)
    chunks, start = [], 8
    while start < len(content):
        (length,) = struct.unpack_from(">I", content, start)
        chunks.append((content[start + 4 : start + 8], content[start + 8 : start + 8 + length]))
        start += length + 12
    for k in rng.permutation(len(chunks))[: rng.integers(1, 3)]:
        kind, data = chunks[k]
        if kind == b"IDAT" and rng.random() < 0.7:
            data = zlib.compress(changed(zlib.decompress(data), rng))
        else:
            data = changed(data, rng)
        chunks[k] = kind, data
    parts = [content[:8]]
    for kind, data in chunks:
        checksum = zlib.crc32(kind + data)
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum))
    return b"".join(parts)


def change_metadata(content, rng, originals):
    """An undamaged picture with a damaged block of EXIF, XMP, IPTC or of a color profile."""
    blocks = metadata_blocks()
    kind = list(blocks)[rng.integers(len(blocks))]
    block = changed(blocks[kind], rng) if rng.random() < 0.8 else rng.bytes(rng.integers(2000))
    if content.startswith(b"\xff\xd8"):
        return content[:2] + jpeg_segments(kind, block[:65000]) + content[2:]
    if content.startswith(b"\x89PNG"):
        data = png_chunk(kind, block, hidden=rng.random() < 0.4)
        return content[:33] + data + content[33:]
    if content.startswith((b"II*", b"MM")):
        # The directory, and all that it points to, come after the pixels.
        start = struct.unpack("<I", content[4:8])[0]
        return content[:start] + changed(content[start:], rng, SAME_LENGTH)
    # In WebP and AVIF files, the new block must have the same length.
    sound = blocks[kind] if blocks[kind] in content else blocks["xmp"]
    return content.replace(sound, block.ljust(len(sound), b"\0")[: len(sound)])


def jpeg_segments(kind, block):
    """Segments of a JPEG file with a block."""
    resource = struct.pack(">4sHHI", b"8BIM", 0x0404, 0, len(block)) + block
    marker, mark, data = {
        "exif": (0xFFE1, b"Exif\0\0", block),
        "xmp": (0xFFE1, b"http://ns.adobe.com/xap/1.0/\0", block),
        "icc": (0xFFE2, b"ICC_PROFILE\0\1\1", block),
        "iptc": (0xFFED, b"Photoshop 3.0\0", resource),
    }[kind]
    return struct.pack(">HH", marker, len(mark) + len(data) + 2) + mark + data


def png_chunk(kind, block, hidden):
    """A chunk of a PNG file with a block, or with its hexadecimal digits, as from ImageMagick."""
    raw = f"\n{kind}\n{len(block):8}\n{block.hex()}\n".encode()
    hidden_chunk = b"zTXt", f"Raw profile type {kind}\0\0".encode() + zlib.compress(raw)
    name, data = (
        hidden_chunk
        if hidden
        else {
            "exif": (b"eXIf", block),
            "xmp": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + block),
            "icc": (b"iCCP", b"profile\0\0" + zlib.compress(block)),
        }.get(kind, hidden_chunk)
    )
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def change_checkpoint(content, rng, originals):
    """Changes the index or the data of a checkpoint; mostly the index below a block's checksum."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    content = dict(content)
    if rng.random() < 0.2:
        content[DATA] = changed(content[DATA], rng)
    elif rng.random() < 0.2:
        content[INDEX] = changed(content[INDEX], rng)
    else:
        # The last 48 bytes of the file begin with the place of the metadata block. The block before
        # it holds all names and shapes. Each block is followed by a byte and its checksum.
        index = content[INDEX]
        end, shift = 0, 0
        for byte in index[-48:]:
            end |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        below = changed(index[: end - 5], rng, SAME_LENGTH)[: end - 5] + index[end - 5 : end - 4]
        content[INDEX] = below + struct.pack("<I", int(masked_crc32c(below))) + index[end:]
    return content


FRAGMENTS = (
    *("{", "}", "[", "]", ": ", "- ", "? ", "&a ", "*a", "!!python/object/apply:os.system [ls]"),
    *("!!python/name:os.system", "!!binary x", "!!timestamp x", "!!int ''", "!!float x", "!!set"),
    *("!!bool x", "!!null x", "!!omap", "!!pairs", "2001-99-99", "9" * 5000, "1:99:99", "0b"),
    *(".inf", "-.inf", ".nan", "1e999", "-1", "0", "null", "~", "${", "${oc.env:HOME}", "${run}"),
    *("${preset}", "${..}", "???", "'", '"', "|\n", ">\n", "\t", "\0", "\ufeff", "\u2028", "\x85"),
    *("<<: ", "=", "%YAML 9.9\n", "---\n", "...\n", "#", "@", "`", "\ud800", "based_on: wespe"),
    *("a" * 3000, "[" * 3000, "{a: " * 500, "based_on: ../x", "yes", "1_000", "0x_", "1__0"),
    f"0x{'f' * 5000}",
)
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 40))


def change_text(content, rng, originals):
    """Puts fragments into lines of YAML, or changes them in any other way."""
    if rng.random() < 0.2:
        return changed(content, rng)
    lines = content.decode().splitlines()
    if rng.random() < 0.3:
        lines = [lines[k] for k in rng.integers(len(lines), size=rng.integers(1, 6))]
    for _ in range(rng.integers(1, 4)):
        fragment = FRAGMENTS[rng.integers(len(FRAGMENTS))]
        k = int(rng.integers(len(lines)))
        kind = rng.random()
        if kind < 0.6:
            lines[k] = f"{lines[k].partition(':')[0]}: {fragment}"
        elif kind < 0.8:
            middle = int(rng.integers(len(lines[k]) + 1))
            lines[k] = lines[k][:middle] + fragment + lines[k][middle:]
        else:
            lines.insert(k, fragment)
    if rng.random() < 0.02:
        lines.append(f"{BOMB}{lines[0].partition(':')[0]}: *a39")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


# Families: original files, as (name, content); how they are changed; how they are read.


def yaml_files(scratch):
    short = "preset: wespe\nbatch_size: 3\nlearning_rate: 1e-4\nrun: mine\nresume: false\n"
    configs = [to_yaml(load(TrainConfig, [f"preset={name}"])) for name in ("quickstart", "wespe")]
    return [("config.yaml", text.encode()) for text in (short, *configs)]


def read_yaml(path):
    _each(
        lambda: load(TrainConfig, [f"config={path}"]),
        lambda: load(TrainConfig, [f"preset={path}"]),
    )


def contents(folder):
    """Name and bytes of each file in a folder, in order."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [(file.name, file.read_bytes()) for file in files]


def image_files(scratch):
    """Photos of 40×30 pixels as JPEG, PNG, TIFF and WebP, with 8 and 16 bits, with metadata."""
    import tifffile
    from PIL import Image, ImageCms

    from wespe_tf.images.photo import Photo, write_photo

    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    pixels = np.asarray(coarse.resize((40, 30), Image.Resampling.BICUBIC))
    wide = pixels.astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112], exif[271] = 6, "Maker"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tagged = Photo(pixels, exif=exif.tobytes()[6:], xmp=b"<x tiff:Orientation='1'/>", icc=icc)
    for suffix in (".jpg", ".png", ".tif", ".webp"):
        write_photo(scratch / f"tagged{suffix}", tagged)
    write_photo(scratch / "wide.png", Photo(wide, alpha=wide[..., 0]))
    write_photo(scratch / "wide.tif", Photo(wide))
    tifffile.imwrite(scratch / "planar.tif", wide.transpose(2, 0, 1), planarconfig="separate")
    tifffile.imwrite(scratch / "tiles.tif", wide, tile=(16, 16), compression="zlib")
    picture = Image.fromarray(pixels)
    picture.convert("CMYK").save(scratch / "cmyk.jpg")
    picture.save(scratch / "progressive.jpg", progressive=True)
    picture.convert("P").save(scratch / "palette.png", transparency=3)
    picture.convert("L").save(scratch / "gray.png")
    picture.convert("LA").save(scratch / "alpha.webp", lossless=True)
    for compression in ("raw", "tiff_lzw", "packbits", "tiff_jpeg", "tiff_deflate"):
        picture.save(scratch / f"{compression}.tif", compression=compression)
    Image.fromarray(wide[..., 0]).save(scratch / "gray16.png")
    Image.fromarray(np.float32(pixels[..., 0] / 255)).save(scratch / "float.tif")
    return contents(scratch)


def phone_files(scratch):
    """Photos of 40×30 pixels as HEIC, AVIF and JPEG XL, with and without transparency and color."""
    from wespe_tf.images.photo import Photo, write_photo

    blocks = metadata_blocks()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    for suffix in (".heic", ".avif", ".jxl"):
        write_photo(scratch / f"tagged{suffix}", Photo(pixels, exif=blocks["exif"]))
        write_photo(scratch / f"alpha{suffix}", Photo(pixels, alpha=pixels[..., 0]), 60)
        write_photo(scratch / f"gray{suffix}", Photo(pixels[..., :1].repeat(3, -1), is_gray=True))
    return contents(scratch)


def read_image(path):
    from wespe_tf.images.photo import read_photo
    from wespe_tf.images.picture import picture_size, read_picture

    _each(lambda: picture_size(path), lambda: read_picture(path), lambda: read_photo(path))


@functools.cache
def metadata_blocks():
    """Undamaged blocks by name: EXIF with all its directories, XMP, a profile, IPTC."""
    from PIL import Image, ImageCms

    exif = Image.Exif()
    exif.update({0x0112: 6, 271: "Maker", 282: 72.0})
    exif.get_ifd(0x8769).update({0xA001: 65535, 0xA005: {1: "R03"}, 0x927C: b"a note"})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0)})
    xmp = (
        b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6">'
        + b" " * 200
        + b"</x>"
    )
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    iptc = b"\x1c\2\0\0\2\0\4\x1c\2\x78\0\5title"
    return {"exif": exif.tobytes()[6:], "xmp": xmp, "icc": icc, "iptc": iptc}


def metadata_files(scratch):
    """Undamaged pictures of every format. JPEG and PNG files get their blocks only later."""
    from PIL import Image

    from wespe_tf.images.photo import Photo, write_photo

    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    picture, blocks = Image.fromarray(pixels), metadata_blocks()
    for suffix in (".jpg", ".png"):
        picture.save(scratch / f"photo{suffix}")
    pillows = {"exif": blocks["exif"], "xmp": blocks["xmp"], "icc_profile": blocks["icc"]}
    picture.save(scratch / "photo.webp", lossless=True, **pillows)
    picture.save(scratch / "photo.avif", **pillows)
    write_photo(scratch / "photo.tif", Photo(pixels, **blocks))
    return contents(scratch)


def read_with_metadata(path):
    """Reads a photo, writes it, and reads it again. Damaged metadata must not prevent this."""
    from wespe_tf.images.photo import read_photo, write_photo
    from wespe_tf.images.picture import picture_size, read_picture

    try:
        photo = read_photo(path)
    except UserError as error:
        if path.suffix == ".tif":  # Its directory also describes the pixels.
            raise
        raise AssertionError(f"refused: {error}") from error
    assert picture_size(path) == photo.pixels.shape[:2] == read_picture(path).shape[:2]
    for suffix in (".jpg", ".png", ".tif", ".webp"):
        written = path.with_name(f"written{suffix}")
        write_photo(written, photo)
        assert read_photo(written).pixels.shape == photo.pixels.shape, suffix


def raw_files(scratch):
    """A camera's raw file of 60×40 pixels, in strips and in tiles."""
    import tifffile

    sensor = np.random.default_rng(0).integers(100, 10_000, (40, 60)).astype(np.uint16)
    matrix = [number for k in range(9) for number in (int(k % 4 == 0), 1)]
    tags = [
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),
        (50717, 3, 1, 10_000, True),
        (50721, 10, 9, matrix, True),
        (50728, 5, 3, (1, 2, 1, 1, 1, 1), True),
    ]
    for name, more in (("strips", {}), ("tiles", {"tile": (16, 16)})):
        options = {"photometric": "cfa", "extratags": tags, **more}
        tifffile.imwrite(scratch / f"{name}.dng", sensor, **options)
    return contents(scratch)


def _each(*readers):
    """Calls all functions. Raises the last `UserError` if all of them raise one."""
    errors = []
    for read in readers:
        try:
            read()
        except UserError as error:
            errors.append(error)
    if len(errors) == len(readers):
        raise errors[-1]


def first_layer():
    """Kernel and bias of VGG-19's first convolution."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, 3, 3, 64)).astype(np.float32), np.zeros(64, np.float32)


def mat_files(scratch):
    """The first layers of a MatConvNet network in three layouts, compressed or not."""
    import scipy.io

    def cell(*values):
        array = np.empty((1, len(values)), object)
        array[0, :] = values
        return array

    kernel, bias = first_layer()
    relu = {"type": "relu", "name": "relu1_1"}
    weights = cell(kernel, bias.reshape(1, -1))
    convs = [
        {"weights": weights, "pad": np.ones((1, 4)), "type": "conv", "name": "conv1_1"},
        {"name": "conv1_1", "type": "conv", "weights": weights, "opts": cell(), "dilate": 1.0},
        {"type": "conv", "filters": kernel, "biases": bias.reshape(1, -1), "pad": 1.0},
    ]
    found = []
    for conv in convs:
        for compressed in (False, False, True):
            file = io.BytesIO()
            content = {"meta": {"classes": "none"}, "layers": cell(conv, relu)}
            scipy.io.savemat(file, content, do_compression=compressed)
            found.append(("vgg.mat", file.getvalue()))
    return found


def npz_files(scratch):
    kernel, bias = first_layer()
    found = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **{"block1_conv1.kernel": kernel, "block1_conv1.bias": bias})
        found.append(("vgg.npz", file.getvalue()))
    return found


def h5_files(scratch):
    """The first layer in Keras's layout: in the oldest format, in the newest, and in chunks."""
    import h5py

    kernel, bias = first_layer()
    found = []
    for version, options in (("earliest", {}), ("latest", {}), ("earliest", {"chunks": True})):
        file = io.BytesIO()
        with h5py.File(file, "w", libver=version) as content:
            name = "block1_conv1/block1_conv1"
            content.create_dataset(f"{name}_W_1:0", data=kernel, **options)
            content.create_dataset(f"{name}_b_1:0", data=bias, **options)
            content.attrs["layer_names"] = [b"block1_conv1"]
        found.append(("vgg.h5", file.getvalue()))
    return found


def read_vgg(path):
    from wespe_tf.weights.vgg import load_vgg

    load_vgg("relu1_1", str(path))


def tiny_generator(norm="instance"):
    import keras

    from wespe_tf.models.generator import Generator

    keras.utils.set_random_seed(0)
    generator = Generator(width=4, blocks=1, norm=norm)
    generator.build((None, None, None, 3))
    return generator


def keras_files(scratch):
    found = []
    for norm in ("instance", "batch"):
        tiny_generator(norm).save(scratch / "generator.keras")
        found.append(("generator.keras", (scratch / "generator.keras").read_bytes()))
    return found


def read_keras(path):
    from wespe_tf.weights.generator import load_generator

    load_generator(str(path))


INDEX, DATA = ".index", ".data-00000-of-00001"


def checkpoint_files(scratch):
    """Index and data of a TensorFlow 1 checkpoint, together."""
    from wespe_tf.weights.tf1_checkpoint import checkpoint_variables

    generator = tiny_generator()
    import tensorflow as tf

    named = checkpoint_variables(generator)
    tf.raw_ops.SaveV2(
        prefix=str(scratch / "whole.ckpt"),
        tensor_names=[name for name, _ in named],
        shape_and_slices=[""] * len(named),
        tensors=[variable.value for _, variable in named],
    )
    parts = {end: (scratch / f"whole.ckpt{end}").read_bytes() for end in (INDEX, DATA)}
    return [("model.ckpt", parts)]


def read_checkpoint(path):
    from wespe_tf.weights.tf1_checkpoint import load_checkpoint

    load_checkpoint(str(path))


FAMILIES = {
    "yaml": (yaml_files, change_text, read_yaml),
    "images": (image_files, change_picture, read_image),
    "phones": (phone_files, change_any, read_image),
    "tf1": (checkpoint_files, change_checkpoint, read_checkpoint),
    "npz": (npz_files, change_archive, read_vgg),
    "h5": (h5_files, change_any, read_vgg),
    "mat": (mat_files, change_any, read_vgg),
    "keras": (keras_files, change_archive, read_keras),
    "metadata": (metadata_files, change_metadata, read_with_metadata),
    "raw": (raw_files, change_any, read_image),
}


# What is shown.


def lines(rows):
    """Lines of Markdown: the latest row of every family."""
    latest = {row["family"]: row for row in rows}
    yield "| family | files | read | refused | other error | crash | hang | over 2 GB | slowest |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for row in latest.values():
        counts = [row[name] for name in ("files", "read", "refused", *BAD)]
        yield f"| {' | '.join([row['family'], *counts])} | {row['slowest_seconds']} s |"


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if sys.argv[1:2] == ["batch"]:
        family, *numbers, output = sys.argv[2:]
        run_batch(family, *map(int, numbers), Path(output).resolve())
    else:
        main.run()
