"""The input file as text: unpacked, checked, and read as often as need be in little memory."""

import codecs
import datetime
import hashlib
import importlib
import os
import shutil
import stat
import tempfile

from example_support import WrongInput, open_input

CHUNK_BYTES = 1 << 20
# Ending, module and function that opens such a file; a Python may have been built without one of the modules.
PACKED = {".gz": ("gzip", "open"), ".bz2": ("bz2", "open"), ".xz": ("lzma", "open"),
          ".zip": ("zipfile", "ZipFile"), ".tar": ("tarfile", "open")}


class Source:
    """A file of UTF-8 text. What cannot be read twice as it is (packed, UTF-16, a pipe) is copied first."""

    def __init__(self, path):
        self.path = self.inner_name = path
        self.copy = None
        with open_input(path) as file:
            self.modified = os.fstat(file.fileno()).st_mtime
            digest, self.bytes = hashlib.sha256(), 0
            kept = file if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else self.start_copy()
            for chunk in chunks(file):
                digest.update(chunk)
                self.bytes += len(chunk)
                if kept is not file:
                    kept.write(chunk)
            self.sha256 = digest.hexdigest()
            kept.seek(0)
            stem, ending = os.path.splitext(path)
            if ending.lower() in PACKED:
                self.inner_name = stem[:-4] if stem.lower().endswith(".tar") else stem
                packed = ".tar" if stem.lower().endswith(".tar") else ending.lower()
                kept = self.unpack(kept, packed)
            if kept.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                kept.seek(0)
                text = codecs.getreader("utf-16")(kept)
                kept = self.start_copy()
                for chunk in iter(lambda: self.decoded(lambda: text.read(CHUNK_BYTES)), ""):
                    kept.write(chunk.encode("utf-8"))
            kept.seek(0)
            self.check(kept)

    def start_copy(self):
        self.copy = tempfile.NamedTemporaryFile(prefix="example-input-")
        return self.copy

    def unpack(self, file, ending):
        """A copy of the only file that is packed in this one."""
        module, function = PACKED[ending]
        try:
            opener = getattr(importlib.import_module(module), function)
        except ImportError:
            raise WrongInput("{}: this Python cannot unpack {} files: unpack it first".format(self.path, ending))
        try:
            if ending == ".tar":
                archive = opener(fileobj=file)
                members = [member for member in archive if member.isfile()]
                opened = [archive.extractfile(member) for member in members[:2]]
            elif ending == ".zip":
                archive = opener(file)
                members = [member for member in archive.infolist() if not member.filename.endswith("/")]
                opened = [archive.open(member) for member in members[:2]]
            else:
                opened = [opener(file)]
            if len(opened) != 1:
                raise WrongInput("{} holds {} files: give one with a single table".format(
                    self.path, len(members) if members else "no"))
            copy = self.start_copy()
            shutil.copyfileobj(opened[0], copy, CHUNK_BYTES)
        except (WrongInput, MemoryError):
            raise
        except Exception as error:
            # Each module has errors of its own; those of the machine have a number.
            if getattr(error, "errno", None):
                raise
            raise WrongInput("{} is not a sound {} file ({}): make it again".format(self.path, ending, error))
        copy.seek(0)
        return copy

    def check(self, file):
        """Refuses what is no text, with the place."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        line, blank = 1, True
        for chunk in chunks(file):
            if b"\0" in chunk:
                raise WrongInput("{} is not text (it holds NUL bytes): give JSON, JSON lines or CSV".format(self.path))
            self.decoded(lambda: decoder.decode(chunk), line)
            line += chunk.count(b"\n")
            blank = blank and not chunk.replace(codecs.BOM_UTF8, b"").strip()
        self.decoded(lambda: decoder.decode(b"", True), line)
        if blank:
            raise WrongInput("{} is empty: give a table of records (JSON, JSON lines or CSV)".format(self.path))

    def decoded(self, decode, line=1):
        try:
            return decode()
        except UnicodeDecodeError as error:
            raise WrongInput("{} is not {}: byte 0x{:02x} in line {}: convert it, for instance with iconv "
                             "-f ISO-8859-1 -t UTF-8".format(
                                 self.path, error.encoding.upper(), error.object[error.start],
                                 line + error.object.count(b"\n", 0, error.start)))

    def open(self):
        """The text from its beginning, with its line ends as they are."""
        if self.copy:
            self.copy.flush()
        return open(self.copy.name if self.copy else self.path, encoding="utf-8-sig", newline="")

    def describe(self, table_format):
        modified = datetime.datetime.fromtimestamp(int(self.modified), datetime.timezone.utc)
        return {
            "file": self.path,
            "format": table_format,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "modified": modified.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def chunks(file):
    return iter(lambda: file.read(CHUNK_BYTES), b"")
