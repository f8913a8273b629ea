"""Files that come into being together and whole, or not at all."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def output_directory(path: Path, names: Iterable[str] = ()) -> Iterator[None]:
    """Make sure that files can be written to `path`, before the work that they are the result of.

    Directories made for it are removed again if the block ends by an error or Ctrl-C.

    Args:
        path: The directory; made with its parents where it's missing.
        names: The files to come.

    Raises:
        OSError: If it can't be made or written to, or a file to come is a directory.

    Example:
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with output_directory(Path(place) / "new"):
        ...         write_together(Path(place) / "new", {"a.txt": "one", "b.txt": "two"})
        ...     sorted(file.name for file in (Path(place) / "new").iterdir())
        ['a.txt', 'b.txt']
    """
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        for name in names:
            if (path / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} is a directory", str(path / name))
        yield
    except BaseException:
        for directory in missing:
            with contextlib.suppress(OSError):  # not made yet, or somebody has put a file there
                directory.rmdir()
        raise


def write_together(directory: Path, texts: Mapping[str, str]) -> None:
    """Write each text to the file of its name: all are complete before the first one appears.

    Args:
        directory: An existing directory.
        texts: The files' texts by their names. Files of these names are replaced.

    Raises:
        OSError: If a file can't be written; what was there before is then still there.
    """
    with tempfile.TemporaryDirectory(prefix=".posterity-", dir=directory) as staging:
        for name, text in texts.items():
            (Path(staging) / name).write_text(text, encoding="utf-8")
        for name in texts:
            os.replace(Path(staging) / name, directory / name)
